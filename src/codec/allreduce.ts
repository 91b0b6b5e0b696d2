// For engines that sum by themselves, such as MPI_Allreduce: a frame as floats, and back.
import { FrameError, UnsupportedError } from '../errors.ts'
import { beginFrame, decodeFrame, type Frame, sealFrame } from './frame.ts'
import { AT } from './header.ts'
import { f32 } from './wire/f32.ts'
import { xxh32 } from './xxh32.ts'

/** As many that the sum of their control words, < 2¹² each, is an exact float32. */
const MAX_WORKERS = 4096

/**
 * The frame's values times its weight, its scalars times its weight, then two control words: the
 * weight, and 12 bits of a hash of step, round, configHash and parent. Their sum over all workers is what
 * `fromPayload` takes. What overflows float32 arrives there as a FrameError, at every worker alike.
 *
 * @param frame  f32, its values summed; a worker without a contribution gives its frame of weight 0
 * @returns fresh floats: count + number of scalars + 2
 * @throws UnsupportedError  for other frames
 * @throws FrameError  if the frame is spoilt
 */
export function payload(frame: Uint8Array): Float32Array {
  const own = floatFrame(frame)
  const { count, scalars, weight } = own
  const floats = new Float32Array(count + scalars.length + 2)
  f32.decode(own.values, count, floats)
  floats.set(scalars, count)
  for (let i = 0; i < count + scalars.length; i++) floats[i] = floats[i]! * weight
  floats[count + scalars.length] = weight
  floats[count + scalars.length + 1] = controlWord(own)
  return floats
}

/**
 * The mean's frame from the sum of all workers' payloads, or from their average.
 *
 * It names no senders: a worker counts itself if its weight was > 0. It cannot be aggregated.
 *
 * @param sum  as long as `payload(frame)`
 * @param frame  the worker's own, of this round
 * @param workers  1 … 4096: how many payloads were summed
 * @throws RangeError  if the sum has another length, or for other numbers of workers
 * @throws FrameError  if the control word is neither `workers` times the own one (a sum) nor the own
 *   one (an average), as where a worker was at another step; or if a number is not finite. The byte
 *   is one of the sum's.
 */
export function fromPayload(sum: Float32Array, frame: Uint8Array, workers: number): Uint8Array {
  const own = floatFrame(frame)
  const { count, scalars } = own
  const means = count + scalars.length
  if (!(Number.isInteger(workers) && workers >= 1 && workers <= MAX_WORKERS)) {
    throw new RangeError(`"workers": expected 1 … ${MAX_WORKERS}, got ${workers}`)
  }
  if (sum.length !== means + 2) {
    throw new RangeError(`"sum": expected ${means + 2} floats, got ${sum.length}`)
  }
  const word = controlWord(own)
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
  // The weight of an average is only a weight per worker; of a sum of one both are the same.
  const weight = Math.abs(got === word ? divisor * workers : divisor)
  const none = new Uint32Array(0)
  const header = { ...own, senders: none, weight, scalars: averages }
  const { bytes, floats } = beginFrame(header, 4 * count)
  for (let i = 0; i < count; i++) floats![i] = meanOf(sum, i, divisor)
  return sealFrame(bytes)
}

function meanOf(sum: Float32Array, i: number, divisor: number): number {
  const total = sum[i]!
  const mean = divisor === 0 ? 0 : Math.fround(total / divisor)
  if (!Number.isFinite(total) || !Number.isFinite(mean)) {
    throw new FrameError(
      `value ${i}: expected a finite sum and mean, got ${total} and ${mean}`,
      4 * i,
    )
  }
  return mean
}

function floatFrame(bytes: Uint8Array): Frame {
  const frame = decodeFrame(bytes)
  if (frame.kind !== 'summed' || frame.type !== 'f32') {
    throw new UnsupportedError(
      `a payload needs a frame of kind summed and type f32, got ${frame.kind}, ${frame.type}: ` +
        "leave `wire` at 'f32' where the engine sums by itself",
    )
  }
  return frame
}

/** 1 … 4095, never 0: n times nothing would be nothing. The hashed fields lie side by side. */
function controlWord({ bytes }: Frame): number {
  return 1 + (xxh32(bytes.subarray(AT.round, AT.weight)) % 4095)
}
