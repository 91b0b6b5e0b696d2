// uvu, with counts of the tests declared and run; see audit.ts.
import { writeSync } from 'node:fs'
import { type Context, suite as plain, type Test } from 'uvu'
import type { Findings } from './audit.ts'

interface Entry {
  readonly name: string
  /** tests declared, also skipped ones; how many there were at the last run; how many runs */
  declared: number
  seen: number
  runs: number
  only: number
}

const entries: Entry[] = []
const skips: string[] = []

/** uvu's `suite`, which also remembers the suite. */
export function suite<T = Context>(name = '', state?: T): Test<T> {
  const entry: Entry = { name, declared: 0, seen: 0, runs: 0, only: 0 }
  entries.push(entry)
  return new Proxy(plain<T>(name, state), {
    apply(target, self, parts) {
      entry.declared++
      return Reflect.apply(target, self, parts)
    },
    get(target, key) {
      if (key === 'skip') {
        return (label = '') => {
          entry.declared++
          skips.push(label)
          target.skip()
        }
      }
      if (key === 'only') {
        return (...parts: Parameters<Test<T>['only']>) => {
          entry.declared++
          entry.only++
          target.only(...parts)
        }
      }
      if (key === 'run') {
        return () => {
          entry.runs++
          entry.seen = entry.declared
          target.run()
        }
      }
      return Reflect.get(target, key)
    },
  })
}

/** uvu's suite without a name. */
export const test = suite()
const unnamed = entries.pop()!

process.on('exit', () => {
  const all = unnamed.declared + unnamed.runs > 0 ? [...entries, unnamed] : entries
  const findings: Findings = { problems: all.flatMap(problemsOf), skips }
  writeSync(3, JSON.stringify(findings))
})

function problemsOf({ name, declared, seen, runs, only }: Entry): string[] {
  const problems: string[] = []
  const found = (what: string) => problems.push(`suite "${name}": ${what}`)
  if (runs === 0) found('.run() is missing')
  else if (declared === 0) found('has no test')
  if (runs > 0 && declared > seen) found(`${declared - seen} tests declared after .run()`)
  if (only > 0) found('.only leaves other tests out')
  return problems
}
