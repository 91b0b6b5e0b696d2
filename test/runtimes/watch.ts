// Tests in another place may come to no end: a browser's process hangs, or is killed. So what they print is
// known at every moment, who prints nothing for long is stopped, and what had no outcome is tried once more.

import { stripVTControlCharacters } from 'node:util'

/** A program that has been started, and prints. */
export interface Started {
  /** settles when all is printed; rejects if that will not be */
  readonly ended: Promise<unknown>
  /** Ends it, by force if need be. @returns what else is known of it */
  stop(): Promise<string>
}

export interface Limits {
  /** how long it may print nothing */
  readonly stillMs: number
  /** when it has to be over, in this process's time: run.ts gives each file 300 s */
  readonly untilMs: number
}

/** The slowest test takes 5 s alone, and 7 s while others compute. */
const LIMITS: Limits = { stillMs: 60_000, untilMs: 275_000 }

interface Try {
  readonly printed: string
  /** why there was no outcome, and where; null: there was */
  readonly wrong: string | null
}

/**
 * Resolves to what it prints until its end, failed tests or not. Where there was none, prints all that is
 * known, and starts it once more: a line says so that run.ts shows.
 *
 * @param start  is given what takes the text, part by part
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
  // Not to be taken for what this file says of its own tests.
  console.log(`\n${wrong}\n${known}\nIt has printed:\n${plain.replace(/^/gm, '| ')}`)
  return { printed, wrong: `${wrong.split('\n')[0]}, ${where(plain)}` }
}

/** Which test was running, by what uvu prints: a suite's name, a mark after each test, the counts. */
function where(printed: string): string {
  const lines = printed.matchAll(/^ (\S.*?) {2}((?:[•✘] )*)( *\(\d+ \/ \d+\))?$/gm)
  const [, suite, marks, end] = [...lines].at(-1) ?? []
  if (suite === undefined) return 'before the first suite'
  return end ? `after "${suite}"` : `in test ${marks!.length / 2 + 1} of "${suite}"`
}
