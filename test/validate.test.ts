import { runInNewContext } from 'node:vm'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesIn, isFloats, show } from '../src/validate.ts'

const test = suite('validate')

test('isFloats: Float32Arrays of any realm, and nothing else', () => {
  class Own extends Float32Array {}
  for (const yes of [new Float32Array(2), new Own(2), runInNewContext('new Float32Array(2)')]) {
    assert.ok(isFloats(yes))
  }
  const others = ['new Float64Array(2)', 'new Uint8Array(8)', '[1, 2]', 'new ArrayBuffer(8)']
  for (const no of [...others.map((text) => runInNewContext(text)), null, undefined, 1, 'x']) {
    assert.not.ok(isFloats(no))
  }
  assert.not.ok(isFloats({ [Symbol.toStringTag]: 'Float32Array', length: 2 }))
})

test('bytesIn: a view of a Uint8Array or an ArrayBuffer of any realm', () => {
  const bytes = Uint8Array.of(1, 2, 3, 4)
  const foreign: Uint8Array = runInNewContext('Uint8Array.of(9, 1, 2, 3, 4).subarray(1)')
  const buffer: ArrayBuffer = runInNewContext('Uint8Array.of(1, 2, 3, 4).buffer')
  for (const input of [bytes, bytes.buffer, Buffer.from(bytes), foreign, buffer]) {
    const found = bytesIn('x', input)
    assert.is(found.constructor, Uint8Array)
    assert.equal([...found], [1, 2, 3, 4])
    assert.is(found.buffer, 'buffer' in input ? input.buffer : input, 'a view, not a copy')
  }
})

test('bytesIn: shared memory is copied; of a detached buffer there is nothing', () => {
  const shared = new SharedArrayBuffer(2)
  for (const input of [shared, new Uint8Array(shared)]) {
    new Uint8Array(shared)[1] = 7
    const found = bytesIn('x', input)
    assert.ok(found.buffer instanceof ArrayBuffer)
    new Uint8Array(shared)[1] = 8
    assert.equal([...found], [0, 7])
  }
  const sent = Uint8Array.of(1, 2)
  structuredClone(sent, { transfer: [sent.buffer] })
  assert.is(bytesIn('x', sent).length, 0)
  assert.is(bytesIn('x', sent.buffer).length, 0)
})

test('bytesIn: what is neither is named', () => {
  const wrong = [undefined, null, 1, 'AAAA', [1, 2], {}, new DataView(new ArrayBuffer(8))]
  for (const value of [...wrong, new Float32Array(2), Symbol('s'), Object.create(null)]) {
    assert.throws(
      () => bytesIn('mean', value),
      (e: Error) =>
        e instanceof TypeError &&
        e.message === `"mean": expected a Uint8Array or an ArrayBuffer, got ${show(value)}`,
    )
  }
})

test('show: a short text for any value', () => {
  const thrower = {
    get constructor() {
      throw new Error('never read')
    },
  }
  assert.equal(
    [undefined, null, 1n, Symbol('s'), 'a"b', Object.create(null), thrower, show].map(show),
    ['undefined', 'null', '1n', 'Symbol(s)', '"a\\"b"', 'an object', 'Object', 'a function'],
  )
  assert.is(show(new Float64Array(2)), 'Float64Array')
  assert.is(show(Promise.resolve()), 'Promise')
  assert.ok(show('x'.repeat(1e6)).length < 100)
})

test.run()
