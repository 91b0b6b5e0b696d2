// A checkpoint is a safetensors file, so that other programs can read and write it. All tensors are
// float32; <i> is the index of the parameter.
//
//   q/<i>         [rank, cols]  the right factor that the next step begins with, by column
//   p/<i>         [rank, rows]  the left factor, by column, of methods that store one
//   residual/<i>  the shape of the parameter; zeros if it is frozen
//   metadata      format 'lowrank', version, step, ranks (65535: frozen), parent, options, weight,
//                 notes, names

import type { LoadedState, SharedState } from '../algorithm.ts'
import type { Layout } from '../backend.ts'
import { type Bytes, type BytesLike, bytesOf, concatBytes, fromHex, toHex } from '../bytes.ts'
import { decodeSafetensors, encodeSafetensors, floatsOf, quoted } from '../codec/safetensors.ts'
import { decideRanks, FROZEN, ranksIn } from '../layout.ts'
import { describe, type Settings, type Spec } from '../options.ts'
import { aList } from '../validate.ts'

/** The contents of a checkpoint, checked against shapes and options. */
export interface Checkpoint {
  readonly step: number
  /** null if the file has none; the parent is then the hash of the factors */
  readonly parent: Uint8Array | null
  readonly weight: number
  readonly ranks: readonly number[]
  /** for `Algorithm.load` */
  readonly loaded: LoadedState
  /**
   * all parameters in order, without padding; zeros for absent and frozen ones; null if all are
   * absent
   */
  readonly residual: Float32Array | null
}

interface Contents {
  readonly specs: readonly Spec[]
  readonly settings: Settings
  readonly step: number
  readonly parent: Uint8Array
  readonly weight: number
  readonly layout: Layout
  readonly shared: SharedState
  readonly residual: Float32Array | null
}

const VERSION = '1'

/** Elements of a residual are below this in absolute value, as those of M in a step that counts. */
export const MAX_RESIDUAL = 2 ** 100

/** Writes a checkpoint. A null residual is left out. */
export function encodeCheckpoint(contents: Contents): Bytes {
  const { specs, settings, step, parent, weight, layout, shared, residual } = contents
  const tensors: { name: string; shape: readonly number[]; data: Float32Array }[] = []
  for (const { index, rank, rows, cols, left, right } of layout.matrices) {
    const q = shared.right.subarray(right, right + rank * cols)
    if (q.length > 0) tensors.push({ name: `q/${index}`, shape: [rank, cols], data: q })
    const p = shared.left.subarray(left, left + rank * rows)
    if (p.length > 0) tensors.push({ name: `p/${index}`, shape: [rank, rows], data: p })
  }
  let at = 0
  for (const [i, { shape, length }] of specs.entries()) {
    if (!residual) break
    tensors.push({ name: `residual/${i}`, shape, data: residual.subarray(at, at + length) })
    at += length
  }
  return encodeSafetensors(tensors, {
    format: 'lowrank',
    version: VERSION,
    step: String(step),
    ranks: JSON.stringify(ranksIn(layout)),
    parent: toHex(parent),
    options: describe(settings),
    weight: String(weight),
    ...(specs.some(({ name }) => name) && {
      names: JSON.stringify(specs.map(({ name = null }) => name)),
    }),
    ...(Object.keys(shared.notes).length > 0 && { notes: JSON.stringify(shared.notes) }),
  })
}

/**
 * Reads a checkpoint, written by this library or by another program that uses the same names.
 *
 * @throws TypeError  if these are not bytes
 * @throws RangeError  if it is not a checkpoint, or one of other shapes or shared options
 */
export function decodeCheckpoint(
  bytes: BytesLike,
  specs: readonly Spec[],
  settings: Settings,
): Checkpoint {
  const { metadata, tensors } = decodeSafetensors(bytes)
  checkFormat(metadata, '"checkpoint"')
  const options = difference(describe(settings), metadata.options ?? describe(settings))
  if (options) throw new RangeError(`"checkpoint": options: expected ${options}`)
  checkNames(metadata, specs)
  for (const name of tensors.keys()) {
    const index = /^(?:p|q|residual)\/(\d+)$/.exec(name)?.[1]
    if (index !== undefined && Number(index) >= specs.length) {
      throw new RangeError(
        `"checkpoint": has ${name.slice(0, 80)}, but there are only ${specs.length} parameters`,
      )
    }
  }
  const tensor = (name: string, expected: readonly number[], most = 128): Float32Array | null => {
    const found = tensors.get(name)
    if (!found) return null
    if (String(found.shape) !== String(expected)) {
      throw new RangeError(
        `"checkpoint": ${name}: expected shape [${expected.join(', ')}], got [${found.shape.join(', ').slice(0, 80)}]`,
      )
    }
    const floats = floatsOf(found)
    if (!floats.every((x) => Math.abs(x) < 2 ** most)) {
      throw new RangeError(`"checkpoint": ${name}: expected finite numbers below 2^${most} only`)
    }
    return floats
  }

  const ranks = ranksFrom(metadata, tensors, specs, settings)
  const factorsOf = (name: string, length: (spec: Spec) => number) =>
    specs.map((spec, i) =>
      ranks[i] === 0 || ranks[i] === FROZEN
        ? null
        : tensor(`${name}/${i}`, [ranks[i]!, length(spec)]),
    )
  const right = factorsOf('q', ({ cols }) => cols)
  const left = factorsOf('p', ({ rows }) => rows)
  const residuals = specs.map(({ shape, length }, i) => {
    const stored = tensor(`residual/${i}`, shape, 100)
    return stored && ranks[i] === FROZEN ? new Float32Array(length) : stored
  })
  return {
    step: numberIn(metadata, 'step', 0, (step) => Number.isInteger(step) && step < 0xffffffff),
    parent: metadata.parent === undefined ? null : parentIn(metadata.parent),
    weight: weightIn(metadata),
    ranks,
    loaded: { right, left, notes: notesIn(metadata) },
    residual: residuals.every((r) => r === null) ? null : concat(residuals, specs),
  }
}

