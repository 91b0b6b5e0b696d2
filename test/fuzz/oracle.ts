// What every door owes to bytes from outside: an error that the documentation names, or a result
// in proportion to the bytes.
import { getHeapStatistics } from 'node:v8'
import * as assert from 'uvu/assert'
import { FrameError, RoundError, UnsupportedError } from '../../src/index.ts'

/** An error class that a door documents. */
export type Documented = new (...args: never[]) => Error

/** What a call came to: its result, or its documented error. */
export type Attempted<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: Error }

const MIB = 2 ** 20

export const OF_FRAMES: readonly Documented[] = [FrameError]
export const OF_CHECKPOINTS: readonly Documented[] = [RangeError, TypeError]
export const OF_PAYLOADS: readonly Documented[] = [FrameError, RangeError, UnsupportedError]
export const OF_SLICES: readonly Documented[] = [FrameError, RangeError]
export const OF_GOSSIP: readonly Documented[] = [FrameError, RoundError]

/**
 * Watches memory: what one input takes is bounded, whatever it claims. Inputs have a few kilobytes.
 * A collection may hide what a call has taken, but never makes it seem more.
 *
 * @returns a function that fails if more has been taken since its last call
 */
export function watchMemory(): () => void {
  let before = getHeapStatistics()
  return () => {
    const after = getHeapStatistics()
    for (const [what, most] of MOST) {
      const taken = after[what] - before[what]
      assert.ok(taken <= most, `one input took more than ${most} bytes of ${what}`)
    }
    before = after
  }
}

/** Workers and their memory are made with the first input of a target. */
const MOST = [
  ['external_memory', 16 * MIB],
  ['used_heap_size', 48 * MIB],
] as const

/** Calls a door with bytes from outside. @throws  if it throws an error that is not documented */
export function attempt<T>(
  door: string,
  documented: readonly Documented[],
  call: () => T,
): Attempted<T> {
  try {
    return { ok: true, value: call() }
  } catch (error) {
    return refusal(door, documented, error)
  }
}

/** `attempt` for doors that return promises. */
export async function attemptLater<T>(
  door: string,
  documented: readonly Documented[],
  call: () => Promise<T>,
): Promise<Attempted<T>> {
  try {
    return { ok: true, value: await call() }
  } catch (error) {
    return refusal(door, documented, error)
  }
}

/** The outcome of a call that has thrown; an error that is not documented is thrown on. */
function refusal(door: string, documented: readonly Documented[], error: unknown) {
  if (!(error instanceof Error) || !documented.some((one) => error.constructor === one)) {
    const name = error instanceof Error ? error.constructor.name : typeof error
    throw new Error(`${door}: ${name} is not documented: ${error}`, { cause: error })
  }
  assert.ok(error.message.length < 1000, `${door}: a message of ${error.message.length} characters`)
  return { ok: false, error } as const
}

/** Fails unless all floats are finite. */
export function assertFinite(floats: Float32Array, what: string): void {
  const at = floats.findIndex((x) => !Number.isFinite(x))
  if (at >= 0) assert.unreachable(`${what}: [${at}] is ${floats[at]}`)
}

/** Fails unless all tensors of a checkpoint are finite. */
export function assertFiniteCheckpoint(file: Uint8Array, what: string): void {
  const length = new DataView(file.buffer, file.byteOffset).getUint32(0, true)
  assertFinite(new Float32Array(file.slice(8 + length).buffer), what)
}
