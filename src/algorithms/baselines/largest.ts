// Selection of the elements with the largest magnitudes, for `topK` and for gossip with sparse
// differences.

// Without the sign, the bits of float32 are in the order of the magnitudes. These 31 bits make
// three digits.
const DIGITS = [
  { shift: 20, width: 11 },
  { shift: 10, width: 10 },
  { shift: 0, width: 10 },
]

/**
 * Finds the indices of the largest magnitudes, in ascending order. Of equal magnitudes the first
 * ones are taken.
 *
 * This is a radix selection. It counts the leading digits of all elements, finds the digit in which
 * the smallest selected magnitude lies, and goes on with the next digit of the elements that share
 * it. It makes four passes over the data, whatever they are.
 *
 * @param bits  the bits of float32 values; only read
 * @param from  the index of the first element to look at
 * @param length  the number of elements to look at
 * @param into  out: as many indices into `bits` as it has room for, at most `length`
 */
export function largest(bits: Uint32Array, from: number, length: number, into: Uint32Array): void {
  const end = from + length
  const tally = new Uint32Array(2048)
  let least = 0 // the digits found so far of the smallest selected magnitude
  let equal = into.length // how many of the elements that begin with these digits to select
  for (const { shift, width } of DIGITS) {
    tally.fill(0)
    const mask = 2 ** width - 1
    for (let i = from; i < end; i++) {
      const digits = (bits[i]! & 0x7fffffff) >>> shift
      if (digits >>> width === least) tally[digits & mask] = tally[digits & mask]! + 1
    }
    let digit = mask
    for (; tally[digit]! < equal; digit--) equal -= tally[digit]!
    least = (least << width) | digit
  }
  for (let i = from, at = 0; at < into.length; i++) {
    const magnitude = bits[i]! & 0x7fffffff
    if (magnitude > least || (magnitude === least && equal-- > 0)) into[at++] = i
  }
}
