// Results of runs, kept in a file of JSON lines: a line is written when a run is done, so whatever ends the
// command, what had been computed is still there.
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** One line. */
export interface Entry {
  readonly experiment: string
  readonly run: unknown
  readonly result: unknown
  readonly seconds: number
  /** of the program that it was computed with, with `+` if files had changed since */
  readonly commit: string
  readonly date: string
}

export interface Store {
  find(experiment: string, run: unknown): Entry | undefined
  /** All of an experiment, whoever asked for them. */
  all(experiment: string): readonly Entry[]
  add(entry: Entry): void
}

/**
 * @param fresh  forget what the file holds
 * @throws Error  if the file holds something else
 */
export function openStore(path: string, fresh: boolean): Store {
  if (fresh) rmSync(path, { force: true })
  const entries = existsSync(path) ? read(path) : new Map<string, Entry>()
  return {
    find: (experiment, run) => entries.get(key(experiment, run)),
    all: (name) => [...entries.values()].filter(({ experiment }) => experiment === name),
    add(entry) {
      mkdirSync(dirname(path), { recursive: true })
      appendFileSync(path, `${JSON.stringify(entry)}\n`)
      entries.set(key(entry.experiment, entry.run), entry)
    },
  }
}

function read(path: string): Map<string, Entry> {
  const text = readFileSync(path, 'utf8')
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  // A command that was killed while it wrote has left half a line, which the next would be added to.
  if (whole.length < text.length) writeFileSync(path, whole)
  const entries = new Map<string, Entry>()
  for (const [i, line] of whole.split('\n').slice(0, -1).entries()) {
    try {
      const entry = JSON.parse(line) as Entry
      entries.set(key(entry.experiment, entry.run), entry)
    } catch (cause) {
      throw new Error(`${path}: line ${i + 1} is no JSON: --fresh begins anew`, { cause })
    }
  }
  return entries
}

function key(experiment: string, run: unknown): string {
  return `${experiment} ${JSON.stringify(run)}`
}
