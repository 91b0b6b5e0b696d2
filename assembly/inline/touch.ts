/**
 * Whether four rows side by side are more than the processor's look-ahead can follow: rows shorter
 * than a page share pages, and it keeps one stream of addresses for each. It matters where M comes
 * from memory, not from a cache: from 2²⁰ floats, 4 MB, on.
 */
export function scattered(nextInM: usize, rows: i32, cols: i32): bool {
  return nextInM < 4096 && rows * cols >= 1 << 20
}

/**
 * Reads a byte of every 64, row after row, so that rows × cols floats come from memory in the order
 * of their addresses and are in the first cache when a tile walks along four rows at once.
 */
export function touch(x: usize, nextInX: usize, rows: i32, cols: i32): void {
  for (let i = 0; i < rows; i++, x += nextInX) {
    const end = x + (<usize>cols << 2)
    for (let at = x; at < end; at += 64) load<u8>(at)
  }
}
