// The table of blocks that the plan kernels walk; its twin is the block in assembly/inline.
import type { Place } from './places.ts'

/** A part of one parameter as a kernel sees it: some whole rows, or all rows of some columns. */
export interface Block {
  readonly parameter: Place
  /** its first float within the parameter */
  readonly start: number
  readonly rows: number
  readonly cols: number
  /** where its copy lies in the tile, in floats */
  readonly at: number
}

/** Blocks that fit the tile together: filled, computed and emptied in one go. */
export type StreamTile = readonly Block[]

/** 128 KiB: a tile and the part of M under it fit a core's second cache together. */
const TILE_FLOATS = 1 << 15

/** Rows that kernels sweep at a time. */
const SWEEP = 4

/** How large a tile must be: it holds a sweep of the widest matrix. */
export function tileFloats(places: readonly Place[]): number {
  return places.reduce(
    (most, place) =>
      isFlat(place) ? most : Math.max(most, Math.min(SWEEP, place.rows) * place.cols),
    TILE_FLOATS,
  )
}

/** A raw tensor is one long row that may be cut anywhere, unless its M is stored by row. */
function isFlat({ rank, wide, cols }: Place): boolean {
  return rank === 0 && wide === cols
}

/**
 * Cuts all parameters that are not frozen into blocks, and fills tiles of `tileFloats` floats with
 * them.
 */
export function tilesOf(places: readonly Place[], tileFloats: number): StreamTile[] {
  const tiles: Block[][] = []
  let used = tileFloats // no tile yet
  for (const parameter of places) {
    const { length, frozen } = parameter
    if (frozen) continue
    const flat = isFlat(parameter)
    const cols = flat ? Math.min(length, tileFloats) : parameter.cols
    const fit = Math.floor(tileFloats / cols)
    const most = fit - (fit >= SWEEP ? fit % SWEEP : 0)
    for (let start = 0; start < length; ) {
      const left = length - start
      const rows = flat ? 1 : Math.min(most, left / cols)
      const floats = Math.min(rows * cols, left)
      if (used + floats > tileFloats) {
        tiles.push([])
        used = 0
      }
      tiles.at(-1)!.push({ parameter, start, rows, cols: floats / rows, at: used })
      used += floats
      start += floats
    }
  }
  return tiles
}

/** Fewer floats are not worth a block of their own. */
const LEAST_FLOATS = 1 << 16

/** Narrower blocks are slower to read: rows end before the processor prefetches them. */
const GOOD_COLS = 256

/**
 * Blocks that hold all rows: for each thread one of a large matrix, or two of a wide one, so that
 * threads wait less for one that is held up. The largest come first, for the same reason.
 */
export function columnBlocksOf(places: readonly Place[], threads: number): Block[] {
  const matrices = places.filter(({ rank }) => rank > 0)
  const blocks = matrices.flatMap((parameter) => {
    const { rows, cols } = parameter
    const good = Math.min(2 * threads, Math.floor(cols / GOOD_COLS))
    const most = Math.floor((rows * cols) / LEAST_FLOATS)
    const parts = threads === 1 ? 1 : Math.max(1, Math.min(most, Math.max(threads, good)))
    const width = parts === 1 ? cols : 16 * Math.ceil(cols / parts / 16)
    const block = (start: number): Block => {
      return { parameter, start, rows, cols: Math.min(width, cols - start), at: 0 }
    }
    return Array.from({ length: Math.ceil(cols / width) }, (_, i) => block(i * width))
  })
  return blocks.sort((a, b) => b.rows * b.cols - a.rows * a.cols)
}

/** Words of one block in the table. */
export const BLOCK_WORDS = 13

/** Where a block begins in M, P and Q, in floats from the arenas'. */
export function startOf({ parameter, start }: Block): { m: number; p: number; q: number } {
  const { m, p, q, cols, wide } = parameter
  if (isFlat(parameter)) return { m: m + start, p, q }
  const [row, column] = [Math.floor(start / cols), start % cols]
  return { m: m + row * wide + column, p: p + row, q: q + column }
}

/**
 * Writes one block, as assembly/inline/block.ts reads it.
 *
 * @param g  where it lies in the caller's arrays, in floats
 * @param packed  true: from row to row there as many floats as the block has columns; false: as many
 *   as the parameter has
 * @param former  where `accumulateProject` writes its former M, in floats, laid out in the same way
 */
export function writeBlock(
  table: Int32Array,
  index: number,
  block: Block,
  g: number,
  packed: boolean,
  former: number,
): void {
  const { parameter, rows, cols } = block
  const { m, p, q } = startOf(block)
  const flat = isFlat(parameter)
  table.set(
    [
      4 * m, // m
      flat ? cols : parameter.wide, // mStride
      rows, // rows
      cols, // cols
      parameter.rank, // rank
      4 * p, // p
      parameter.tall, // pStride
      4 * q, // q
      parameter.wide, // qStride
      4 * g, // g
      packed || flat ? cols : parameter.cols, // gStride
      q === parameter.q ? 1 : 0, // first
      4 * former, // former
    ],
    index * BLOCK_WORDS,
  )
}
