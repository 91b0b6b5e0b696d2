// bfloat16: the upper half of a float32, rounded to nearest, but not up to 2⁶⁴.
import { CHUNK_VALUES, type ChunkViews, chunks, createChunk } from '../chunks.ts'
import type { Run } from './blocked.ts'
import { accumulateChunks, fixedSize } from './fixed-size.ts'
import { addFourHalves, addOneHalf, halfTable, lookUp } from './half-floats.ts'
import { LIMIT, type WireType } from './wire-type.ts'

/** The code of 2⁶⁴. */
const LIMIT_CODE = 0x5f80

const values = halfTable(16, 1, LIMIT)

export const bf16: WireType<'bf16'> = {
  name: 'bf16',
  id: 2,
  ...fixedSize(2, LIMIT_CODE),
  encode(floats, _segments, into) {
    const [floatBits, codes] = [createChunk(4 * CHUNK_VALUES), createChunk(2 * CHUNK_VALUES)]
    for (let from = 0; from < floats.length; from += CHUNK_VALUES) {
      const chunk = floats.subarray(from, from + CHUNK_VALUES)
      floatBits.floats.set(chunk)
      round(floatBits.words, chunk.length, codes.halves)
      into.set(codes.bytes.subarray(0, 2 * chunk.length), 2 * from)
    }
  },
  decode(bytes, count, into) {
    for (const { views, length, from } of chunks(bytes.subarray(0, 2 * count))) {
      lookUp(runOf(views), length / 2, values(), into, from / 2)
    }
  },
  accumulate: (summands) =>
    accumulateChunks(
      2,
      summands,
      (sums, n, a, weight) => addOneHalf(sums, 0, n, values(), runOf(a), weight),
      (sums, n, a, b, c, d, weights) =>
        addFourHalves(sums, 0, n, values(), [runOf(a), runOf(b), runOf(c), runOf(d)], weights),
    ),
}

function runOf({ halves }: ChunkViews): Run<Uint16Array> {
  return { coded: halves, at: 0, scale: 1 }
}

/** codes ← the bf16 nearest to n float32, given as bits. Too large values saturate. */
function round(bits: Int32Array, n: number, codes: Uint16Array): void {
  for (let i = 0; i < n; i++) codes[i] = nearest(bits[i]!)
}

function nearest(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  const code = (magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16
  return sign | Math.min(code, LIMIT_CODE - 1)
}
