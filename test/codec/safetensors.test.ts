import { existsSync, readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeSafetensors, encodeSafetensors, floatsOf } from '../../src/codec/safetensors.ts'
import { shifted } from '../support/bytes.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('safetensors')

/** A file whose header is this text, with so many bytes of data. */
function fileOf(header: string | Uint8Array, size = 0): Uint8Array {
  const json = typeof header === 'string' ? new TextEncoder().encode(header) : header
  const file = new Uint8Array(8 + json.length + size)
  new DataView(file.buffer).setUint32(0, json.length, true)
  file.set(json, 8)
  return file
}

test('gives back what was written, at any alignment, in order', () => {
  const tensors = [
    { name: 'q/0', shape: [4, 25], data: gaussian(100, 1) },
    { name: '10', shape: [3], data: Float32Array.of(1, -0, 1e-45) },
    { name: '2', shape: [], data: Float32Array.of(7) },
    { name: '__proto__', shape: [2, 0, 5], data: new Float32Array(0) },
    { name: 'ü "quoted" \\ {', shape: [1], data: Float32Array.of(5) },
  ]
  const file = encodeSafetensors(tensors, { step: '12', note: 'ä "}' })
  for (const shift of [0, 1, 2, 3]) {
    const read = decodeSafetensors(shifted(file, shift))
    assert.equal(read.metadata, { step: '12', note: 'ä "}' })
    assert.is(read.tensors.size, tensors.length)
    for (const { name, shape, data } of tensors) {
      const tensor = read.tensors.get(name)!
      assert.is(tensor.dtype, 'F32')
      assert.equal(tensor.shape, shape)
      same(floatsOf(tensor), data)
    }
  }
  assert.equal(
    [...decodeSafetensors(file).tensors.keys()].filter((name) => name !== '__proto__'),
    ['q/0', '10', '2', 'ü "quoted" \\ {'],
  )
})

test('golden: the bytes of a small file', () => {
  const data = Float32Array.of(1, 2)
  const file = encodeSafetensors([{ name: 'a', shape: [2], data }], { k: 'v' })
  const header = '{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
  const want = fileOf(header.slice(0, 80), 8)
  want.set([0, 0, 0x80, 0x3f, 0, 0, 0, 0x40], 88)
  assert.is(Buffer.from(file).toString('latin1'), Buffer.from(want).toString('latin1'))
  assert.is((file.length - 8) % 8, 0)
})

test('no tensors and no metadata is a file too', () => {
  const { metadata, tensors } = decodeSafetensors(encodeSafetensors([]))
  assert.equal(metadata, {})
  assert.is(tensors.size, 0)
  assert.is(decodeSafetensors(fileOf('{}')).tensors.size, 0)
})

test('does not write a name twice, nor a shape that is not the data', () => {
  const one = { name: 'a', shape: [1], data: new Float32Array(1) }
  assert.throws(() => encodeSafetensors([one, one]), /tensor "a": the name is taken/)
  assert.throws(() => encodeSafetensors([{ ...one, name: '__metadata__' }]), /taken/)
  assert.throws(() => encodeSafetensors([{ ...one, shape: [2] }]), /\[2\] does not have 1 floats/)
})

test('floatsOf is a view where it can be, and refuses other types', () => {
  const file = encodeSafetensors([{ name: 'a', shape: [1], data: Float32Array.of(3) }])
  assert.is(floatsOf(decodeSafetensors(file).tensors.get('a')!).buffer, file.buffer)
  const bytes = fileOf('{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}', 4)
  assert.throws(() => floatsOf(decodeSafetensors(bytes).tensors.get('a')!), /F32, got I32/)
})

const entry = (shape: string, offsets: string, dtype = '"F32"') =>
  `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`
