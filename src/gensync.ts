// One text for hosts that can await and hosts that cannot: generators that yield promises.
import type { MaybePromise } from './backend.ts'

/** A computation that may have to wait; it is resumed with what its promises resolve to. */
export type Task<T> = Generator<Promise<unknown>, T, unknown>

/** The value, after waiting for it only if it is a promise. */
export function* wait<T>(value: MaybePromise<T>): Generator<Promise<T>, T, unknown> {
  return value instanceof Promise ? ((yield value) as T) : value
}

/** Runs to the end, awaiting what is yielded. */
export async function runAsync<T>(task: Task<T>): Promise<T> {
  let turn = task.next()
  while (!turn.done) {
    let value: unknown
    try {
      value = await turn.value
    } catch (error) {
      turn = task.throw(error)
      continue
    }
    turn = task.next(value)
  }
  return turn.value
}

/** Runs to the end at once: what waits for nothing, as over a synchronous session. */
export function runSync<T>(task: Task<T>): T {
  const turn = task.next()
  if (!turn.done) throw new Error('a synchronous session has returned a promise')
  return turn.value
}

/** Runs to the end: at once if nothing in it waits, else awaiting what is yielded. */
export function runTask<T>(task: Task<T>, synchronous: boolean): MaybePromise<T> {
  return synchronous ? runSync(task) : runAsync(task)
}
