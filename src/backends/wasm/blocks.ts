// The table of blocks that the plan kernels walk; its twin is the block in assembly/inline.
import type { Layout, Parameter } from '../../backend.ts'

/** A part of one parameter as a kernel sees it: some whole rows, or all rows of some columns. */
export interface Block {
  readonly parameter: Parameter
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
export function tileFloats(layout: Layout): number {
  return layout.matrices.reduce(
    (most, { rows, cols }) => Math.max(most, Math.min(SWEEP, rows) * cols),
    TILE_FLOATS,
  )
}

/**
 * Cuts all parameters that are not frozen into blocks, and fills tiles of `tileFloats` floats with
 * them.
 */
export function tilesOf(layout: Layout, tileFloats: number): StreamTile[] {
  const tiles: Block[][] = []
  let used = tileFloats // no tile yet
  for (const parameter of layout.parameters) {
    const { length, rank, frozen } = parameter
    if (frozen) continue
    // A raw tensor is one long row that may be cut anywhere: its shape does not matter.
    const cols = rank === 0 ? Math.min(length, tileFloats) : parameter.cols
    const fit = Math.floor(tileFloats / cols)
    const most = fit - (fit >= SWEEP ? fit % SWEEP : 0)
    for (let start = 0; start < length; ) {
      const left = length - start
      const rows = rank === 0 ? 1 : Math.min(most, left / cols)
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
export function columnBlocksOf(layout: Layout, threads: number): Block[] {
  const blocks = layout.matrices.flatMap((parameter) => {
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

/**
 * Writes one block, as assembly/inline/block.ts reads it.
 *
 * @param g  where it lies in the caller's arrays, in floats: from row to row `gStride`
 * @param former  where `accumulateProject` writes its former M, in floats, laid out in the same way
 */
export function writeBlock(
  table: Int32Array,
  index: number,
  { parameter, start, rows, cols }: Block,
  g: number,
  gStride: number,
  former: number,
): void {
  const raw = parameter.rank === 0
  const stride = raw ? cols : parameter.cols
  const row = raw ? 0 : Math.floor(start / stride)
  const column = raw ? 0 : start % stride
  table.set(
    [
      4 * (parameter.offset + start), // m
      stride, // mStride
      rows, // rows
      cols, // cols
      parameter.rank, // rank
      4 * (parameter.left + row), // p
      parameter.rows, // pStride
      4 * (parameter.right + column), // q
      parameter.cols, // qStride
      4 * g, // g
      gStride, // gStride
      column === 0 ? 1 : 0, // first
      4 * former, // former
    ],
    index * BLOCK_WORDS,
  )
}