const spoilt: [string, Uint8Array, RegExp][] = [
  ['empty', new Uint8Array(0), /at least 8 bytes, got 0/],
  ['7 bytes', new Uint8Array(7), /at least 8 bytes/],
  ['header longer than the file', fileOf('{}').subarray(0, 9), /header: expected 2 … 1 bytes/],
  ['header of 2⁶⁴ − 1 bytes', new Uint8Array(90).fill(255), /header: expected 2 … 82 bytes/],
  ['no JSON', fileOf('{"a":'), /not JSON/],
  ['no UTF-8', fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), /not JSON in UTF-8/],
  ['a list', fileOf('[]'), /expected an object/],
  ['an entry that is null', fileOf('{"a":null}'), /"a": expected an object/],
  ['metadata that are a list', fileOf('{"__metadata__":[]}'), /expected an object/],
  ['metadata with a number', fileOf('{"__metadata__":{"k":1}}'), /"k": expected a string/],
  ['an unknown type', fileOf(`{"a":${entry('[1]', '[0,4]', '"F31"')}}`, 4), /unknown type "F31"/],
  [
    'a type that is inherited',
    fileOf(`{"a":${entry('[1]', '[0,4]', '"constructor"')}}`, 4),
    /type/,
  ],
  ['no shape', fileOf('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4), /lists of integers/],
  ['a negative dimension', fileOf(`{"a":${entry('[-1,-1]', '[0,4]')}}`, 4), /lists of integers/],
  ['half a dimension', fileOf(`{"a":${entry('[0.5,2]', '[0,4]')}}`, 4), /lists of integers/],
  ['a dimension of ∞', fileOf(`{"a":${entry('[1e999]', '[0,4]')}}`, 4), /lists of integers/],
  ['one offset', fileOf(`{"a":${entry('[1]', '[0]')}}`, 4), /lists of integers/],
  ['offsets backwards', fileOf(`{"a":${entry('[1]', '[4,0]')}}`, 4), /takes 4 bytes/],
  ['a shape too large', fileOf(`{"a":${entry('[2]', '[0,4]')}}`, 4), /takes 8 bytes, not 0 … 4/],
  ['a product past 2⁵³', fileOf(`{"a":${entry('[4294967296,4294967296]', '[0,4]')}}`, 4), /takes/],
  ['data missing', fileOf(`{"a":${entry('[2]', '[0,8]')}}`, 4), /data: expected 8 bytes, got 4/],
  ['data left over', fileOf(`{"a":${entry('[1]', '[0,4]')}}`, 5), /data: expected 4 bytes, got 5/],
  ['a hole at the start', fileOf(`{"a":${entry('[1]', '[4,8]')}}`, 8), /to begin at 0, not at 4/],
  [
    'a hole',
    fileOf(`{"a":${entry('[1]', '[0,4]')},"b":${entry('[1]', '[8,12]')}}`, 12),
    /"b": expected to begin at 4, not at 8/,
  ],
  [
    'an overlap',
    fileOf(`{"a":${entry('[2]', '[0,8]')},"b":${entry('[1]', '[4,8]')}}`, 8),
    /"b": expected to begin at 8, not at 4/,
  ],
  [
    'a name twice',
    fileOf(`{"a":${entry('[1]', '[0,4]')}, "\\u0061" :${entry('[1]', '[0,4]')}}`, 4),
    /name "a" occurs twice/,
  ],
  // Each colon had the long name parsed once more.
  ['colons after one name', fileOf(`{"${'a'.repeat(4e5)}"${'[:]'.repeat(4e5)}}`), /not JSON/],
  ['lists in lists', fileOf(`{"a":${'['.repeat(1e6)}`), /nested too deeply/],
  ['objects in objects', fileOf(`{"a":${'{"b":'.repeat(1e6)}`), /nested too deeply/],
  ['a text of a million escapes', fileOf(`{"${'\\n'.repeat(1e6)}":1}`), /expected an object/],
  ['a text without an end', fileOf(`{"${'\\n'.repeat(1e6)}`), /not JSON/],
  ['metadata twice', fileOf('{"__metadata__":{},"__metadata__":{}}'), /occurs twice/],
]
for (const [name, file, message] of spoilt) {
  test(`spoilt: ${name}`, () => {
    for (const shift of [0, 1]) {
      assert.throws(
        () => decodeSafetensors(shifted(file, shift)),
        (error: Error) => error instanceof RangeError && message.test(error.message),
      )
    }
  })
}

test('every truncation of a file is refused', () => {
  const file = encodeSafetensors([{ name: 'a', shape: [3], data: gaussian(3, 1) }], { k: 'v' })
  for (let length = 0; length < file.length; length++) {
    assert.throws(
      () => decodeSafetensors(file.subarray(0, length)),
      (error: Error) => error instanceof RangeError,
    )
  }
})

test('what are no bytes is a TypeError', () => {
  for (const thing of [null, '{}', new Float32Array(10)]) {
    assert.throws(
      () => decodeSafetensors(thing as unknown as Uint8Array),
      (error: Error) => error instanceof TypeError,
    )
  }
})

// Recorded by another program; it lies in the checkout or beside it, where there is one.
const NAME = 'shared/fixtures/real-gradients/convnet-cifar10-early.safetensors'
const recorded = ['../../', '../../../']
  .map((up) => new URL(up + NAME, import.meta.url))
  .find((url) => existsSync(url))
const withFile = recorded ? test : test.skip
withFile('reads a recorded file (needs shared/fixtures)', () => {
  const { metadata, tensors } = decodeSafetensors(readFileSync(recorded!))
  assert.equal(Object.keys(metadata).sort(), ['config', 'rule', 'source'])
  assert.ok(tensors.size > 0)
  let floats = 0
  for (const tensor of tensors.values()) {
    const count = tensor.shape.reduce((size, n) => size * n, 1)
    if (tensor.dtype !== 'F32') continue
    const values = floatsOf(tensor)
    assert.is(values.length, count)
    assert.ok(values.every(Number.isFinite))
    floats += count
  }
  assert.ok(floats > 1000)
})

test.run()
