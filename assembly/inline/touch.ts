/**
 * Whether the processor's prefetcher cannot follow four rows that are read side by side. It keeps
 * one stream of addresses per page, and rows shorter than a page (4096 bytes) share pages. This
 * matters only if M comes from memory rather than from a cache: from 2²⁰ floats, 4 MB, on.
 */
export function scattered(nextInM: usize, rows: i32, cols: i32): bool {
  return nextInM < 4096 && rows * cols >= 1 << 20
}

/**
 * Reads one byte of every 64 (a cache line), row after row. So rows × cols floats are fetched from
 * memory in the order of their addresses, and are in the first cache when a tile reads four rows
 * side by side.
 */
export function touch(x: usize, nextInX: usize, rows: i32, cols: i32): void {
  for (let i = 0; i < rows; i++, x += nextInX) {
    const end = x + (<usize>cols << 2)
    for (let at = x; at < end; at += 64) load<u8>(at)
  }
}
