// The wire types. A new one is a file beside this one, and a line in types.ts.
import * as types from './types.ts'
import type { WireType } from './wire-type.ts'

/** The name of a wire type: how the values of a frame are encoded. */
export type Wire = (typeof types)[keyof typeof types]['name']

const byId: readonly WireType<Wire>[] = Object.values(types).sort((a, b) => a.id - b.id)

/** The names of all wire types, in the order of their numbers in frames. */
export const WIRES: readonly Wire[] = byId.map(({ name }) => name)

/** The record of a wire type. @throws RangeError  if there is none of this name */
export function wireType(name: Wire): WireType<Wire> {
  const found = byId.find((type) => type.name === name)
  if (found) return found
  throw new RangeError(`"wire": expected one of ${WIRES.join(', ')}, got ${String(name)}`)
}

/** The wire type with this number in frames; undefined if no type has it. */
export function wireTypeOf(id: number): WireType<Wire> | undefined {
  return byId.find((type) => type.id === id)
}
