// Random words from a counter. Same bits as assembly/inline/philox.ts.

/**
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011).
 *
 * @param counter  four 32-bit words
 * @param key  two 32-bit words
 * @returns four random words, each an integer from 0 to 2³² − 1
 */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter as [number, number, number, number]
  let [k0, k1] = key as [number, number]
  for (let round = 0; round < 10; round++) {
    const [a, b] = [c0, c2]
    c0 = highWord(0xcd9e8d57, b) ^ c1 ^ k0
    c1 = Math.imul(0xcd9e8d57, b)
    c2 = highWord(0xd2511f53, a) ^ c3 ^ k1
    c3 = Math.imul(0xd2511f53, a)
    k0 = (k0 + 0x9e3779b9) | 0
    k1 = (k1 + 0xbb67ae85) | 0
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0]
}

/** The upper 32 of the 64 bits of a·b, computed from halves of 16 bits. */
function highWord(a: number, b: number): number {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff]
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const carry = (middle % 0x10000) + aLow * bHigh
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) | 0
}
