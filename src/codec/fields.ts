// Where the fields of a frame's header lie: the table is at the head of frame.ts.

export type Kind = 'summed' | 'gathered'

/** By the number that stands for it in a frame. */
export const KINDS: readonly Kind[] = ['summed', 'gathered']

/** "LRGC", read as a little-endian integer. */
export const MAGIC = 0x4347524c

/** The only version so far. */
export const VERSION = 1

/** Bytes before the first sender. */
export const FIXED = 64

/** The byte at which each field of the header begins. */
export const AT = {
  magic: 0,
  checksum: 4,
  version: 8,
  kind: 9,
  type: 10,
  round: 11,
  step: 12,
  layout: 16,
  parent: 24,
  weight: 32,
  senders: 40,
  ranks: 44,
  scalars: 48,
  total: 52,
  offset: 56,
  count: 60,
} as const

/** The smallest weight but 0, and one that no sum of 2³² float32 weights reaches. */
export const MIN_WEIGHT = 2 ** -149
export const MAX_WEIGHT = 2 ** 160

/** Bytes from the start of a frame to its values, for so many of each: a multiple of 4. */
export function headerLength(senders: number, ranks: number, scalars: number): number {
  return FIXED + 4 * (senders + scalars) + 4 * Math.ceil(ranks / 2)
}
