// One text for hosts that can await and hosts that cannot: generators that yield promises.
import { UnsupportedError } from './errors.ts'
import type { MaybePromise } from './seam.ts'

/** A computation that may have to wait; it is resumed with what its promises resolve to. */
export type Waiting<T> = Generator<Promise<unknown>, T, unknown>

/** The value, after waiting for it only if it is a promise. */
export function* wait<T>(value: MaybePromise<T>): Generator<Promise<T>, T, unknown> {
  return value instanceof Promise ? ((yield value) as T) : value
}

/** Runs to the end, awaiting what is yielded. */
export async function runAsync<T>(waiting: Waiting<T>): Promise<T> {
  let turn = waiting.next()
  while (!turn.done) {
    let value: unknown
    try {
      value = await turn.value
    } catch (error) {
      turn = waiting.throw(error)
      continue
    }
    turn = waiting.next(value)
  }
  return turn.value
}

/**
 * Runs to the end at once.
 *
 * @throws UnsupportedError  if it has to wait: the backend works asynchronously
 */
export function runSync<T>(waiting: Waiting<T>): T {
  const turn = waiting.next()
  if (turn.done) return turn.value
  return waiting.throw(
    new UnsupportedError('this backend works asynchronously: use the method without "Sync"'),
  ).value as T
}
