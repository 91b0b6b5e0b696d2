// The tables that shaders read: tiles, parameters, sums. structs.ts names their fields, which
// shaders/accumulateProject.wgsl and shaders/reduce.wgsl explain.
import type { Layout } from '../../backend.ts'
import { type Arena, type Factors, fours, type MatrixLayout, type Piece } from './arena.ts'
import {
  type FieldValues,
  PARAM,
  pack,
  ROWS,
  SUM,
  SUM_FOURS,
  TILE,
  WIDE_THREADS,
  ZERO,
} from './structs.ts'

/** A part of one parameter that one workgroup takes. Columns count groups of four. */
export interface Tile {
  readonly matrix: MatrixLayout
  readonly piece: Piece
  /** in the parameter */
  readonly row: number
  readonly rows: number
  readonly col: number
  readonly cols: number
  /** in floats; in groups of four in tall tiles */
  readonly out: number
  readonly lanes: number
}

/** The tiles of a phase, in the order of the arena, and the sums that make a factor of their partial ones. */
export interface Tiling {
  readonly tiles: readonly Tile[]
  /**
   * number of the first tile of each segment, and of frozen parameters, which lie in none; then the
   * number of tiles
   */
  readonly starts: readonly number[]
  readonly sums: Uint32Array<ArrayBuffer>
  /** floats of all partial sums */
  readonly partFloats: number
}

/** groups of four columns in a wide tile, in a tall one */
const WIDE_FOURS = 512
const TALL_FOURS = 32

/**
 * Tiles along the rows, for accumulateProject and settle: ROWS rows for each team of lanes, and all
 * columns up to 2048.
 *
 * @param partLimit  floats that partial sums may take
 */
export function wideTiles(
  layout: Layout,
  arena: Arena,
  factors: Factors,
  partLimit: number,
): Tiling {
  for (let width = WIDE_FOURS; ; width *= 2) {
    const tiling = tile(arena, factors.left, 1, (matrix) => {
      const fours = Math.ceil(matrix.cols / 4)
      const lanes = lanesFor(Math.min(fours, width), WIDE_THREADS)
      return { lanes, cols: width, rows: (ROWS * WIDE_THREADS) / lanes, along: 'cols' }
    })
    if (tiling.partFloats <= partLimit || width * 4 > widest(layout)) return tiling
  }
}

/**
 * Tiles down the columns, for backproject: up to 128 columns. There are rows enough that the partial sums
 * are a small part of M, and tiles enough to keep a large device busy.
 */
export function tallTiles(
  layout: Layout,
  arena: Arena,
  factors: Factors,
  partLimit: number,
): Tiling {
  const busy = 2 ** Math.round(Math.log2(layout.denseFloats / 2 ** 17))
  for (let least = 64; ; least *= 2) {
    const tiling = tile(arena, factors.right, 4, (matrix) => {
      const { rank } = matrix.parameter
      const lanes = lanesFor(Math.min(TALL_FOURS, Math.ceil(matrix.cols / 4)), TALL_FOURS)
      const rows = Math.max(least, Math.min(64 * Math.max(4, rank), busy))
      return { lanes, cols: lanes, rows, along: 'rows' }
    })
    if (tiling.partFloats <= partLimit || least > tallest(layout)) return tiling
  }
}

interface Cut {
  readonly lanes: number
  readonly cols: number
  readonly rows: number
  /** the direction in which tiles beside each other add to the same sums */
  readonly along: 'cols' | 'rows'
}

/** @param unit  floats that `out` counts in */
function tile(
  arena: Arena,
  factor: Factors['left'],
  unit: number,
  cutOf: (matrix: MatrixLayout) => Cut,
): Tiling {
  const bySegment: Tile[][] = [...arena.segments.map(() => []), []]
  const sums: FieldValues<keyof typeof SUM.offset>[] = []
  let partFloats = 0
  for (const matrix of arena.matrices) {
    const { rank } = matrix.parameter
    const { lanes, cols: most, rows: height, along } = cutOf(matrix)
    if (rank === 0 && along === 'rows') continue
    const runs = factor[matrix.parameter.index]
    const next = runs ? rank * runs.stride : 0
    const fours = Math.ceil(matrix.cols / 4)
    let down = 0 // tiles above this one
    const { frozen } = matrix.parameter
    const outside = { segment: arena.segments.length, at: 0, row: 0, rows: 1 }
    for (const piece of frozen ? [outside] : matrix.pieces) {
      for (let r = 0; r < piece.rows; r += height, down++) {
        for (let col = 0; col < fours; col += most) {
          const row = piece.row + r
          const out = along === 'cols' ? (col / most) * next + row : down * next + 4 * col
          bySegment[piece.segment]!.push({
            matrix,
            piece,
            row,
            rows: Math.min(height, piece.rows - r),
            col,
            cols: Math.min(most, fours - col),
            out: (partFloats + out) / unit,
            lanes,
          })
        }
      }
    }
    if (!runs) continue
    const parts = along === 'cols' ? Math.ceil(fours / most) : down
    for (let at = 0; at < next; at += 4 * SUM_FOURS) {
      const length = Math.min(SUM_FOURS, (next - at) / 4)
      sums.push({
        to: (runs.at + at) / 4,
        first: (partFloats + at) / 4,
        next: next / 4,
        parts,
        length,
      })
    }
    partFloats += parts * next
  }
  const starts = [0]
  for (const some of bySegment) starts.push(starts.at(-1)! + some.length)
  return { tiles: bySegment.flat(), starts, sums: pack(SUM, sums), partFloats }
}

/**
 * Invocations along a row of `fours` groups: a power of two from 4 on. It is the largest of which at
 * most a tenth idles at the end of the row; if there is none, the one of which the least idles.
 */
function lanesFor(fours: number, most: number): number {
  let best = 4
  let busiest = 0
  for (let lanes = most; lanes >= 4; lanes /= 2) {
    const busy = fours / (Math.ceil(fours / lanes) * lanes)
    if (busy >= 0.9) return lanes
    if (busy > busiest) {
      busiest = busy
      best = lanes
    }
  }
  return best
}

function widest({ parameters }: Layout): number {
  return parameters.reduce(
    (most, { length, cols, rank }) => Math.max(most, rank ? cols : length),
    0,
  )
}

function tallest({ parameters }: Layout): number {
  return parameters.reduce((most, { rows }) => Math.max(most, rows), 0)
}

/** The tiles as shaders read them. */
export function tileWords(tiles: readonly Tile[]): Uint32Array<ArrayBuffer> {
  return pack(
    TILE,
    tiles.map(({ matrix, piece, row, ...rest }) => {
      const m = (piece.at + (row - piece.row) * matrix.stride) / 4 + rest.col
      return { ...rest, param: matrix.parameter.index, m, row }
    }),
  )
}

/** All parameters as shaders read them; bindings.ts writes the fields that depend on callers' tensors. */
export function paramWords(arena: Arena, factors: Factors): Uint32Array<ArrayBuffer> {
  return pack(
    PARAM,
    arena.matrices.map(({ parameter: { index, rank, frozen }, rows, cols, stride }) => {
      const p = factors.left[index]
      const q = factors.right[index]
      return {
        stride: stride / 4,
        cols,
        rows,
        rank,
        p: p?.at ?? 0,
        pStride: p?.stride ?? 0,
        q: (q?.at ?? 0) / 4,
        qStride: fours(cols) / 4,
        raw: factors.rightFloats / 4, // of all raw tensors; bindings.ts adds where its own begins
        at: 0,
        mode: 0,
        tensor: frozen ? ZERO : 0,
      }
    }),
  )
}
