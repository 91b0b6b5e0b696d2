// bfloat16: the upper half of a float32, rounded to nearest, but not up to 2⁶⁴.
import { chunks } from '../chunks.ts'
import { CHUNK_VALUES, room } from '../loops.ts'
import { fixedSize } from './fixed-size.ts'
import { addHalves, halfTable, lookUp } from './half-floats.ts'
import { LIMIT, type WireType } from './wire-type.ts'

const ID = 2

/** The code of 2⁶⁴. */
const LIMIT_CODE = 0x5f80

const values = halfTable(16, 1, LIMIT)

export const bf16: WireType<'bf16'> = {
  name: 'bf16',
  id: ID,
  ...fixedSize(ID, 2, LIMIT_CODE, (sums, n, { halves }, weight) =>
    addHalves(sums, 0, n, values(), { coded: halves, at: 0, scale: 1 }, weight),
  ),
  encode(floats, _segments, into) {
    const { loops, x, y } = room()
    for (let from = 0; from < floats.length; from += CHUNK_VALUES) {
      const chunk = floats.subarray(from, from + CHUNK_VALUES)
      x.floats.set(chunk)
      if (loops) loops.encode(ID, y.at, x.at, chunk.length, 1)
      else round(x.words, chunk.length, y.halves)
      into.set(y.bytes.subarray(0, 2 * chunk.length), 2 * from)
    }
  },
  decode(bytes, count, into) {
    const { loops, y } = room()
    for (const { views, length, from } of chunks(bytes.subarray(0, 2 * count), 2 * CHUNK_VALUES)) {
      const n = length / 2
      if (loops) loops.decode(ID, y.at, views.at, n, 1)
      else lookUp({ coded: views.halves, at: 0, scale: 1 }, n, values(), y.floats, 0)
      into.set(y.floats.subarray(0, n), from / 2)
    }
  },
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
