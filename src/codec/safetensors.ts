// The file format of checkpoints: https://github.com/huggingface/safetensors
//
//   8 bytes  length of the header, u64
//   header   JSON { name: { dtype, shape, data_offsets:[from,to] }, "__metadata__": { … } }, blanks
//   data     little-endian, one tensor after another without gaps; offsets count from here

import { type Bytes, type BytesLike, bytesOf, dataView, textOf, utf8 } from '../bytes.ts'
import { bytesIn } from '../validate.ts'

/** A tensor in a file. */
export interface StoredTensor {
  /** the type's name in the file: F32, I64, … */
  readonly dtype: string
  readonly shape: readonly number[]
  /** a view of the file's bytes, at any alignment */
  readonly bytes: Uint8Array
}

/** A float32 tensor to be written. */
export interface NamedFloats {
  readonly name: string
  readonly shape: readonly number[]
  /** row-major, as many floats as the product of the shape */
  readonly data: Float32Array
}

/** The name of the entry that is not a tensor. */
const METADATA = '__metadata__'
/** Bytes of the largest header that other readers accept. */
const MAX_HEADER = 100_000_000
/** Brackets in brackets: 3 are needed, and some programs may add fields of their own. */
const MOST_DEPTH = 8
/** Bytes of an element of each type. */
const WIDTHS = new Map<unknown, number>([
  ...['BOOL', 'U8', 'I8', 'F8_E4M3', 'F8_E5M2'].map((type) => [type, 1] as const),
  ...['U16', 'I16', 'F16', 'BF16'].map((type) => [type, 2] as const),
  ...['U32', 'I32', 'F32'].map((type) => [type, 4] as const),
  ...['U64', 'I64', 'F64', 'C64'].map((type) => [type, 8] as const),
])

/**
 * Writes a file of float32 tensors, in the given order. The data begin at a multiple of 8.
 *
 * @throws RangeError  if a name occurs twice or is reserved, or a length is not the product of its
 *   shape
 */