/**
 * Merges the checkpoints of all workers into one from which any number of workers can continue.
 *
 * Its residual is the weighted mean of theirs, with the weight that each worker's last gradient
 * had. Since the update is a weighted mean as well, the sum of what is still to be sent stays the
 * same.
 *
 * @param checkpoints  the bytes of each worker's `save` after the same step, with residuals
 * @returns a checkpoint for `restore`, its weight the sum of theirs
 * @throws RangeError  if there are none, if one is not a checkpoint, or if they differ in step,
 *   ranks, history, options, notes or shapes
 */
export function mergeCheckpoints(checkpoints: readonly BytesLike[]): Bytes {
  aList('checkpoints', checkpoints, 'checkpoints')
  const files = Array.from(checkpoints, (bytes, i) => decodeSafetensors(bytes, `checkpoints[${i}]`))
  const first = files[0]!
  const weights = files.map(({ metadata }) => weightIn(metadata))
  const weight = weights.reduce((a, b) => a + b, 0)
  for (const [i, { metadata, tensors }] of files.entries()) {
    checkFormat(metadata, `"checkpoints[${i}]"`)
    if (![...tensors.keys()].some((name) => name.startsWith('residual/'))) {
      throw new RangeError(`"checkpoints[${i}]": expected one with its residual`)
    }
    const agree = (name: string) => {
      const [want, got] = [first.metadata[name], metadata[name]]
      if (want === got) return
      const which = name === 'options' ? difference(`${want}`, `${got}`) : `${want}, got ${got}`
      if (which === null) return // the same options, written otherwise
      throw new RangeError(`"checkpoints[${i}]": ${name}: expected ${which}, unlike the first`)
    }
    for (const name of ['step', 'ranks', 'options', 'notes', 'names']) agree(name)
    for (const [name, { shape }] of first.tensors) {
      if (String(tensors.get(name)?.shape) !== String(shape)) {
        throw new RangeError(`"checkpoints[${i}]": expected ${name} of shape [${shape.join(', ')}]`)
      }
    }
    if (tensors.size !== first.tensors.size) {
      throw new RangeError(`"checkpoints[${i}]": expected the tensors of the first`)
    }
    agree('parent') // last, for all of these make it differ
  }
  const merged = [...first.tensors].map(([name, tensor]) => {
    const data = floatsOf(tensor).slice()
    if (name.startsWith('residual/')) {
      const parts = files.map(({ tensors }) => floatsOf(tensors.get(name)!))
      for (let j = 0; j < data.length; j++) {
        data[j] = parts.reduce((sum, part, i) => sum + weights[i]! * part[j]!, 0) / weight
        if (Math.abs(data[j]!) < MAX_RESIDUAL) continue
        throw new RangeError(`"checkpoints": ${name}: expected finite numbers below 2¹⁰⁰`)
      }
    }
    return { name, shape: tensor.shape, data }
  })
  const metadata = { ...first.metadata, weight: String(weight) }
  weightIn(metadata)
  return encodeSafetensors(merged, metadata)
}

/**
 * Checks the names in a checkpoint against those of the shapes. A parameter that has none on either
 * side passes, so that names can be given to what has been saved without.
 *
 * @throws RangeError  naming the first parameter whose names differ
 */
export function checkNames({ names }: Metadata, specs: readonly Spec[]): void {
  if (names === undefined) return
  const found = parse(names)
  for (const [i, { name = null }] of specs.entries()) {
    const theirs: unknown = Array.isArray(found) ? found[i] : undefined
    if (theirs === name || theirs === null || (name === null && theirs)) continue
    throw new RangeError(
      `"checkpoint": names: expected ${quoted(name)} for shapes[${i}], got ${quoted(theirs)}`,
    )
  }
}

