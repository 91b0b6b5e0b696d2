// int8: signed bytes in blocks that share a scale.
//
//   byte  size  field of a block
//      0     1  n − 1, where n is 1 … 64
//      1     4  scale: f32
//      5     n  signed bytes; value = scale · byte, rounded to float32
//
// The scale is max|x| / 127 over the block, rounded up if that is subnormal. The error of a value
// is at most half the scale. Values beyond 127 / 128 of 2⁶⁴ saturate.
import { type BlockFormat, blocked, roundEven } from './blocked.ts'
import { LIMIT, type WireType } from './wire-type.ts'

/** Values of a full block. The last block of a segment has the remaining values. */
const BLOCK = 64

/**
 * The largest scale. Times 128, the largest absolute value of a signed byte, it is the largest
 * float32 below `LIMIT`.
 */
const MAX_SCALE = (LIMIT / 128) * (1 - 2 ** -24)

const format: BlockFormat<Int8Array> = {
  id: 3,
  block: BLOCK,
  codesAt: 5,
  size: 1,
  codedIn: ({ signed }) => signed,
  scaleIn(view, at) {
    const scale = view.getFloat32(at, true)
    return scale >= 0 && scale <= MAX_SCALE ? scale : Number.NaN
  },
  scaleFor,
  writeScale: (scale, view, at) => view.setFloat32(at, scale, true),
  encode({ floats }, from, n, scale, { coded, at }) {
    for (let i = 0; i < n; i++) {
      const x = scale === 0 ? 0 : roundEven(floats[from + i]! / scale)
      coded[at + i] = Math.max(-127, Math.min(127, x))
    }
  },
  // All codes are valid, and with a scale of 0 all values are 0.
  firstInvalid: ({ scale }, _n, zero) => (zero && scale !== 0 ? -4 : null),
  decode({ coded, at, scale }, n, floats, to) {
    for (let i = 0; i < n; i++) floats[to + i] = scale * coded[at + i]!
  },
  add(sums, to, n, { coded, at, scale }, weight) {
    for (let i = 0; i < n; i++) {
      sums[to + i] = sums[to + i]! + Math.fround(scale * coded[at + i]!) * weight
    }
  },
}

export const int8: WireType<'int8'> = { name: 'int8', ...blocked(format) }

/** max / 127 as float32. If that is subnormal it is rounded up, so that 127 · scale ≥ max. */
function scaleFor(max: number): number {
  const scale = max / 127
  if (scale < 2 ** -126) return Math.ceil(scale * 2 ** 149) / 2 ** 149
  return Math.min(Math.fround(scale), MAX_SCALE)
}
