// Frames as arrays of floats and back, for libraries that sum arrays themselves, such as
// MPI_Allreduce.
import type { Bytes, BytesLike, Floats } from '../bytes.ts'
import { FrameError, UnsupportedError } from '../errors.ts'
import { integer, isFloats, wrongType } from '../validate.ts'
import { beginFrame, decodeFrame, type Frame, sealFrame } from './frame.ts'
import { AT } from './header.ts'
import { f32 } from './wire/f32.ts'
import { LIMIT } from './wire/wire-type.ts'
import { xxh32 } from './xxh32.ts'

/** 2¹² workers: the sum of their control words, each below 2¹², is still exact in float32. */
const MAX_WORKERS = 4096

/**
 * Converts a frame to floats for an all-reduce that sums arrays, such as MPI_Allreduce. Give the
 * sum over all workers to `fromPayload`.
 *
 * The floats are the frame's values times its weight, its scalars times its weight, and two control
 * words: the weight, and a word of 12 bits hashed from step, round, configHash and parent. If the
 * sum overflows float32, `fromPayload` throws a FrameError on every worker.
 *
 * @param frame  a frame with wire type f32 of a round that is summed. A worker that is absent from
 *   the step gives its frame of weight 0
 * @returns a new array: the number of values + the number of scalars + 2
 * @throws UnsupportedError  if the frame has another wire type, or is gathered
 * @throws TypeError  if these are not bytes
 * @throws FrameError  if the frame is damaged
 */
export function payload(frame: BytesLike): Floats {
  const sent = floatFrame(frame)
  const { count, scalars, weight } = sent
  const floats = new Float32Array(count + scalars.length + 2)
  f32.decode(sent.values, count, floats)
  floats.set(scalars, count)
  for (let i = 0; i < count + scalars.length; i++) floats[i] = floats[i]! * weight
  floats[count + scalars.length] = weight
  floats[count + scalars.length + 1] = controlWord(sent)
  return floats
}

/**
 * Makes the frame of the mean, for `Compressor.receive`, from the sum of all workers' payloads or
 * from their average.
 *
 * The frame lists no senders: each worker whose weight was > 0 counts itself as part of the mean.
 * The frame cannot be aggregated.
 *
 * @param sum  the sum or the average, as long as `payload(frame)`
 * @param frame  this worker's own frame of the round
 * @param workers  how many payloads were summed, 1 … 4096
 * @returns a new frame
 * @throws TypeError, RangeError  if `sum` is no Float32Array of that length, or `workers` is out
 *   of range
 * @throws FrameError  if the control word is neither `workers` times this worker's own (a sum) nor
 *   equal to it (an average), as when a worker was at another step; or if a number is not finite.
 *   Its `byte` is an offset in `sum`
 */
export function fromPayload(sum: Float32Array, frame: BytesLike, workers: number): Bytes {
  const sent = floatFrame(frame)
  const { count, scalars } = sent
  const means = count + scalars.length
  integer('workers', workers, 1, MAX_WORKERS)
  if (!isFloats(sum)) throw wrongType('sum', 'a Float32Array', sum)
  if (sum.length !== means + 2) {
    throw new RangeError(`"sum": expected ${means + 2} floats, got ${sum.length}`)
  }
  const word = controlWord(sent)
  const got = sum[means + 1]!
  if (got !== word && got !== word * workers) {
    throw new FrameError(
      `control word: expected ${word * workers} (a sum) or ${word} (an average), got ${got}: the ` +
        'workers differ in step, round, configHash or parent, or the engine did not sum all payloads',
      4 * (means + 1),
    )
  }
  const divisor = sum[means]!
  if (!(Number.isFinite(divisor) && divisor >= 0)) {
    throw new FrameError(`weight: expected a finite number ≥ 0, got ${divisor}`, 4 * means)
  }
  const averages = new Float32Array(scalars.length)
  for (let i = 0; i < scalars.length; i++) averages[i] = meanOf(sum, count + i, divisor)
  // An average has the mean weight of a worker in place of the sum. For one worker both are equal.
  const weight = Math.abs(got === word ? divisor * workers : divisor)
  const header = { ...sent, senders: new Uint32Array(0), weight, scalars: averages }
  const { bytes, floats } = beginFrame(header, 4 * count)
  for (let i = 0; i < count; i++) floats![i] = meanOf(sum, i, divisor)
  return sealFrame(bytes)
}

/**
 * Element i of the sum ÷ divisor; 0 if the divisor is 0.
 *
 * @throws FrameError  if the sum is not finite, or the mean not below 2⁶⁴
 */
function meanOf(sum: Float32Array, i: number, divisor: number): number {
  const total = sum[i]!
  const mean = divisor === 0 ? 0 : Math.fround(total / divisor)
  if (!(Number.isFinite(total) && Math.abs(mean) < LIMIT)) {
    throw new FrameError(
      `value ${i}: expected a finite sum, and a mean below 2⁶⁴, got ${total} and ${mean}`,
      4 * i,
    )
  }
  return mean
}

/** Decodes a summed frame of type f32. @throws FrameError, UnsupportedError */
function floatFrame(bytes: BytesLike): Frame {
  const frame = decodeFrame(bytes)
  if (frame.kind !== 'summed' || frame.type !== 'f32') {
    throw new UnsupportedError(
      `a payload needs a frame of kind summed and type f32, got ${frame.kind}, ${frame.type}: ` +
        "leave `wire` at 'f32' where the engine sums by itself",
    )
  }
  return frame
}

/**
 * A hash of step, round, configHash and parent, which are adjacent in the header: 1 … 4095. It is
 * never 0, because 0 equals its own multiples.
 */
function controlWord({ bytes }: Frame): number {
  return 1 + (xxh32(bytes.subarray(AT.round, AT.weight)) % 4095)
}