export function encodeSafetensors(
  tensors: Iterable<NamedFloats>,
  metadata: Record<string, string> = {},
): Bytes {
  const all = [...tensors]
  const entries: [string, unknown][] = [[METADATA, metadata]]
  const names = new Set([METADATA])
  let size = 0
  for (const { name, shape, data } of all) {
    if (names.has(name)) throw new RangeError(`tensor ${quoted(name)}: the name is taken`)
    names.add(name)
    if (product(shape) !== data.length) {
      throw new RangeError(`tensor ${quoted(name)}: [${shape}] does not have ${data.length} floats`)
    }
    const offsets = [size, size + data.byteLength]
    entries.push([name, { dtype: 'F32', shape, data_offsets: offsets }])
    size += data.byteLength
  }
  // Not by way of an object, in which names such as "0" would come first, and "__proto__" be
  // missing.
  const pairs = entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`)
  const json = utf8(`{${pairs.join(',')}}`)
  const length = 8 * Math.ceil(json.length / 8)
  const file = new Uint8Array(8 + length + size)
  new DataView(file.buffer).setUint32(0, length, true)
  file.set(json, 8)
  file.fill(0x20, 8 + json.length, 8 + length)
  let at = 8 + length
  for (const { data } of all) {
    file.set(bytesOf(data), at)
    at += data.byteLength
  }
  return file
}

/**
 * Reads a file from outside, and trusts nothing in it. The tensors are views of the file, in the
 * order of their data.
 *
 * @param name  how a TypeError calls the bytes
 * @throws TypeError  if these are not bytes
 * @throws RangeError  if it is not a safetensors file
 */
export function decodeSafetensors(
  bytes: BytesLike,
  name = 'checkpoint',
): {
  metadata: Record<string, string>
  tensors: Map<string, StoredTensor>
} {
  const file = bytesIn(name, bytes)
  expect(file.length >= 8, `expected at least 8 bytes, got ${file.length}`)
  const view = dataView(file)
  const length = view.getUint32(0, true) + 2 ** 32 * view.getUint32(4, true)
  const most = Math.min(MAX_HEADER, file.length - 8)
  expect(length >= 2 && length <= most, `header: expected 2 … ${most} bytes, got ${length}`)
  const header = parse(file.subarray(8, 8 + length))
  const data = file.subarray(8 + length)
  const metadata = objectOf(header[METADATA] ?? {}, METADATA)
  for (const [key, value] of Object.entries(metadata)) {
    expect(typeof value === 'string', `metadata ${quoted(key)}: expected a string`)
  }
  const spans = Object.entries(header)
    .filter(([name]) => name !== METADATA)
    .map(([name, entry]) => spanOf(name, objectOf(entry, name)))
    .sort((a, b) => a.from - b.from || a.to - b.to)
  let next = 0
  for (const { name, from, to } of spans) {
    expect(from === next, `tensor ${quoted(name)}: expected to begin at ${next}, not at ${from}`)
    next = to
  }
  expect(next === data.length, `data: expected ${next} bytes, got ${data.length}`)
  const tensors = new Map<string, StoredTensor>()
  for (const { name, dtype, shape, from, to } of spans) {
    tensors.set(name, { dtype, shape, bytes: data.subarray(from, to) })
  }
  return { metadata: metadata as Record<string, string>, tensors }
}

/**
 * The floats of an F32 tensor: a view if its alignment allows, otherwise a copy.
 *
 * @throws RangeError  if the tensor is of another type
 */
export function floatsOf({ dtype, bytes }: StoredTensor): Float32Array {
  expect(dtype === 'F32', `expected a tensor of type F32, got ${dtype}`)
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4)
}

/** An entry of the header: a tensor and its place in the data. */
interface Span {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly from: number
  readonly to: number
}

/**
 * Checks the entry of one tensor, except that its offsets lie within the data.
 *
 * @throws RangeError
 */
function spanOf(name: string, { dtype, shape, data_offsets }: Record<string, unknown>): Span {
  const width = WIDTHS.get(dtype)
  expect(width !== undefined, `tensor ${quoted(name)}: unknown type ${quoted(dtype)}`)
  const counts = `tensor ${quoted(name)}: shape and offsets must be lists of integers ≥ 0`
  expect(isCounts(shape) && isCounts(data_offsets) && data_offsets.length === 2, counts)
  const [from, to] = data_offsets as [number, number]
  const bytes = width * product(shape)
  const message = `tensor ${quoted(name)}: [${shape}] of ${dtype} takes ${bytes} bytes`
  expect(to - from === bytes, `${message}, not ${from} … ${to}`)
  return { name, dtype: String(dtype), shape, from, to }
}

/** Parses the header. @throws RangeError  if it is not a JSON object, or a name occurs twice */
function parse(bytes: Uint8Array): Record<string, unknown> {
  try {
    const text = textOf(bytes)
    checkNames(text)
    return objectOf(JSON.parse(text), 'header')
  } catch (cause) {
    if (cause instanceof RangeError) throw cause
    throw new RangeError('safetensors: the header is not JSON in UTF-8', { cause })
  }
}

/**
 * Checks what `JSON.parse` would let pass: a key that occurs twice in one object, and lists in lists
 * in lists, which take far more memory and time than their bytes.
 *
 * @param json  maybe not valid
 * @throws RangeError
 */
function checkNames(json: string): void {
  const open: Set<string>[] = []
  let last = '' // the last string, which is a key if a colon follows
  for (let i = 0; i < json.length; i++) {
    const c = json[i]!
    if (c === '"') {
      const from = i
      while (++i < json.length && json[i] !== '"') if (json[i] === '\\') i++
      last = json.slice(from, i + 1)
    } else if (c === ':') {
      const [name, names] = [JSON.parse(last), open.at(-1)]
      last = '' // no other colon may follow it
      expect(!names?.has(name), `name ${quoted(name)} occurs twice`)
      names?.add(name)
    } else if (c === '{' || c === '[') {
      expect(open.push(new Set()) <= MOST_DEPTH, 'header: nested too deeply')
    } else if (c === '}' || c === ']') open.pop()
  }
}

function objectOf(value: unknown, name: string): Record<string, unknown> {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  expect(isObject, `${quoted(name)}: expected an object`)
  return value as Record<string, unknown>
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0)
}

function product(shape: readonly number[]): number {
  return shape.reduce((size, n) => size * n, 1)
}

/** The value as JSON, cut to 80 characters: texts from outside may be long, or contain anything. */
export function quoted(value: unknown): string {
  return String(JSON.stringify(value)).slice(0, 80)
}

function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new RangeError(`safetensors: ${message}`)
}
