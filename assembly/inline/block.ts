// The table of blocks that a kernel on a plan walks. A block is a range of rows of one matrix or, where
// rows are wide, a part of such a range; it may be a whole matrix. The bases m, p, q, … are the kernel's
// operands, and the table says where in them a block lies.
//
// A block is 13 little-endian i32 words; src/backends/wasm/blocks.ts writes them.
//
//   word  name     meaning
//      0  m        byte offset of the block's first float from base m
//      1  mStride  floats from row to row in M
//      2  rows
//      3  cols
//      4  rank     0: a raw tensor; best given as one row
//      5  p        byte offset from base p of the left factor's element (first row, column 0)
//      6  pStride  floats from column to column in P: the whole matrix's rows
//      7  q        byte offset from base q of the right factor's element (first col, column 0)
//      8  qStride  floats from column to column in Q: the whole matrix's cols
//      9  g        byte offset from base g (or y) of the block of the caller's array
//     10  gStride  floats from row to row in it
//     11  first    1: the block begins at column 0 of its rows, and P is overwritten; 0: added to
//     12  former   byte offset from base former of the block of M as it was, laid out as that of g

export const BLOCK_BYTES: usize = 52

// @ts-ignore: decorator
@inline
export function mOf(block: usize): usize {
  return load<u32>(block)
}

/** Bytes from row to row in M. */
// @ts-ignore: decorator
@inline
export function nextInMOf(block: usize): usize {
  return (<usize>load<u32>(block, 4)) << 2
}

// @ts-ignore: decorator
@inline
export function rowsOf(block: usize): i32 {
  return load<i32>(block, 8)
}

// @ts-ignore: decorator
@inline
export function colsOf(block: usize): i32 {
  return load<i32>(block, 12)
}

// @ts-ignore: decorator
@inline
export function rankOf(block: usize): i32 {
  return load<i32>(block, 16)
}

// @ts-ignore: decorator
@inline
export function pOf(block: usize): usize {
  return load<u32>(block, 20)
}

/** Bytes from column to column in P. */
// @ts-ignore: decorator
@inline
export function nextInPOf(block: usize): usize {
  return (<usize>load<u32>(block, 24)) << 2
}

// @ts-ignore: decorator
@inline
export function qOf(block: usize): usize {
  return load<u32>(block, 28)
}

/** Bytes from column to column in Q. */
// @ts-ignore: decorator
@inline
export function nextInQOf(block: usize): usize {
  return (<usize>load<u32>(block, 32)) << 2
}

// @ts-ignore: decorator
@inline
export function gOf(block: usize): usize {
  return load<u32>(block, 36)
}

/** Bytes from row to row in the caller's array. */
// @ts-ignore: decorator
@inline
export function nextInGOf(block: usize): usize {
  return (<usize>load<u32>(block, 40)) << 2
}

// @ts-ignore: decorator
@inline
export function firstOf(block: usize): bool {
  return load<i32>(block, 44) != 0
}

// @ts-ignore: decorator
@inline
export function formerOf(block: usize): usize {
  return load<u32>(block, 48)
}
