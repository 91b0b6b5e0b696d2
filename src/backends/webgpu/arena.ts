// Where a session's own numbers lie on the GPU. Rows of M and columns of factors begin at multiples
// of four floats, so that shaders take four at a time; the padding is zero.
import type { Layout, Parameter } from '../../backend.ts'

/** Some rows of one parameter in one buffer. */
export interface Piece {
  /** number of the buffer */
  readonly segment: number
  /** where the first row begins in it, in floats: a multiple of 4 */
  readonly at: number
  /** first row: a multiple of 4 */
  readonly row: number
  readonly rows: number
}

/** One parameter in the arena of M: rows × cols, a row every `stride` floats. */
export interface MatrixLayout {
  readonly parameter: Parameter
  readonly rows: number
  readonly cols: number
  readonly stride: number
  /** none if the parameter is frozen: its M is zero */
  readonly pieces: readonly Piece[]
}

/** M, cut into buffers that can be bound. */
export interface Arena {
  /** floats of each buffer */
  readonly segments: readonly number[]
  /** by the parameter's index */
  readonly matrices: readonly MatrixLayout[]
}

/**
 * Lays M out. Vectors come first, for they are most of the raw tensors: those then lie together,
 * whatever the ranks.
 *
 * @param limit  floats that a buffer may have
 * @throws RangeError  if a row does not fit
 */
export function layoutArena({ parameters }: Layout, limit: number): Arena {
  const segments: number[] = [0]
  const matrices: MatrixLayout[] = []
  const thin = ({ rows, cols }: Parameter) => Math.min(rows, cols) === 1
  const ordered = [...parameters.filter(thin), ...parameters.filter((one) => !thin(one))]
  for (const parameter of ordered) {
    if (parameter.frozen) {
      const { length } = parameter
      matrices[parameter.index] = {
        parameter,
        rows: 1,
        cols: length,
        stride: fours(length),
        pieces: [],
      }
      continue
    }
    // A raw vector is one row, however its shape is written: a row of one float would waste three.
    const flat = thin(parameter) && parameter.rank === 0
    const rows = flat ? 1 : parameter.rows
    const cols = flat ? parameter.length : parameter.cols
    const stride = fours(cols)
    if (stride * Math.min(rows, 4) > limit) {
      throw new RangeError(
        `"shapes[${parameter.index}]": a row of ${cols} floats is too long for this device's ` +
          `buffers, which hold ${limit}: give it more rows, { shape, rows }`,
      )
    }
    const pieces: Piece[] = []
    for (let row = 0; row < rows; ) {
      const left = limit - segments.at(-1)!
      const fit = Math.floor(left / stride / 4) * 4
      const whole = (rows - row) * stride <= left
      if (!whole && (fit === 0 || rows === 1)) {
        segments.push(0)
        continue
      }
      const count = whole ? rows - row : fit
      const segment = segments.length - 1
      pieces.push({ segment, at: segments[segment]!, row, rows: count })
      segments[segment]! += count * stride
      row += count
    }
    matrices[parameter.index] = { parameter, rows, cols, stride, pieces }
  }
  return { segments, matrices }
}

/** Floats of a parameter to be copied from its old layout to its new one. */
export interface Overlap {
  readonly from: number
  readonly at: number
  readonly to: number
  readonly into: number
  readonly floats: number
}

/** Cuts a parameter into the longest runs that are contiguous in both layouts, if it is in both. */
export function overlaps(old: MatrixLayout, next: MatrixLayout): Overlap[] {
  const found: Overlap[] = []
  if (old.parameter.frozen || next.parameter.frozen) return found
  const { length } = old.parameter
  for (let i = 0; i < length; ) {
    const a = runAt(old, i)
    const b = runAt(next, i)
    const count = Math.min(a.left, b.left, length - i)
    found.push({ from: a.segment, at: a.at, to: b.segment, into: b.at, floats: count })
    i += count
  }
  return found
}

/** Finds element i of a parameter, and how many elements are contiguous from there on. */
function runAt({ cols, stride, pieces }: MatrixLayout, i: number) {
  const row = Math.floor(i / cols)
  const piece = pieces.find((one) => row < one.row + one.rows)!
  const at = piece.at + (row - piece.row) * stride + (i % cols)
  const end = cols === stride ? (piece.row + piece.rows) * cols : (row + 1) * cols
  return { segment: piece.segment, at, left: end - i }
}

/** A parameter's factor, or some of its rows: `count` runs of `length` floats, one every `stride`. */
export interface StridedRuns {
  /** floats before it in the arena, and in the packed form that travels */
  readonly at: number
  readonly packed: number
  readonly count: number
  readonly length: number
  readonly stride: number
}

export interface Factors {
  /** by the parameter's index; none where it has no factors */
  readonly left: readonly (StridedRuns | undefined)[]
  readonly right: readonly (StridedRuns | undefined)[]
  readonly leftFloats: number
  readonly rightFloats: number
}

export function layoutFactors(layout: Layout): Factors {
  const left: StridedRuns[] = []
  const right: StridedRuns[] = []
  let [leftFloats, rightFloats] = [0, 0]
  for (const { index, rows, cols, rank, left: p, right: q } of layout.matrices) {
    left[index] = { at: leftFloats, packed: p, count: rank, length: rows, stride: fours(rows) }
    right[index] = { at: rightFloats, packed: q, count: rank, length: cols, stride: fours(cols) }
    leftFloats += rank * fours(rows)
    rightFloats += rank * fours(cols)
  }
  return { left, right, leftFloats, rightFloats }
}

/** Copies from the arena, which is padded, to the packed form. */
export function packRuns(
  runs: readonly (StridedRuns | undefined)[],
  from: Float32Array,
  to: Float32Array,
) {
  eachRun(runs, (at, packed, length) => to.set(from.subarray(at, at + length), packed))
}

/** Copies from the packed form to the arena; the padding stays as it is. */
export function spreadRuns(
  runs: readonly (StridedRuns | undefined)[],
  from: Float32Array,
  to: Float32Array,
) {
  eachRun(runs, (at, packed, length) => to.set(from.subarray(packed, packed + length), at))
}

function eachRun(
  runs: readonly (StridedRuns | undefined)[],
  visit: (at: number, packed: number, length: number) => void,
): void {
  for (const run of runs) {
    if (!run) continue
    const { at, packed, count, length, stride } = run
    if (length === stride) visit(at, packed, count * length)
    else for (let k = 0; k < count; k++) visit(at + k * stride, packed + k * length, length)
  }
}

/** n, or the next multiple of four. */
export function fours(n: number): number {
  return Math.ceil(n / 4) * 4
}
