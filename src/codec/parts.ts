import { FrameError } from '../errors.ts'
import { WIRES, type Wire } from './floats.ts'
import { dataView } from './near.ts'

/** What one sender put into a gathered frame. The layout is in the table of frame.ts. */
export interface Part {
  readonly sender: number
  readonly weight: number
  /** how the floats in `data` are encoded */
  readonly type: Wire
  /** the method's own bytes, as many as a multiple of 4: a view of the frame, unchecked */
  readonly data: Uint8Array
}

/** Bytes of a part before its data. */
export const PART_HEAD = 16

/** The parts of a decoded gathered frame, ascending by sender. */
export function parts({ senders, values }: { senders: Uint32Array; values: Uint8Array }): Part[] {
  const view = dataView(values)
  const found: Part[] = []
  let at = 0
  for (const sender of senders) {
    const end = at + PART_HEAD + view.getUint32(at + 8, true)
    found.push({
      sender,
      weight: view.getFloat64(at, true),
      type: WIRES[view.getUint8(at + 12)]!,
      data: values.subarray(at + PART_HEAD, end),
    })
    at = end
  }
  return found
}

/** Bytes that these parts take. */
export function partsLength(of: readonly Part[]): number {
  return of.reduce((sum, part) => sum + PART_HEAD + part.data.length, 0)
}

/** Writes the parts, in the order given, which must be the senders'. */
export function writeParts(of: readonly Part[], into: Uint8Array): void {
  const view = dataView(into)
  let at = 0
  for (const { weight, type, data } of of) {
    view.setFloat64(at, weight, true)
    view.setUint32(at + 8, data.length, true)
    view.setUint8(at + 12, WIRES.indexOf(type))
    into.set(data, at + PART_HEAD)
    at += PART_HEAD + data.length
  }
}

/**
 * @param values  of a gathered frame
 * @param valuesAt  where they begin in it, for the errors
 * @throws FrameError
 */
export function checkParts(
  values: Uint8Array,
  senders: number,
  weight: number,
  valuesAt: number,
): void {
  const view = dataView(values)
  let at = 0
  let sum = 0
  for (let i = 0; i < senders; i++) {
    if (at + PART_HEAD > values.length) {
      throw new FrameError(`part ${i}: the frame ends before it does`, valuesAt + values.length)
    }
    const own = view.getFloat64(at, true)
    if (!(own > 0 && Number.isFinite(own) && Math.fround(own) === own)) {
      throw new FrameError(`part ${i}, weight: expected a float32 > 0, got ${own}`, valuesAt + at)
    }
    sum += own
    const length = view.getUint32(at + 8, true)
    if (length % 4 !== 0 || length > values.length - at - PART_HEAD) {
      const most = values.length - at - PART_HEAD
      throw new FrameError(
        `part ${i}, length: expected a multiple of 4 up to ${most}, got ${length}`,
        valuesAt + at + 8,
      )
    }
    const tail = view.getUint32(at + 12, true) // type, and three bytes of zero above it
    if (tail >= WIRES.length) {
      const byte = tail > 0xff ? 13 : 12
      throw new FrameError(`part ${i}: unknown type, or padding not zero`, valuesAt + at + byte)
    }
    at += PART_HEAD + length
  }
  if (at < values.length) throw new FrameError('bytes after the last part', valuesAt + at)
  if (sum !== weight) {
    throw new FrameError(`weight: the parts' sum is ${sum}, the frame says ${weight}`, 32)
  }
}
