// A model in buckets, so that communication overlaps computation: a compressor for each bucket, all
// on one backend. The backward pass finishes layers last to first. A bucket's frames leave as soon
// as its gradients are there, while the other buckets' gradients are still being computed.
//
//   npm run build && node --import tsx examples/buckets/overlap.ts
//
// Two workers run in this process. A pause stands for computing. The link between the workers
// carries one bucket's frames at a time, and is slow enough to be seen.
import { setTimeout as pause } from 'node:timers/promises'
import { aggregate, type Compressor, createCompressor, wasm } from 'lowrank'

/** In the order in which gradients become ready: from the output back to the input. */
const BUCKETS = [
  [[10, 256], [10]],
  [[256, 512], [256]],
  [[512, 784], [512]],
]
const WORKERS = 2
const COMPUTING_MS = 100 // for a bucket's gradients
const BYTES_PER_MS = 200

const backend = wasm()
const apart = await train(false)
console.log(`\neverything first, then the exchange: ${apart.ms} ms\n`)
const overlapped = await train(true)
console.log(`\neach bucket at once: ${overlapped.ms} ms`)
const same = apart.updates.every(
  (update, i) => Buffer.compare(update, overlapped.updates[i]!) === 0,
)
console.log(`the updates are ${same ? 'the same, to the bit' : 'not the same'}`)
process.exitCode = same ? 0 : 1

/**
 * One step of all workers.
 *
 * @param overlap  whether a bucket goes out before the others are ready
 */
async function train(overlap: boolean): Promise<{ ms: number; updates: Buffer[] }> {
  const workers = await Promise.all(
    Array.from({ length: WORKERS }, (_, sender) =>
      Promise.all(BUCKETS.map((shapes) => createCompressor(shapes, { sender, backend }))),
    ),
  )
  const computed = workers.map((_, w) => BUCKETS.map((shapes) => gradientsOf(shapes, w)))
  const link = createLink()
  const began = performance.now()
  const ms = () => Math.round(performance.now() - began)
  const say = (what: string) => console.log(`${String(ms()).padStart(5)} ms  ${what}`)

  const updates = await Promise.all(
    workers.map(async (compressors, worker) => {
      const steps: Promise<Float32Array[]>[] = []
      const exchange = async (b: number) => {
        const gradients = computed[worker]![b]!
        await compressors[b]!.step(gradients, (frame) => {
          if (worker === 0) say(`bucket ${b} sends ${frame.length} bytes`)
          return link(b, frame)
        })
        if (worker === 0) say(`bucket ${b} has its update`)
        return gradients
      }
      for (const b of BUCKETS.keys()) {
        await pause(COMPUTING_MS)
        if (worker === 0) say(`bucket ${b} is computed`)
        if (overlap) steps.push(exchange(b))
      }
      if (!overlap) steps.push(...BUCKETS.map((_, b) => exchange(b)))
      return (await Promise.all(steps)).flat()
    }),
  )
  const took = ms()
  for (const compressor of workers.flat() as Compressor[]) compressor.dispose()
  return { ms: took, updates: updates.flat().map(({ buffer }) => Buffer.from(buffer)) }
}

/**
 * Waits for a frame of every worker, then for the link to be free; answers each frame with the
 * mean.
 */
function createLink() {
  const waiting = new Map<number, { frame: Uint8Array; answer: (mean: Uint8Array) => void }[]>()
  let free = Promise.resolve()
  return (bucket: number, frame: Uint8Array) =>
    new Promise<Uint8Array>((answer) => {
      const here = [...(waiting.get(bucket) ?? []), { frame, answer }]
      waiting.set(bucket, here)
      if (here.length < WORKERS) return
      waiting.delete(bucket)
      const mean = aggregate(here.map((one) => one.frame))
      free = free
        .then(() => pause(frame.length / BYTES_PER_MS))
        .then(() => here.forEach((one) => void one.answer(mean)))
    })
}

/** Stands for a backward pass: some numbers. */
function gradientsOf(shapes: readonly number[][], worker: number): Float32Array[] {
  return shapes.map((shape) => {
    const length = shape.reduce((a, b) => a * b, 1)
    return Float32Array.from({ length }, (_, j) => Math.sin((worker + 1) * (j + 1)))
  })
}
