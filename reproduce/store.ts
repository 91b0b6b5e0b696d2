// Stores the results of runs in a file of JSON lines. Each line is written when its run is done, so
// results remain however the command ends.
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** One line of the file. */
export interface Entry {
  /** the experiment's `kind` or name */
  readonly kind: string
  readonly run: unknown
  readonly result: unknown
  readonly seconds: number
  /** of the program that computed it, with `+` if files had changed since */
  readonly commit: string
  readonly date: string
}

export interface Store {
  find(kind: string, run: unknown): Entry | undefined
  add(entry: Entry): void
}

/**
 * @param fresh  deletes what the file holds
 * @throws Error  if the file does not hold results
 */
export function openStore(path: string, fresh: boolean): Store {
  if (fresh) rmSync(path, { force: true })
  const entries = existsSync(path) ? read(path) : new Map<string, Entry>()
  return {
    find: (kind, run) => entries.get(keyOf(kind, run)),
    add(entry) {
      mkdirSync(dirname(path), { recursive: true })
      appendFileSync(path, `${JSON.stringify(entry)}\n`)
      entries.set(keyOf(entry.kind, entry.run), entry)
    },
  }
}

function read(path: string): Map<string, Entry> {
  const text = readFileSync(path, 'utf8')
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  // A command that was killed while it wrote may have left half a line. It is removed, else the
  // next line would be added to it.
  if (whole.length < text.length) writeFileSync(path, whole)
  const entries = new Map<string, Entry>()
  for (const [i, line] of whole.split('\n').slice(0, -1).entries()) {
    try {
      const entry = JSON.parse(line) as Entry
      entries.set(keyOf(entry.kind, entry.run), entry)
    } catch (cause) {
      throw new Error(`${path}: line ${i + 1} is no JSON: --fresh begins anew`, { cause })
    }
  }
  return entries
}

/** The key of a run: equal runs have equal keys. */
export function keyOf(kind: string, run: unknown): string {
  return `${kind} ${JSON.stringify(run)}`
}
