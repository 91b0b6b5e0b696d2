/**
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011):
 * four random 32-bit words, one per lane, from a counter of four words and a key of two.
 */
export function philox4(c0: u32, c1: u32, c2: u32, c3: u32, k0: u32, k1: u32): v128 {
  for (let round = 0; round < 10; round++) {
    const a = <u64>0xd2511f53 * <u64>c0
    const b = <u64>0xcd9e8d57 * <u64>c2
    c0 = <u32>(b >> 32) ^ c1 ^ k0
    c1 = <u32>b
    c2 = <u32>(a >> 32) ^ c3 ^ k1
    c3 = <u32>a
    k0 += 0x9e3779b9
    k1 += 0xbb67ae85
  }
  const low4 = i32x4.replace_lane(i32x4.splat(c0), 1, c1)
  return i32x4.replace_lane(i32x4.replace_lane(low4, 2, c2), 3, c3)
}
