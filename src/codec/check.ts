// What must be true of a frame's bytes before anything is made of them; the table is in frame.ts.
import { FrameError } from '../errors.ts'
import { AT, FIXED, headerLength, KINDS, MAGIC, MAX_WEIGHT, MIN_WEIGHT, VERSION } from './fields.ts'
import { blocksLength, valueBytes, WIRES } from './floats.ts'
import { checkParts, PART_HEAD } from './parts.ts'

/** Checks everything before the values, and the frame's length. Returns where the values begin. */
export function checkHeader(view: DataView): number {
  const size = view.byteLength
  if (size < FIXED) throw new FrameError(`expected at least ${FIXED} bytes, got ${size}`, size)
  if (view.getUint32(AT.magic, true) !== MAGIC) throw new FrameError('not a frame', AT.magic)
  const version = view.getUint8(AT.version)
  expect(version === VERSION, `version: expected ${VERSION}, got ${version}`, AT.version)
  const kind = view.getUint8(AT.kind)
  expect(kind < KINDS.length, `kind: expected 0 or 1, got ${kind}`, AT.kind)
  const gathered = KINDS[kind] === 'gathered'
  const type = view.getUint8(AT.type)
  const types = gathered ? 1 : WIRES.length
  expect(type < types, `type: expected 0 … ${types - 1}, got ${type}`, AT.type)

  const weight = view.getFloat64(AT.weight, true)
  const usual = Object.is(weight, 0) || (weight >= MIN_WEIGHT && weight <= MAX_WEIGHT)
  expect(usual, `weight: expected 0, or 2⁻¹⁴⁹ … 2¹⁶⁰, got ${weight}`, AT.weight)
  const senders = view.getUint32(AT.senders, true)
  const ranks = view.getUint32(AT.ranks, true)
  const scalars = view.getUint32(AT.scalars, true)
  const total = view.getUint32(AT.total, true)
  const offset = view.getUint32(AT.offset, true)
  const count = view.getUint32(AT.count, true)
  if (weight === 0) expect(senders === 0, `weight 0, but ${senders} senders`, AT.senders)
  else expect(!gathered || senders > 0, 'a weight, but no sender', AT.senders)
  if (offset > 0) expect(scalars === 0, 'scalars: only in the slice with offset 0', AT.scalars)
  if (gathered) expect(total > 0, 'number of slices: expected at least 1, got 0', AT.total)
  expect(offset <= total, `offset: expected 0 … ${total}, got ${offset}`, AT.offset)
  const least = total > 0 ? 1 : 0
  const most = gathered ? Math.min(1, total - offset) : total - offset
  const fits = count >= least && count <= most
  expect(fits, `count: expected ${least} … ${most}, got ${count}`, AT.count)

  // Plain numbers: none of these sums reaches 2⁵³.
  const valuesAt = headerLength(senders, ranks, scalars)
  let length = 0 // the least that the values can take
  if (gathered) length = PART_HEAD * senders
  else if (WIRES[type] === 'int8') length = count + 5 * Math.ceil(count / 64)
  else length = count * valueBytes(WIRES[type]!)
  const exact = gathered ? senders === 0 : WIRES[type] !== 'int8'
  if (size < valuesAt + length || (exact && size > valuesAt + length)) {
    const want = `${exact ? '' : 'at least '}${valuesAt + length}`
    throw new FrameError(
      `length: the counts ask for ${want} bytes, got ${size}`,
      Math.min(size, valuesAt + length),
    )
  }

  for (let i = 1, at = FIXED + 4; i < senders; i++, at += 4) {
    const [before, sender] = [view.getUint32(at - 4, true), view.getUint32(at, true)]
    if (sender <= before) {
      throw new FrameError(`senders: ${sender} follows ${before}, expected ascending order`, at)
    }
  }
  const scalarsAt = FIXED + 4 * senders
  for (let at = scalarsAt; at < scalarsAt + 4 * scalars; at += 4) {
    const scalar = view.getFloat32(at, true)
    expect(Number.isFinite(scalar), `scalar: expected a finite number, got ${scalar}`, at)
  }
  if (ranks % 2 === 1) {
    expect(view.getUint16(valuesAt - 2, true) === 0, 'padding: expected zero', valuesAt - 2)
  }
  return valuesAt
}

/** Checks how the values are divided into blocks or parts; the header has passed. */
export function checkLengths(view: DataView, values: Uint8Array, valuesAt: number): void {
  if (KINDS[view.getUint8(AT.kind)] === 'gathered') {
    const weight = view.getFloat64(AT.weight, true)
    checkParts(values, view.getUint32(AT.senders, true), weight, valuesAt)
  } else if (WIRES[view.getUint8(AT.type)] === 'int8') {
    const length = blocksLength(values, view.getUint32(AT.count, true))
    if (length < 0) throw new FrameError('int8 blocks do not fit', valuesAt - 1 - length)
    if (length < values.length) throw new FrameError('bytes after the values', valuesAt + length)
  }
}

function expect(right: boolean, message: string, byte: number): void {
  if (!right) throw new FrameError(message, byte)
}
