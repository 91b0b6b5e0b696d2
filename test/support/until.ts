// Waiting without a clock: on a busy machine anything takes long. run.ts ends a file that stalls.
import { setTimeout as pause } from 'node:timers/promises'

/** Waiting becomes visible after so long. It goes on. */
const TELL_MS = 20_000

/**
 * Polls until `done` holds, for ever. If that takes long, it prints once what it waits for, for the
 * output that run.ts shows.
 */
export async function until(what: string, done: () => boolean | Promise<boolean>): Promise<void> {
  const tell = setTimeout(() => console.error(`waiting until ${what}`), TELL_MS)
  while (!(await done())) await pause(20)
  clearTimeout(tell)
}
