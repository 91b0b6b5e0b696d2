// The table of blocks that the plan kernels walk; its twin is the block in assembly/inline.
import type { Parameter, Plan } from '../../seam.ts'

/** A part of one parameter as a kernel sees it: some of its rows, or a part of a row. */
export interface Block {
  readonly parameter: Parameter
  /** its first float within the parameter; its floats follow one another */
  readonly start: number
  readonly rows: number
  readonly cols: number
  /** where its copy lies in the tile, in floats */
  readonly at: number
}

/** Blocks that fit the tile together: filled, computed and emptied in one go. */
export type Tile = readonly Block[]

/** One block per matrix: for phases that need no tile. */
export function wholeMatrices(plan: Plan): Block[] {
  return plan.matrices.map((parameter) => {
    const { rows, cols } = parameter
    return { parameter, start: 0, rows, cols, at: 0 }
  })
}

/**
 * Cuts all parameters into blocks of at most `tileFloats` floats, and fills tiles with them.
 * Kernels sweep four rows at a time, so a block has a multiple of four where it can.
 */
export function tilesOf(plan: Plan, tileFloats: number): Tile[] {
  const tiles: Block[][] = []
  let used = tileFloats // no tile yet
  for (const parameter of plan.parameters) {
    const { length, rank } = parameter
    // A raw tensor is one long row: it has no other structure that matters.
    const cols = rank === 0 ? length : parameter.cols
    const blockCols = Math.min(cols, tileFloats)
    const fit = Math.floor(tileFloats / blockCols)
    const most = fit >= 4 ? fit - (fit % 4) : fit
    for (let start = 0; start < length; ) {
      const column = start % cols
      const whole = blockCols === cols
      const rows = whole ? Math.min(most, (length - start) / cols) : 1
      const width = whole ? cols : Math.min(blockCols, cols - column)
      if (used + rows * width > tileFloats) {
        tiles.push([])
        used = 0
      }
      tiles.at(-1)!.push({ parameter, start, rows, cols: width, at: used })
      used += rows * width
      start += rows * width
    }
  }
  return tiles
}

/** Words of one block in the table. */
export const BLOCK_WORDS = 12

/** Writes one block, as assembly/inline/block.ts reads it. */
export function writeBlock(table: Int32Array, index: number, block: Block): void {
  const { parameter, start, rows, cols, at } = block
  const raw = parameter.rank === 0
  const stride = raw ? cols : parameter.cols
  const row = raw ? 0 : Math.floor(start / stride)
  const column = raw ? 0 : start % stride
  table.set(
    [
      4 * (parameter.offset + start), // m
      stride, // mStride
      rows,
      cols,
      parameter.rank,
      4 * (parameter.left + row), // p
      parameter.rows, // pStride
      4 * (parameter.right + column), // q
      parameter.cols, // qStride
      4 * at, // g
      cols, // gStride
      column === 0 ? 1 : 0, // first
    ],
    index * BLOCK_WORDS,
  )
}
