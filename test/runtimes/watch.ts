// Tests in another process may never end: a browser hangs, or is killed. So this file follows the
// program's output, stops a program that prints nothing for long, and tries one without an outcome
// once more.

import { stripVTControlCharacters } from 'node:util'

/** A program that has been started, and prints. */
export interface Started {
  /** resolves when all is printed; rejects if that cannot happen */
  readonly ended: Promise<unknown>
  /** Ends the program, by force if need be. @returns what else is known of it */
  stop(): Promise<string>
}

export interface Limits {
  /** how long the program may print nothing */
  readonly stillMs: number
  /** when the program must have ended, on this process's clock: run.ts gives each file 300 s */
  readonly untilMs: number
}

/** The slowest test takes 5 s alone, and 7 s while others compute. */
const LIMITS: Limits = { stillMs: 60_000, untilMs: 275_000 }

interface Try {
  readonly printed: string
  /** why there was no outcome, and where; null: there was one */
  readonly wrong: string | null
}

/**
 * Resolves to the program's output, whether tests failed or not. If the first try has no outcome,
 * this prints all that is known and tries once more; run.ts shows the line that says so.
 *
 * @param start  starts the program; calls its argument with the text, part by part
 * @throws Error  two tries had no outcome, or there is no time left for a second
 */
export async function outcome(
  name: string,
  start: (print: (text: string) => void) => Started,
  limits = LIMITS,
): Promise<string> {
  const first = await once(start, limits)
  if (first.wrong === null) return first.printed
  if (performance.now() >= limits.untilMs) throw new Error(first.wrong)
  console.log(`ATTENTION: ${name}: ${first.wrong}. This is the second try.`)
  const second = await once(start, limits)
  if (second.wrong === null) return second.printed
  throw new Error(`${first.wrong}; and once more: ${second.wrong}`)
}

async function once(
  start: (print: (text: string) => void) => Started,
  { stillMs, untilMs }: Limits,
): Promise<Try> {
  let printed = ''
  let last = performance.now()
  const { ended, stop } = start((text) => {
    printed += text
    last = performance.now()
  })
  /** Undefined while it runs, null at a good end. */
  let wrong: string | null | undefined
  ended.then(
    () => {
      wrong ??= null
    },
    (error) => {
      wrong ??= String(error)
    },
  )
  while (wrong === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    const now = performance.now()
    if (now - last >= stillMs) wrong ??= `nothing printed for ${stillMs / 1000} s`
    else if (now >= untilMs) wrong ??= `not at its end when ${untilMs / 1000} s were over`
  }
  const known = await stop()
  if (wrong === null) return { printed, wrong }
  const plain = stripVTControlCharacters(printed)
  // The bar marks the program's output, so that run.ts does not take it for this file's own.
  console.log(`\n${wrong}\n${known}\nIt has printed:\n${plain.replace(/^/gm, '| ')}`)
  return { printed, wrong: `${wrong.split('\n')[0]}, ${where(plain)}` }
}

/**
 * The test that was running, by uvu's output: a suite's name, a mark after each test, the counts.
 */
function where(printed: string): string {
  const lines = printed.matchAll(/^ (\S.*?) {2}((?:[•✘] )*)( *\(\d+ \/ \d+\))?$/gm)
  const [, suite, marks, end] = [...lines].at(-1) ?? []
  if (suite === undefined) return 'before the first suite'
  return end ? `after "${suite}"` : `in test ${marks!.length / 2 + 1} of "${suite}"`
}
