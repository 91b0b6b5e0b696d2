import { FrameError } from '../errors.ts'
import { AT, FIXED } from './fields.ts'
import type { Header } from './frame.ts'

/**
 * Refuses a frame, or slice, of another step or round, from other means, or of another shape.
 *
 * @throws FrameError  with the byte, in `got`, of the first field that differs
 */
export function sameRound(expected: Header, got: Header): void {
  compare('step', expected, got)
  compare('round', expected, got)
  sameHash('layout', 'workers disagree on shapes or options', expected, got)
  const histories = "computed from other means: the workers' histories differ"
  sameHash('parent', histories, expected, got)
  compare('kind', expected, got)
  sameRanks(expected, got)
  compare('total', expected, got)
}

/**
 * Refuses a frame that cannot be averaged with another: of another step, from other means, or cut
 * differently. Wire types may differ.
 *
 * @throws FrameError  with the byte, in `got`, of the first field that differs
 */
export function sameStep(expected: Header, got: Header): void {
  sameRound(expected, got)
  compare('offset', expected, got)
  compare('count', expected, got)
  const [want, have] = [expected.scalars.length, got.scalars.length]
  if (want !== have) throw new FrameError(`scalars: expected ${want}, got ${have}`, AT.scalars)
}

/** 0 … 9, a … f; two for each byte, in their order. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function compare(
  field: 'step' | 'round' | 'kind' | 'total' | 'offset' | 'count',
  expected: Header,
  got: Header,
): void {
  if (expected[field] === got[field]) return
  throw new FrameError(`${field}: expected ${expected[field]}, got ${got[field]}`, AT[field])
}

function sameHash(
  field: 'layout' | 'parent',
  meaning: string,
  expected: Header,
  got: Header,
): void {
  if (expected[field].every((byte, i) => byte === got[field][i])) return
  const [want, have] = [hex(expected[field]), hex(got[field])]
  throw new FrameError(`${field}: expected ${want}, got ${have}: ${meaning}`, AT[field])
}

function sameRanks(expected: Header, got: Header): void {
  const [want, have] = [expected.ranks, got.ranks]
  if (want.length !== have.length) {
    throw new FrameError(`ranks: expected ${want.length} of them, got ${have.length}`, AT.ranks)
  }
  for (let i = 0; i < want.length; i++) {
    if (want[i] === have[i]) continue
    const byte = FIXED + 4 * (got.senders.length + got.scalars.length) + 2 * i
    throw new FrameError(`rank of parameter ${i}: expected ${want[i]}, got ${have[i]}`, byte)
  }
}
