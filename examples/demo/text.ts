// A text as small integers: a share for each worker, by position, and a tenth that no worker trains
// on.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** A text, divided. A character is its place in the vocabulary; 0 stands for all that are rare. */
export interface Corpus {
  /** how many different characters there are, the rare ones counted as one */
  readonly symbols: number
  /** one piece of the text per worker, in the order of the text */
  readonly shares: readonly Uint8Array[]
  /** every tenth of a hundred stretches: a tail alone may be a text of another kind */
  readonly heldOut: Uint8Array
  /**
   * of the held-out part's own frequencies, in nats per character: no model without context is
   * better
   */
  readonly unigramEntropy: number
}

const SYMBOLS = 256 // so that a character is a byte
const STRETCHES = 100
const HELD_OUT = 0.1 // of them
const LEAST = 1000 // characters in a share

/**
 * Reads text files, one after another. A directory means the .txt and .txt.gz files in it, sorted
 * by name; a file ending in .gz is unpacked.
 *
 * @throws Error  if a path cannot be read or a directory has no such files
 */
export function readText(paths: readonly string[]): string {
  return paths.flatMap(filesOf).map(readFile).join('')
}

/**
 * Divides a text among workers.
 *
 * @throws RangeError  if there is too little of it
 */
export function createCorpus(text: string, workers: number): Corpus {
  const characters = Array.from(text)
  const [trained, heldOut] = divide(characters)
  if (Math.min(heldOut.length, Math.floor(trained.length / workers)) < LEAST) {
    const least = Math.max(LEAST / HELD_OUT, Math.ceil((workers * LEAST) / (1 - HELD_OUT)))
    throw new RangeError(
      `the text is too short for ${workers} workers: expected ${least} characters or more, got ${characters.length}`,
    )
  }
  const places = vocabulary(trained)
  const symbols = places.size + 1
  const encode = (part: readonly string[]): Uint8Array =>
    Uint8Array.from(part, (character) => places.get(character) ?? 0)
  const share = (worker: number): number => Math.floor((trained.length * worker) / workers)
  const held = encode(heldOut)
  return {
    symbols,
    shares: Array.from({ length: workers }, (_, worker) =>
      encode(trained.slice(share(worker), share(worker + 1))),
    ),
    heldOut: held,
    unigramEntropy: entropy(held, symbols),
  }
}

/**
 * Divides a text into the part to train on and the held-out part, each in the order of the text.
 */
function divide(characters: readonly string[]): [trained: string[], heldOut: string[]] {
  const parts: [string[], string[]] = [[], []]
  const bound = (i: number): number => Math.floor((characters.length * i) / STRETCHES)
  for (let i = 0; i < STRETCHES; i++) {
    const part = parts[(i + 1) % (1 / HELD_OUT) === 0 ? 1 : 0]!
    for (let at = bound(i); at < bound(i + 1); at++) part.push(characters[at]!)
  }
  return parts
}

/** Places from 1 on for the most frequent characters. */
function vocabulary(characters: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const character of characters) counts.set(character, (counts.get(character) ?? 0) + 1)
  const frequent = [...counts].sort(([, a], [, b]) => b - a).slice(0, SYMBOLS - 1)
  return new Map(frequent.map(([character], i) => [character, i + 1]))
}

function entropy(bytes: Uint8Array, symbols: number): number {
  const counts = new Float64Array(symbols)
  for (const symbol of bytes) counts[symbol]! += 1
  return counts.reduce((sum, count) => {
    const share = count / bytes.length
    return count === 0 ? sum : sum - share * Math.log(share)
  }, 0)
}

function filesOf(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path]
  const files = readdirSync(path).filter((name) => /\.txt(\.gz)?$/.test(name))
  if (files.length === 0) throw new Error(`no .txt or .txt.gz files in ${path}`)
  return files.sort().map((name) => join(path, name))
}

function readFile(path: string): string {
  const bytes = readFileSync(path)
  return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')
}
