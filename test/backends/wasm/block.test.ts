// The words of a block stand in assembly/inline/block.ts as a table and as the offsets that are
// loaded, and blocks.ts writes them: all must agree.
import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { BLOCK_WORDS, type Block, writeBlock } from '../../../src/backends/wasm/blocks.ts'
import type { Place } from '../../../src/backends/wasm/places.ts'

const assembly = readFileSync(new URL('../../../assembly/inline/block.ts', import.meta.url), 'utf8')

const parameter: Place = {
  ...{ index: 0, shape: [50, 70], length: 3500, rows: 50, cols: 70, rank: 3, frozen: false },
  ...{ offset: 1, left: 2, right: 3, raw: 0 },
  ...{ m: 1000, p: 400, q: 600, wide: 72, tall: 54 },
}

const test = suite('words of a block')

test('the table and the loads of assembly agree', () => {
  assert.equal(differences(assembly), [])
})

test('the check finds words that differ', () => {
  const planted = (text: string, instead: string) => {
    assert.ok(assembly.includes(text), text)
    return differences(assembly.replace(text, instead))
  }
  assert.equal(planted('load<i32>(block, 8)', 'load<i32>(block, 12)'), [
    'rows: loaded from byte 12',
  ])
  assert.equal(planted('<usize>load<u32>(block, 24)', '<usize>load<u32>(block, 32)'), [
    'pStride: loaded from byte 32',
  ])
  assert.equal(planted('export function gOf', 'export function yOf'), [
    'g: not loaded',
    'y: no word',
  ])
  assert.equal(
    planted('//      2  rows\n//      3  cols\n', '//      2  cols\n//      3  rows\n'),
    ['cols: loaded from byte 12', 'rows: loaded from byte 8'],
  )
  assert.equal(planted('//     10  gStride', '//     11  gStride'), [
    'gStride: word 11 in place 10',
  ])
  assert.equal(planted('BLOCK_BYTES: usize = 52', 'BLOCK_BYTES: usize = 44'), [
    '44 bytes: 13 words',
  ])
})

test('TypeScript writes the words of the table, in its order', () => {
  const block: Block = { parameter, start: 70 * 4 + 30, rows: 6, cols: 40, at: 0 }
  assert.equal(written(block), {
    m: 4 * (1000 + 72 * 4 + 30),
    mStride: 72,
    rows: 6,
    cols: 40,
    rank: 3,
    p: 4 * (400 + 4),
    pStride: 54,
    q: 4 * (600 + 30),
    qStride: 72,
    g: 4 * 5000,
    gStride: 70,
    first: 0,
    former: 4 * 8000,
  })
  assert.is(written({ ...block, start: 70 * 4 }).first, 1)
  assert.is(written(block, true).gStride, 40)
  const flat = { ...parameter, rank: 0, wide: 70 }
  const raw = written({ ...block, parameter: flat, rows: 1 })
  assert.is(raw.m, 4 * (1000 + 70 * 4 + 30))
  assert.is(raw.mStride, 40)
})

test.run()

/** A block as `writeBlock` writes it second of two, by the names of assembly's table. */
function written(block: Block, packed = false): Record<string, number> {
  const table = new Int32Array(2 * BLOCK_WORDS)
  writeBlock(table, 1, block, 5000, packed, 8000)
  assert.equal(table.subarray(0, BLOCK_WORDS), new Int32Array(BLOCK_WORDS))
  const words = [...table.subarray(BLOCK_WORDS)]
  return Object.fromEntries(tableOf(assembly).map(([, name], i) => [name, words[i]!]))
}

/** Number and name of each word, as the comment lists them. */
function tableOf(text: string): [number, string][] {
  return [...text.matchAll(/^\/\/ +(\d+) {2}(\w+)/gm)].map(([, at, name]) => [Number(at), name!])
}

function differences(text: string): string[] {
  const found: string[] = []
  const words = tableOf(text)
  const loads = new Map<string, number>()
  for (const [, next, name, body] of text.matchAll(/function (nextIn)?(\w+)Of\(.*?\{(.*?)\}/gs)) {
    const [, at = '0'] = body!.match(/load<\w+>\(block(?:, (\d+))?\)/)!
    loads.set(next ? `${name!.toLowerCase()}Stride` : name!, Number(at))
  }
  for (const [i, [at, name]] of words.entries()) {
    if (at !== i) found.push(`${name}: word ${at} in place ${i}`)
    const byte = loads.get(name)
    if (byte === undefined) found.push(`${name}: not loaded`)
    else if (byte !== 4 * i) found.push(`${name}: loaded from byte ${byte}`)
    loads.delete(name)
  }
  for (const name of loads.keys()) found.push(`${name}: no word`)
  const [, bytes] = text.match(/BLOCK_BYTES: usize = (\d+)/)!
  if (Number(bytes) !== 4 * words.length) found.push(`${bytes} bytes: ${words.length} words`)
  return found
}
