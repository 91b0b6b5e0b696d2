// The table of wire types. To add one, write a file beside this one, add a line to types.ts, and its
// codes to assembly/codec, which takes an id that it does not know for f32.
import * as types from './types.ts'
import type { WireType } from './wire-type.ts'

/** The name of a wire type, the encoding of a frame's values: 'f32', 'f16', 'bf16' or 'int8'. */
export type Wire = (typeof types)[keyof typeof types]['name']

const byId: readonly WireType<Wire>[] = Object.values(types).sort((a, b) => a.id - b.id)

/** The names of all wire types, in the order of their ids. */
export const WIRES: readonly Wire[] = byId.map(({ name }) => name)

/** The wire type of this name. @throws RangeError  if there is none */
export function wireType(name: Wire): WireType<Wire> {
  const found = byId.find((type) => type.name === name)
  if (found) return found
  throw new RangeError(`no wire type ${name}`)
}

/** Says why `wireTypeOf` does not have this id. */
export function unknownType(id: number): string {
  if (id === 1) return 'type 1, the f16 without a scale, is no longer read'
  return `type: expected ${byId.map((type) => type.id).join(', ')}, got ${id}`
}

/** The wire type with this id; undefined if there is none. */
export function wireTypeOf(id: number): WireType<Wire> | undefined {
  return byId.find((type) => type.id === id)
}
