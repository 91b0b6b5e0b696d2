// Transports: each turns the frames of a round into its mean. Bad frames among them must be refused
// and leave no trace.
import * as assert from 'uvu/assert'
import {
  aggregate,
  createAggregate,
  FrameError,
  inspect,
  joinSlices,
  splitFrame,
} from '../../src/frames.ts'
import { sameBytes } from '../support/close.ts'
import type { Transport } from './scenario.ts'

/** A random number in [0, 1). */
export type Chance = () => number

/** The mean, and how many times the transport rounded a value to float32. */
export interface Transported {
  readonly mean: Uint8Array
  readonly roundings: number
}

/** @param spoilt  frames that this mean must not include */
export function transport(
  frames: readonly Uint8Array[],
  spoilt: readonly Uint8Array[],
  how: Transport,
  chance: Chance,
): Transported {
  for (const bad of spoilt) {
    const mixed = shuffled([...frames, bad], chance)
    refused(() => aggregate(mixed), 'aggregate')
  }
  switch (how) {
    case 'flat':
      return { mean: aggregate(frames), roundings: 1 }
    case 'shuffled': {
      const mean = aggregate(shuffled(frames, chance))
      sameBytes(mean, aggregate(frames), 'mean of frames in another order')
      return { mean, roundings: 1 }
    }
    case 'tree':
      return tree(frames, chance)
    case 'stream':
      return { mean: stream(frames, spoilt, chance), roundings: 1 }
    case 'slices':
      return { mean: slices(frames, chance), roundings: 1 }
  }
}

function tree(frames: readonly Uint8Array[], chance: Chance): Transported {
  let level = shuffled(frames, chance)
  let roundings = 0
  do {
    const groups: Uint8Array[][] = []
    for (const frame of level) {
      if (groups.length === 0 || chance() < 0.4) groups.push([frame])
      else groups.at(-1)!.push(frame)
    }
    level = groups.map(aggregate)
    roundings++
  } while (level.length > 1)
  return { mean: level[0]!, roundings }
}

function stream(
  frames: readonly Uint8Array[],
  spoilt: readonly Uint8Array[],
  chance: Chance,
): Uint8Array {
  const server = createAggregate()
  for (const frame of shuffled(frames, chance)) {
    assert.is(server.add(frame), true, 'a new frame')
    const { senders, weight } = server
    const before = server.result()
    for (const bad of spoilt) refused(() => server.add(bad), 'add')
    const named = inspect(frame).senders.length > 0
    if (named) assert.is(server.add(frame), false, 'a frame that is in already')
    assert.equal(server.senders, senders)
    assert.is(server.weight, weight)
    sameBytes(server.result(), before, 'what was added before')
  }
  return server.result()
}

/**
 * Sums slice by slice if all frames are cut alike; else cuts the mean. Slices come in any order.
 */
function slices(frames: readonly Uint8Array[], chance: Chance): Uint8Array {
  const whole = aggregate(frames)
  // A header of up to eight senders, and one block of f16.
  const most = 64 + 4 * 8 + 4 * Math.ceil(inspect(whole).ranks.length / 2) + 514
  const maxBytes = most + Math.floor(chance() * 400)
  const cut = frames.map((frame) => splitFrame(frame, maxBytes))
  const places = cut.map((parts) => parts.map((part) => JSON.stringify(inspect(part).slice)))
  const alike = places.every((list) => String(list) === String(places[0]))
  const parts = alike
    ? cut[0]!.map((_, i) => aggregate(cut.map((list) => list[i]!)))
    : splitFrame(whole, maxBytes)
  const mean = joinSlices(shuffled(parts, chance))
  sameBytes(mean, whole, 'mean that was joined from slices')
  return mean
}

/** Copies of a frame that are no longer valid frames. */
export function flipped(frame: Uint8Array, chance: Chance): Uint8Array {
  const copy = frame.slice()
  copy[Math.floor(chance() * copy.length)]! ^= 1 << Math.floor(chance() * 8)
  return copy
}

export function truncated(frame: Uint8Array, chance: Chance): Uint8Array {
  return frame.slice(0, Math.floor(chance() * frame.length))
}

export function refused(call: () => unknown, what: string): void {
  assert.throws(call, (error: unknown) => error instanceof FrameError, `${what} of a bad frame`)
}

export function shuffled<T>(items: readonly T[], chance: Chance): T[] {
  const list = [...items]
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(chance() * (i + 1))
    ;[list[i], list[j]] = [list[j]!, list[i]!]
  }
  return list
}
