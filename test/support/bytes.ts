// Frames and bytes for the tests of the codec.

import * as assert from 'uvu/assert'
import { beginFrame, sealFrame } from '../../src/codec/frame.ts'
import { type PackedPart, partsLength, writeParts } from '../../src/codec/gathered.ts'
import type { Header } from '../../src/codec/header.ts'
import type { Wire } from '../../src/codec/wire/index.ts'
import { wireType } from '../../src/codec/wire/index.ts'
import { FrameError } from '../../src/errors.ts'

/** The fields in which a frame differs from the usual one of one sender. */
export type Wishes = Partial<Omit<Header, 'senders' | 'ranks' | 'scalars'>> & {
  senders?: readonly number[]
  ranks?: readonly number[]
  scalars?: readonly number[]
  /** lengths of the columns, for int8 */
  segments?: readonly number[]
}

/**
 * A sealed frame of summed values: sender 0, weight 1, step 7, round 1, one parameter of rank 2.
 */
export function frameOf(values: ArrayLike<number>, wishes: Wishes = {}): Uint8Array {
  const floats = Float32Array.from(values)
  const type: Wire = wishes.type ?? 'f32'
  const segments = wishes.segments ?? [floats.length]
  const header = headerOf({ type, total: floats.length, count: floats.length, ...wishes })
  const { bytes, values: into } = beginFrame(header, wireType(type).encodedLength(segments))
  wireType(type).encode(floats, segments, into)
  return sealFrame(bytes)
}

/** A sealed frame of gathered parts, named by them. */
export function gatheredOf(parts: readonly PackedPart[], wishes: Wishes = {}): Uint8Array {
  const header = headerOf({
    kind: 'gathered',
    senders: parts.map(({ sender }) => sender),
    weight: parts.reduce((sum, { weight }) => sum + weight, 0),
    total: 1,
    count: 1,
    ...wishes,
  })
  const { bytes, values } = beginFrame(header, partsLength(parts))
  writeParts(parts, values)
  return sealFrame(bytes)
}

/** A part whose data are these words, which need not be those of a valid part. */
export function partOf(sender: number, weight: number, words: readonly number[]): PackedPart {
  const data = new Uint8Array(Uint32Array.from(words).buffer)
  return { sender, weight, type: 'f32', data }
}

/** A part with these words, and no floats. */
export function wordPartOf(sender: number, weight: number, words: readonly number[]): PackedPart {
  return partOf(sender, weight, [words.length, 0, ...words])
}

function headerOf(wishes: Wishes): Header {
  const weight = wishes.weight ?? 1
  return {
    kind: 'summed',
    type: 'f32',
    round: 1,
    step: 7,
    configHash: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    parent: Uint8Array.of(11, 12, 13, 14, 15, 16, 17, 18),
    total: 0,
    offset: 0,
    count: 0,
    ...wishes,
    weight,
    senders: Uint32Array.from(wishes.senders ?? (weight > 0 ? [0] : [])),
    ranks: Uint16Array.from(wishes.ranks ?? [2]),
    scalars: Float32Array.from(wishes.scalars ?? []),
  }
}

/**
 * Overwrites some bytes of a frame and seals it again, so that a check after the checksum must
 * fire.
 */
export function spoil(frame: Uint8Array, at: number, bytes: readonly number[]): Uint8Array {
  const spoilt = frame.slice()
  spoilt.set(bytes, at)
  return sealFrame(spoilt)
}

/** The same bytes, `shift` bytes into a larger buffer. */
export function shifted(bytes: Uint8Array, shift: number): Uint8Array {
  const larger = new Uint8Array(bytes.length + shift + 5).fill(0xa5)
  larger.set(bytes, shift)
  return larger.subarray(shift, shift + bytes.length)
}

/** Bytes from hexadecimal digits; blanks are for the reader. */
export function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.replace(/\s/g, '').match(/../g) ?? [], (pair) =>
    Number.parseInt(pair, 16),
  )
}

/** Little-endian bytes of one number. */
export function bytesOf(kind: 'u16' | 'u32' | 'f32' | 'f64', value: number): number[] {
  const view = new DataView(new ArrayBuffer(8))
  if (kind === 'u16') view.setUint16(0, value, true)
  if (kind === 'u32') view.setUint32(0, value, true)
  if (kind === 'f32') view.setFloat32(0, value, true)
  if (kind === 'f64') view.setFloat64(0, value, true)
  const length = { u16: 2, u32: 4, f32: 4, f64: 8 }[kind]
  return Array.from(new Uint8Array(view.buffer, 0, length))
}

/** Fails unless the call throws a FrameError at that byte, with a message that matches. */
export function refuses(call: () => unknown, byte: number, message: RegExp, what = ''): void {
  try {
    call()
  } catch (error) {
    assert.instance(error, FrameError, `${what}: ${error}`)
    const { byte: at, message: said } = error as FrameError
    assert.is(at, byte, `${what}: expected byte ${byte}, got "${said}"`)
    assert.match(said, message, what)
    return
  }
  assert.unreachable(`${what}: expected a FrameError at byte ${byte}, nothing was thrown`)
}

/** A seeded source of numbers in [0, 1), for choices that need no distribution. */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** The items in an order that the seed determines. */
export function shuffled<T>(list: readonly T[], seed: number): T[] {
  const next = random(seed)
  return list
    .map((item): [number, T] => [next(), item])
    .sort((a, b) => a[0] - b[0])
    .map(([, item]) => item)
}
