// Frames of every wire type and both kinds, at the doors that know no workers.
import * as assert from 'uvu/assert'
import { decodeFrame } from '../../src/codec/frame.ts'
import { frameOf, gatheredOf, partOf, wordPartOf } from '../support/bytes.ts'
import { sameBytes } from '../support/close.ts'
import type { Dice } from './dice.ts'
import { FLOATS, mutatedFrame } from './frame-mutations.ts'
import { attempt, OF_FRAMES, OF_PAYLOADS, OF_SLICES } from './oracle.ts'
import type { Doors, Target } from './target.ts'

const TYPES = ['f32', 'f16', 'bf16', 'int8'] as const

export async function openCodec(dice: Dice, doors: Doors): Promise<Target> {
  const gathered = dice.hits(0.4)
  const frames = [1, 2, 5].map((sender) => {
    const weight = dice.pick([1, 1, 3, 2 ** -149, 3e38])
    return gathered ? someParts(sender, weight, dice) : someValues(sender, weight, dice)
  })
  const originals = frames.map((frame) => frame.slice())
  return {
    what: `codec, ${gathered ? 'gathered' : 'summed'}`,
    async next() {
      const accepted = tryFrame(mutatedFrame(dice.pick(frames), dice, frames), frames, dice, doors)
      for (const [i, frame] of frames.entries()) {
        sameBytes(frame, originals[i]!, 'a frame, which is only read')
      }
      return accepted
    },
    close() {},
  }
}

const COUNT = 150

function someValues(sender: number, weight: number, dice: Dice): Uint8Array {
  const values = Array.from({ length: COUNT }, () => 2 * dice.chance() - 1)
  const type = dice.pick(TYPES)
  return frameOf(values, { senders: [sender], weight, type, scalars: [0.5, 2], segments: [90, 60] })
}

function someParts(sender: number, weight: number, dice: Dice): Uint8Array {
  const words = Array.from({ length: 20 }, () => dice.below(2 ** 32))
  const floats = new Uint32Array(Float32Array.from({ length: 9 }, dice.chance).buffer)
  const part = dice.hits(0.5)
    ? wordPartOf(sender, Math.fround(weight), words)
    : partOf(sender, Math.fround(weight), [20, 9, ...words, ...floats])
  return gatheredOf([part])
}

/**
 * Gives a frame that may be one of this round to the doors of a server.
 *
 * @param frames  valid ones of other senders
 * @returns whether `aggregate` accepts it
 */
function tryFrame(
  mutant: Uint8Array,
  frames: readonly Uint8Array[],
  dice: Dice,
  doors: Doors,
): boolean {
  const before = mutant.slice()
  inspected(mutant, doors)
  const others = frames.filter((_, i) => i < 2)
  const mean = aggregated(mutant, others, dice, doors)
  const alone = attempt('aggregate', OF_FRAMES, () => doors.aggregate([mutant]))
  if (mean !== null) assert.ok(alone.ok, 'a frame that is accepted among others is so alone')
  if (alone.ok) {
    decodeFrame(alone.value)
    cut(mutant, dice, doors)
  }
  tryPayload(mutant, dice, doors)
  sameBytes(mutant, before, 'a mutant, which is only read')
  return alone.ok
}

/** Lists of an inspection are no longer than their bytes. */
export function inspected(mutant: Uint8Array, doors: Doors): void {
  const seen = attempt('inspect', OF_FRAMES, () => doors.inspect(mutant))
  if (!seen.ok) return
  const { senders, scalars, ranks, bytes } = seen.value
  assert.is(bytes, mutant.length)
  assert.ok(4 * (senders.length + scalars.length) + 2 * ranks.length <= bytes, 'lists of inspect')
}

/**
 * Gives a mutant to `aggregate`, and to `add` after the others: both must accept it or refuse it.
 *
 * @returns the mean; null if it is refused, and then the others' mean is what it was
 */
export function aggregated(
  mutant: Uint8Array,
  others: readonly Uint8Array[],
  dice: Dice,
  doors: Doors,
): Uint8Array | null {
  const all = [...others]
  all.splice(dice.below(all.length + 1), 0, mutant)
  const given = all.reduce((sum, { length }) => sum + length, 0)
  const whole = attempt('aggregate', OF_FRAMES, () => doors.aggregate(all))
  const server = doors.createAggregate()
  for (const frame of others) assert.is(server.add(frame), true, 'add of a good frame')
  const { senders, weight } = server
  const before = server.result()
  const added = attempt('add', OF_FRAMES, () => server.add(mutant))
  const counted = added.ok && added.value
  assert.is(counted, whole.ok, `add ${counted ? 'accepts' : 'refuses'} what aggregate does not`)
  if (!whole.ok) {
    sameBytes(server.result(), before, 'the sum after a frame that is refused')
    assert.equal(server.senders, senders, 'senders after a frame that is refused')
    assert.is(server.weight, weight, 'weight after a frame that is refused')
    return null
  }
  const mean = decodeFrame(whole.value)
  assert.equal([...decodeFrame(server.result()).senders], [...mean.senders], 'senders of a mean')
  assert.ok(whole.value.length <= 4 * given + 256, 'a mean is no longer than its frames')
  return whole.value
}

/** Cuts a valid frame, and joins its slices, of which one may be a mutant itself. */
function cut(frame: Uint8Array, dice: Dice, doors: Doors): void {
  const maxBytes = 64 + dice.below(1 + frame.length)
  const slices = attempt('splitFrame', OF_SLICES, () => doors.splitFrame(frame, maxBytes))
  if (!slices.ok) return
  const size = slices.value.reduce((sum, { length }) => sum + length, 0)
  assert.ok(size <= 70 * frame.length, `slices of ${size} bytes of a frame of ${frame.length}`)
  for (const slice of slices.value) assert.ok(slice.length <= maxBytes, 'a slice that is too long')
  const joined = attempt('joinSlices', OF_SLICES, () => doors.joinSlices(slices.value))
  // A slice can be cut, but not be joined to a whole frame without the others.
  const { slice } = doors.inspect(frame)
  const whole = slice.offset === 0 && slice.count === slice.total
  assert.is(joined.ok, whole, 'slices of a whole frame can be joined')
  if (joined.ok) sameBytes(joined.value, frame, 'a frame that was cut')
  const at = dice.below(slices.value.length)
  const spoilt = slices.value.map((one, i) =>
    i === at ? mutatedFrame(one, dice, slices.value) : one,
  )
  const other = attempt('joinSlices', OF_SLICES, () => doors.joinSlices(spoilt))
  if (other.ok) decodeFrame(other.value)
}

/** Sums as an engine might deliver them. */
function tryPayload(mutant: Uint8Array, dice: Dice, doors: Doors): void {
  const own = attempt('payload', OF_PAYLOADS, () => doors.payload(mutant))
  if (!own.ok) return
  const sum = own.value
  for (let n = dice.below(3); n > 0; n--) {
    const at = dice.hits(0.5) ? dice.below(sum.length) : sum.length - 1 - dice.below(2)
    sum[at] = dice.pick(FLOATS)
  }
  const workers = dice.pick([1, 2, 4096])
  const mean = attempt('fromPayload', OF_PAYLOADS, () => doors.fromPayload(sum, mutant, workers))
  if (mean.ok) decodeFrame(mean.value)
}
