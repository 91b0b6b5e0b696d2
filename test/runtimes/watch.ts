// Tests in another process may never end: a browser hangs, or is killed. So this file follows the
// program's output, stops a program that prints nothing for long, and tries one without an outcome
// once more.

import { stripVTControlCharacters } from 'node:util'
import { patience } from '../support/patience.ts'

/** A program that has been started, and prints. */
export interface Started {
  /** resolves when all is printed; rejects if that cannot happen */
  readonly ended: Promise<unknown>
  /** Ends the program, by force if need be. @returns what else is known of it */
  stop(): Promise<string>
}

/** How long the program may print nothing. The slowest test takes 5 s alone. */
const STILL_MS = 60_000

interface Try {
  readonly printed: string
  /** why there was no outcome, and where; null: there was one */
  readonly wrong: string | null
}

/**
 * Resolves to the program's output, whether tests failed or not. If the first try has no outcome,
 * this prints all that is known and tries once more; run.ts shows the line that says so. For each
 * part that the program prints, this prints a dot, so that run.ts sees the progress.
 *
 * @param start  starts the program; calls its argument with the text, part by part
 * @throws Error  two tries had no outcome
 */
export async function outcome(
  name: string,
  start: (print: (text: string) => void) => Started,
  stillMs = STILL_MS,
): Promise<string> {
  const first = await once(start, stillMs)
  if (first.wrong === null) return first.printed
  console.log(`ATTENTION: ${name}: ${first.wrong}. This is the second try.`)
  const second = await once(start, stillMs)
  if (second.wrong === null) return second.printed
  throw new Error(`${first.wrong}; and once more: ${second.wrong}`)
}

async function once(
  start: (print: (text: string) => void) => Started,
  stillMs: number,
): Promise<Try> {
  let printed = ''
  let last = performance.now()
  const { ended, stop } = start((text) => {
    printed += text
    last = performance.now()
    process.stderr.write('.')
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
    if (performance.now() - last < patience(stillMs)) continue
    wrong ??= `nothing printed for ${stillMs / 1000} s`
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
