// Checks that two frames belong together.
import { equalBytes, toHex } from '../bytes.ts'
import { FrameError } from '../errors.ts'
import { AT, type Header, rankAt, senderAt } from './header.ts'

/**
 * Checks that two frames, or slices, are of one round: that step, round, shapes, options, ranks,
 * history, kind and number of values are equal. Ranks come before the history, because unlike ranks
 * make unlike factors, and these unlike histories.
 *
 * @param about  ends the message of an error
 * @throws FrameError  with the byte, in `got`, of the first field that differs
 */
export function assertSameRound(expected: Header, got: Header, about: string): void {
  assertSame(['step', 'round', 'configHash'], expected, got, about)
  assertSameRanks(expected, got, about)
  assertSame(['parent', 'kind', 'total'], expected, got, about)
}

/**
 * Checks that two frames can be averaged: that they are of one round, and are the same slice of it.
 * Wire types may differ.
 *
 * @param about  ends the message of an error
 * @throws FrameError  with the byte, in `got`, of the first field that differs
 */
export function assertSameCut(expected: Header, got: Header, about = ''): void {
  assertSameRound(expected, got, about)
  assertSame(['offset', 'count'], expected, got, about)
  const [want, have] = [expected.scalars.length, got.scalars.length]
  if (want !== have) throw mismatch('scalars', want, have, AT.scalars, about)
}

/**
 * Checks that a mean is that of the round in which a frame was sent.
 *
 * @throws FrameError  with the byte, in `mean`, of the first field that differs
 */
export function assertAwaited(sent: Header, mean: Header): void {
  const { step, round } = mean
  const ahead = step - sent.step || round - sent.round
  const cure =
    ahead < 0
      ? 'has been received or given up already: drop it'
      : 'comes later: receive the means before it, or join()'
  const about = `: this mean belongs to round ${round} of step ${step}, which ${cure}`
  assertSameCut(sent, mean, ahead === 0 ? '' : about)
}

/**
 * Checks that two slices are of one frame: also of one wire type, weight and list of senders.
 *
 * @throws FrameError  with the byte, in `got`, of the first field that differs
 */
export function assertSameFrame(expected: Header, got: Header): void {
  const about = ': the slices are of different frames'
  assertSameRound(expected, got, about)
  assertSame(['type', 'weight'], expected, got, about)
  const [want, have] = [expected.senders, got.senders]
  if (want.length !== have.length) {
    throw mismatch('senders', `${want.length} of them`, have.length, AT.senders, about)
  }
  const i = want.findIndex((sender, index) => sender !== have[index])
  if (i >= 0) throw mismatch('sender', want[i]!, have[i]!, senderAt(i), about)
}

type Field =
  | 'step'
  | 'round'
  | 'configHash'
  | 'parent'
  | 'kind'
  | 'total'
  | 'offset'
  | 'count'
  | 'type'
  | 'weight'

/** The meaning of a difference, and its cure. */
const MEANING: { readonly [field in Field]?: string } = {
  configHash: ': workers disagree on shapes, names or shared options',
  parent: ": computed from other means: the workers' histories differ, join() the others",
}

function assertSame(fields: readonly Field[], expected: Header, got: Header, about: string): void {
  for (const field of fields) {
    const [want, have] = [expected[field], got[field]]
    const same = typeof want === 'object' ? equalBytes(want, have as Uint8Array) : want === have
    if (same) continue
    const [wanted, found] = [want, have].map((value) =>
      typeof value === 'object' ? toHex(value) : value,
    )
    throw mismatch(field, wanted!, found!, AT[field], (MEANING[field] ?? '') + about)
  }
}

function assertSameRanks(expected: Header, got: Header, about: string): void {
  const [want, have] = [expected.ranks, got.ranks]
  if (want.length !== have.length) {
    throw mismatch('ranks', `${want.length} of them`, have.length, AT.ranks, about)
  }
  const i = want.findIndex((rank, index) => rank !== have[index])
  if (i < 0) return
  const byte = rankAt(got.senders.length, got.scalars.length, i)
  const cure = `: use equal ranks, and setRank, on all workers${about}`
  const [wanted, found] = [want[i]!, have[i]!].map((rank) => (rank === 0xffff ? 'frozen' : rank))
  throw mismatch(`rank of parameter ${i}`, wanted!, found!, byte, cure)
}

function mismatch(
  field: string,
  want: number | string,
  have: number | string,
  byte: number,
  about: string,
): FrameError {
  return new FrameError(`${field}: expected ${want}, got ${have}${about}`, byte)
}
