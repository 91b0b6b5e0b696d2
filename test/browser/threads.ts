// A model large enough for several threads, in Node and in the browser: the same text for both, on
// the built package.
import { aggregate, createCompressor } from 'lowrank'
import { wasm } from 'lowrank/threads'

const SHAPES = [[400, 500], [6, 30_000], [70_000]]

/** The hash of some steps' frames and updates, gradients in wasm memory and not. */
export async function threaded(threads: number): Promise<string> {
  const backend = wasm({ threads, relaxed: false })
  using compressor = await createCompressor(SHAPES, { rank: 3, backend, resident: true })
  const bytes: Uint8Array[] = []
  for (let step = 0; step < 4; step++) {
    const arrays = compressor.gradients.map((own) =>
      step % 2 ? own : new Float32Array(own.length),
    )
    for (const array of arrays) {
      for (let i = 0; i < array.length; i++) array[i] = ((i * 7919 + step) % 2003) / 1001 - 1
    }
    let frame: Uint8Array | null = await compressor.compress(arrays)
    while (frame) {
      bytes.push(frame)
      frame = await compressor.receive(aggregate([frame]))
    }
    await compressor.decompress(arrays)
    bytes.push(...arrays.map((array) => new Uint8Array(array.slice().buffer)))
  }
  const hash = await crypto.subtle.digest(
    'SHA-256',
    await new Blob(bytes as BlobPart[]).arrayBuffer(),
  )
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
