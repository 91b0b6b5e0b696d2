// Where the largest magnitudes are: of top K, and of gossip that sends those alone.

// Magnitudes of float32 are in the order of their bits but the sign: 31 of them, in three digits.
const DIGITS = [
  { shift: 20, width: 11 },
  { shift: 10, width: 10 },
  { shift: 0, width: 10 },
]

/**
 * Where the largest magnitudes are, ascending; of equal ones the first. Radix selection: counts the
 * leading digits of all, then the next ones of those that share the digit in which the last that is
 * taken lies. Four passes over the data, whatever they are.
 *
 * @param bits  of float32
 * @param into  as many indices into `bits` as there is room for; at most `length`
 */
export function largest(bits: Uint32Array, from: number, length: number, into: Uint32Array): void {
  const end = from + length
  const tally = new Uint32Array(2048)
  let least = 0 // of the magnitudes that are taken, the digits found so far
  let equal = into.length // entries to take among those that begin with them
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
