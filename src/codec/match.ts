// Checks that two frames belong together.
import { equalBytes, toHex } from '../bytes.ts'
import { FrameError } from '../errors.ts'
import { AT, type Header, rankAt, senderAt } from './header.ts'

/**
 * Checks that two frames, or slices, are of one round: that step, round, shapes, options, history,
 * kind, ranks and number of values are equal.
 *
 * @throws FrameError  with the byte, in `got`, of the first field that differs
 */
export function assertSameRound(expected: Header, got: Header): void {
  assertSame('step', expected, got)
  assertSame('round', expected, got)
  assertSameHash('configHash', 'workers disagree on shapes or options', expected, got)
  const histories = "computed from other means: the workers' histories differ"
  assertSameHash('parent', histories, expected, got)
  assertSame('kind', expected, got)
  assertSameRanks(expected, got)
  assertSame('total', expected, got)
}

/**
 * Checks that two frames can be averaged: that they are of one round, and are the same slice of it.
 * Wire types may differ.
 *
 * @throws FrameError  with the byte, in `got`, of the first field that differs
 */
export function assertSameCut(expected: Header, got: Header): void {
  assertSameRound(expected, got)
  assertSame('offset', expected, got)
  assertSame('count', expected, got)
  const [want, have] = [expected.scalars.length, got.scalars.length]
  if (want !== have) throw new FrameError(`scalars: expected ${want}, got ${have}`, AT.scalars)
}

/**
 * Checks that two slices are of one frame: also of one wire type, weight and list of senders.
 *
 * @throws FrameError  with the byte, in `got`, of the first field that differs
 */
export function assertSameFrame(expected: Header, got: Header): void {
  assertSameRound(expected, got)
  assertSame('type', expected, got)
  assertSame('weight', expected, got)
  const [want, have] = [expected.senders, got.senders]
  if (want.length !== have.length) {
    const message = `senders: expected ${want.length} of them, got ${have.length}`
    throw new FrameError(message, AT.senders)
  }
  const i = want.findIndex((sender, index) => sender !== have[index])
  if (i >= 0) throw new FrameError(`sender: expected ${want[i]}, got ${have[i]}`, senderAt(i))
}

function assertSame(
  field: 'step' | 'round' | 'kind' | 'total' | 'offset' | 'count' | 'type' | 'weight',
  expected: Header,
  got: Header,
): void {
  if (expected[field] === got[field]) return
  throw new FrameError(`${field}: expected ${expected[field]}, got ${got[field]}`, AT[field])
}

function assertSameHash(
  field: 'configHash' | 'parent',
  meaning: string,
  expected: Header,
  got: Header,
): void {
  if (equalBytes(expected[field], got[field])) return
  const [want, have] = [toHex(expected[field]), toHex(got[field])]
  throw new FrameError(`${field}: expected ${want}, got ${have}: ${meaning}`, AT[field])
}

function assertSameRanks(expected: Header, got: Header): void {
  const [want, have] = [expected.ranks, got.ranks]
  if (want.length !== have.length) {
    throw new FrameError(`ranks: expected ${want.length} of them, got ${have.length}`, AT.ranks)
  }
  for (let i = 0; i < want.length; i++) {
    if (want[i] === have[i]) continue
    const byte = rankAt(got.senders.length, got.scalars.length, i)
    throw new FrameError(`rank of parameter ${i}: expected ${want[i]}, got ${have[i]}`, byte)
  }
}
