import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { hash64, xxh32 } from '../../src/codec/xxh32.ts'
import { shifted } from '../support/bytes.ts'
import { same } from '../support/close.ts'

const test = suite('xxh32')

const PRIME = 2654435761

/** The input of xxHash's own self-test: the upper bytes of a number squared again and again. */
function sanity(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = PRIME
  for (let i = 0; i < length; i++) {
    bytes[i] = state >>> 24
    state = Math.imul(state, state) >>> 0
  }
  return bytes
}

const LOREM =
  'Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut ' +
  'labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco ' +
  'laboris nisi ut aliquip ex ea commodo consequat. Duis aute irure dolor in reprehenderit in ' +
  'voluptate velit esse cillum dolore eu fugiat nulla pariatur. Excepteur sint occaecat cupidatat ' +
  'non proident, sunt in culpa qui officia deserunt mollit anim id est laborum.'

test("gives the values of xxHash's own self-test", () => {
  const table: [number, number, number][] = [
    [0, 0, 0x02cc5d05],
    [0, PRIME, 0x36b78ae7],
    [1, 0, 0xb85cbee5],
    [1, PRIME, 0xd5845d64],
    [14, 0, 0xe5aa0ab4],
    [14, PRIME, 0x4481951d],
    [101, 0, 0x1f1aa412],
    [101, PRIME, 0x498ec8e2],
  ]
  for (const [length, seed, hash] of table) assert.is(xxh32(sanity(length), seed), hash)
})

test('gives the values that other implementations publish', () => {
  const table: [string, number, number][] = [
    ['', 1, 0x0b2cb792],
    ['', 42, 0xd5be6eb8],
    ['a', 0, 0x550d7456],
    ['ab', 0, 0x4999fc53],
    ['abc', 0, 0x32d153ff],
    ['abcd', 0, 0xa3643705],
    ['abcd', 42, 0xe37d5ac5],
    ['abcde', 0, 0x9738f19b],
    ['abcdefg', 0, 0x9dd093b3],
    ['abcdefghij', 0, 0x8b988cfe],
    ['abcdefghijklmnop', 0, 0x9d2d8b62],
    ['abcdefghijklmnopqrstuvwxyz0123456789', 0, 0x42ae804d],
    ['Nobody inspects the spammish repetition', 0, 0xe2293b2f],
    [LOREM, 0, 0x62b4ed00],
  ]
  for (const [text, seed, hash] of table) {
    assert.is(xxh32(new TextEncoder().encode(text), seed), hash, text)
  }
})

test('reads at any alignment, and across the chunks of its inner loop', () => {
  for (const length of [3, 16, 33, 16383, 16384, 16385, 50001]) {
    const bytes = sanity(length)
    const hash = xxh32(bytes, 5)
    for (let shift = 1; shift < 4; shift++) assert.is(xxh32(shifted(bytes, shift), 5), hash)
    // One bit in the last chunk.
    bytes[length - 1]! ^= 0x10
    assert.is.not(xxh32(bytes, 5), hash)
  }
})

test('hash64 is two of them, with seeds 0 and 1', () => {
  same(hash64(new Uint8Array(0)), [0x05, 0x5d, 0xcc, 0x02, 0x92, 0xb7, 0x2c, 0x0b])
})

test.run()