export type Metadata = Readonly<Record<string, string | undefined>>

/** @throws RangeError  if the file says that it is something else, such as a gossip checkpoint */
export function checkFormat(metadata: Metadata, name: string): void {
  for (const [key, expected] of [
    ['format', 'lowrank'],
    ['version', VERSION],
  ] as const) {
    const { [key]: got = expected } = metadata
    if (got === expected) continue
    throw new RangeError(`${name}: expected ${key} ${expected}, got ${got.slice(0, 80)}`)
  }
}

/**
 * The ranks in the metadata; if absent, those of the factors' shapes; if absent, those of the
 * options.
 */
function ranksFrom(
  metadata: Metadata,
  tensors: ReadonlyMap<string, { shape: readonly number[] }>,
  specs: readonly Spec[],
  settings: Settings,
): number[] {
  const found = specs.map((_, i) => (tensors.get(`q/${i}`) ?? tensors.get(`p/${i}`))?.shape[0])
  if (metadata.ranks === undefined && found.every((rank) => rank === undefined)) {
    return decideRanks(specs, settings, settings.rank)
  }
  const ranks =
    metadata.ranks === undefined
      ? found.map((rank, i) => rank ?? (specs[i]!.frozen ? FROZEN : 0))
      : parse(metadata.ranks)
  const fit = (rank: number, i: number) =>
    rank === FROZEN ||
    (Number.isInteger(rank) && rank >= 0 && rank <= Math.min(specs[i]!.rows, specs[i]!.cols))
  if (!Array.isArray(ranks) || ranks.length !== specs.length || !ranks.every(fit)) {
    const got = metadata.ranks?.slice(0, 80) ?? quoted(ranks)
    throw new RangeError(
      `"checkpoint": ranks: expected ${specs.length} that fit the shapes, got ${got}`,
    )
  }
  const { name, supportedOptions, ranks: ranksOf } = settings.method
  const rankless =
    !supportedOptions.includes('rank') &&
    ranksOf(specs, settings, settings.rank).every((rank) => rank === 0)
  if (rankless && ranks.some((rank) => rank > 0 && rank !== FROZEN)) {
    throw new RangeError(
      `"checkpoint": ranks: expected 0 alone for the method ${name}, got ${ranks}`,
    )
  }
  return ranks as number[]
}

/**
 * The first option that differs, with both values: `a 1, got 2`; null if there is none. An option
 * that is absent has its default.
 *
 * @param expected, got  as `describe` writes them
 */
function difference(expected: string, got: string): string | null {
  const [want, have] = [expected, got].map((text) => Object(parse(text)))
  const name = Object.keys({ ...want, ...have }).find((key) => want[key] !== have[key])
  if (name === undefined) return null
  const [a, b] = [want, have].map((options) => `${options[name] ?? 'its default'}`.slice(0, 200))
  return `${name.slice(0, 80)} ${a}, got ${b}`
}

function notesIn({ notes = '{}' }: Metadata): Record<string, string> {
  const found = parse(notes)
  const isText = (value: unknown) => typeof value === 'string'
  const isObject = typeof found === 'object' && found !== null && !Array.isArray(found)
  if (isObject && Object.values(found).every(isText)) return found as Record<string, string>
  throw new RangeError(`"checkpoint": notes: expected texts by name, got ${quoted(notes)}`)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // the caller reports what it expected
  }
}

/** A positive float32, or a sum of 2³² of them at most, so that products with floats are finite. */
function weightIn(metadata: Metadata): number {
  return numberIn(metadata, 'weight', 1, (w) => w >= 2 ** -149 && w <= 2 ** 160)
}

/** A number in the metadata; `absent` if it is not there. @throws RangeError  unless it is valid */
function numberIn(
  metadata: Metadata,
  name: string,
  absent: number,
  valid: (value: number) => boolean,
): number {
  const text = metadata[name]
  const value = text === undefined ? absent : Number(text)
  if (text === '' || !(value >= 0) || !valid(value)) {
    throw new RangeError(
      `"checkpoint": ${name}: expected a number that fits, got ${text?.slice(0, 80)}`,
    )
  }
  return value
}

/** The residuals of all parameters, one after another; zeros for absent ones. */
function concat(parts: readonly (Float32Array | null)[], specs: readonly Spec[]): Float32Array {
  const bytes = parts.map((part, i) => bytesOf(part ?? new Float32Array(specs[i]!.length)))
  return new Float32Array(concatBytes(bytes).buffer)
}

function parentIn(text: string): Uint8Array {
  if (/^[0-9a-f]{16}$/.test(text)) return fromHex(text)
  const got = text.slice(0, 80)
  throw new RangeError(`"checkpoint": parent: expected 16 hexadecimal digits, got ${got}`)
}
