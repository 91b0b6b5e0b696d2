// A whole step of one worker at ResNet-18's shapes: node --import tsx bench/step.ts [--json]
//
// Compress, aggregate its one frame of each round, decompress; gradients and update are in the
// caller's arrays, float32 on the wire. The yardstick is to stream the 28 bytes a parameter that a
// step cannot do without, and nothing else: M and g are read and M is written (12), M is read (4),
// M is read and written and the update written (12).
import { aggregate, createCompressor } from '../src/index.ts'
import { createWasmKernels } from '../src/kernels.ts'
import { type Case, type Measured, measure, report } from './measure.ts'
import { RESNET18 } from './models.ts'

const RANKS = [1, 2, 4]
const STREAMED = 28

const lengths = RESNET18.map((shape) => shape.reduce((length, n) => length * n, 1))
const parameters = lengths.reduce((sum, length) => sum + length, 0)

const streams = measure(await streamCases())
const yardstick = streams.reduce((best, stream) => (stream.ms < best.ms ? stream : best))
const steps: Measured[] = []
for (const rank of RANKS) steps.push(...measure([await stepCase(rank)]))
report({ 'streaming 28 bytes a parameter': streams, 'ResNet-18, a step': steps }, yardstick)

/** In wasm memory. */
async function streamCases(): Promise<Case[]> {
  const kernels = await createWasmKernels({ floats: 2 * parameters + 4 })
  const [x, y] = [kernels.alloc(parameters), kernels.alloc(parameters)]
  kernels.normal(x, 1, 0, 0, 0, 0)
  const entry = (name: string, run: () => void): Case => ({
    name,
    run,
    bytes: STREAMED * parameters,
    flops: 0,
  })
  return [
    entry('2 × accumulate (12 bytes), norm (4)', () => {
      kernels.accumulate(y, x, 1e-3)
      kernels.norm(y)
      kernels.accumulate(y, x, 1e-3)
    }),
    // Reads and writes as many bytes as memcpy does in 3½ passes.
    entry('3 × copy (8 bytes), half a copy (4)', () => {
      for (let pass = 0; pass < 3; pass++) y.set(x)
      y.set(x.subarray(0, parameters / 2))
    }),
  ]
}

async function stepCase(rank: number): Promise<Case> {
  const kernels = await createWasmKernels()
  const compressor = await createCompressor(RESNET18, { rank })
  const gradients = lengths.map((length, i) => {
    const gradient = new Float32Array(length)
    kernels.normal(gradient, 1, 0, i, 0, 0)
    return gradient
  })
  const update = lengths.map((length) => new Float32Array(length))
  return {
    name: `r = ${rank}`,
    bytes: STREAMED * parameters,
    flops: 0,
    run() {
      let frame: Uint8Array | null = compressor.compressSync(gradients)
      while (frame) frame = compressor.receiveSync(aggregate([frame]))
      compressor.decompressSync(update)
    },
  }
}
