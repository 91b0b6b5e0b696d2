// The same code for asynchronous and synchronous calls: generators that yield promises.
import type { MaybePromise } from './backend.ts'

/** A computation that yields a promise when it must wait, and is resumed with its value. */
export type Task<T> = Generator<Promise<unknown>, T, unknown>

/** Waits for a value if it is a promise; otherwise returns it at once. */
export function* wait<T>(value: MaybePromise<T>): Generator<Promise<T>, T, unknown> {
  return isPromise(value) ? ((yield value) as T) : value
}

/** Whether this is a promise, of any realm. */
export function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as { then?: unknown } | undefined)?.then === 'function'
}

/** Runs a task to its end, and awaits the promises that it yields. */
export async function runAsync<T>(task: Task<T>): Promise<T> {
  let result = task.next()
  while (!result.done) {
    let value: unknown
    try {
      value = await result.value
    } catch (error) {
      result = task.throw(error)
      continue
    }
    result = task.next(value)
  }
  return result.value
}

/**
 * Runs a task that never waits, as on a synchronous session.
 *
 * @throws Error  if it yields a promise
 */
export function runSync<T>(task: Task<T>): T {
  const { done, value } = task.next()
  if (!done) throw new Error('a synchronous session has returned a promise')
  return value
}

/**
 * Runs a task to its end, with or without waiting.
 *
 * @param synchronous  true: the task never waits
 */
export function runTask<T>(task: Task<T>, synchronous: boolean): MaybePromise<T> {
  return synchronous ? runSync(task) : runAsync(task)
}
