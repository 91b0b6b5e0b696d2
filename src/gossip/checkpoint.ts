// What a node keeps of its edges, as one safetensors file.
//
//   edge<lo>-<hi>/p/<i>, q/<i>     [rank, rows], [rank, cols]: the factors, a row per column
//   edge<lo>-<hi>/before/<i>       [rank, rows or cols]: the factor that the last exchange began with, before it
//   edge<lo>-<hi>/<name>/<i>       the parameter's shape: what the coding of those without factors keeps, such as
//                                  difference, what the last exchange found
//   metadata                       format 'lowrank-gossip', version, layout, self, step, edges

import type { Layout } from '../backend.ts'
import { fromHex, toHex } from '../bytes.ts'
import {
  decodeSafetensors,
  encodeSafetensors,
  floatsOf,
  type NamedFloats,
} from '../codec/safetensors.ts'
import { show } from '../validate.ts'
import type { Edge, EdgeExchange } from './edge.ts'
import { checkNeighbour, type Neighbour } from './neighbour.ts'

/** What the metadata say of an edge; histories in hexadecimal. */
interface Noted {
  readonly neighbour: number
  readonly weight: number
  readonly parent: string
  readonly turns: number
  readonly last: (Omit<EdgeExchange, 'previous'> & { readonly previous: string }) | null
}

/** A file that has passed every check. */
export interface EdgeCheckpoint {
  readonly step: number
  /** the weights asked for, by neighbour */
  readonly neighbours: ReadonlyMap<number, number>
  /** Puts into an edge at its beginning what the file says of it. */
  fill(neighbour: number, edge: Edge): void
}

const FORMAT = 'lowrank-gossip'
const VERSION = '1'

export function encodeEdges(
  layout: Layout,
  configHash: Uint8Array,
  self: number,
  step: number,
  links: ReadonlyMap<number, Neighbour>,
): Uint8Array {
  const tensors: NamedFloats[] = []
  const edges: Noted[] = []
  for (const [neighbour, { edge, weight }] of links) {
    tensors.push(...fields(layout, edge, edge.last))
    const last = edge.last && { ...edge.last, previous: toHex(edge.last.previous) }
    edges.push({ neighbour, weight, parent: toHex(edge.parent), turns: edge.turns, last })
  }
  return encodeSafetensors(tensors, {
    format: FORMAT,
    version: VERSION,
    layout: toHex(configHash),
    self: String(self),
    step: String(step),
    edges: JSON.stringify(edges),
  })
}

/**
 * @param like  an edge at its beginning
 * @throws TypeError, RangeError  if it is no such file, or of another node, other shapes or options
 */
export function decodeEdges(
  bytes: Uint8Array,
  layout: Layout,
  configHash: Uint8Array,
  self: number,
  like: (neighbour: number) => Edge,
): EdgeCheckpoint {
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(`"restore": expected a Uint8Array, got ${show(bytes)}`)
  }
  const { metadata, tensors } = decodeSafetensors(bytes)
  const expected = {
    format: FORMAT,
    version: VERSION,
    layout: toHex(configHash),
    self: String(self),
  }
  for (const [name, value] of Object.entries(expected)) {
    if (metadata[name] === value) continue
    throw new RangeError(`"restore": ${name}: expected ${value}, got ${metadata[name]}`)
  }
  const step = Number(metadata.step)
  if (!Number.isInteger(step) || step < 0 || step > 0xffffffff) {
    throw new RangeError(`"restore": step: expected a number that fits, got ${metadata.step}`)
  }
  const edges = notedIn(metadata.edges, self)
  for (const { neighbour, last } of edges) {
    for (const { name, shape } of fields(layout, like(neighbour), last)) {
      const tensor = tensors.get(name)
      if (!tensor || String(tensor.shape) !== String(shape)) {
        throw new RangeError(`"restore": expected ${name} of shape [${shape.join(', ')}]`)
      }
      if (floatsOf(tensor).every(Number.isFinite)) continue
      throw new RangeError(`"restore": ${name}: expected finite numbers only`)
    }
  }
  return {
    step,
    neighbours: new Map(edges.map(({ neighbour, weight }) => [neighbour, weight])),
    fill(neighbour, edge) {
      const noted = edges.find((one) => one.neighbour === neighbour)
      if (!noted) return
      edge.parent = fromHex(noted.parent)
      edge.turns = noted.turns
      edge.last = noted.last && { ...noted.last, previous: fromHex(noted.last.previous) }
      for (const { name, data } of fields(layout, edge, edge.last)) {
        data.set(floatsOf(tensors.get(name)!))
      }
    },
  }
}

/** What is kept of an edge whose last exchange is this. */
function fields(
  layout: Layout,
  { lo, hi, left, right, before, coding }: Edge,
  last: Pick<EdgeExchange, 'matrices' | 'side'> | null,
): NamedFloats[] {
  const found: NamedFloats[] = []
  const add = (name: string, shape: readonly number[], array: Float32Array, at: number) => {
    const length = shape.reduce((a, b) => a * b, 1)
    found.push({ name: `edge${lo}-${hi}/${name}`, shape, data: array.subarray(at, at + length) })
  }
  for (const { index, rank, rows, cols, left: l, right: r } of layout.matrices) {
    add(`p/${index}`, [rank, rows], left, l)
    add(`q/${index}`, [rank, cols], right, r)
    if (!last || last.matrices === 0) continue
    if (last.side === 'left') add(`before/${index}`, [rank, rows], before, l)
    else add(`before/${index}`, [rank, cols], before, r)
  }
  for (const [name, array] of Object.entries(coding.kept)) {
    for (const { index, shape, raw } of layout.raws) add(`${name}/${index}`, shape, array, raw)
  }
  return found
}

function notedIn(text: string | undefined, self: number): Noted[] {
  const fail = () => new RangeError(`"restore": edges: expected a list of them, got ${text}`)
  let list: unknown
  try {
    list = JSON.parse(text ?? '')
  } catch (cause) {
    throw new RangeError('"restore": edges: expected JSON', { cause })
  }
  if (!Array.isArray(list)) throw fail()
  const history = (value: unknown) => typeof value === 'string' && /^[0-9a-f]{16}$/.test(value)
  for (const edge of list) {
    if (typeof edge !== 'object' || edge === null) throw fail()
    const { neighbour, weight, parent, turns, last } = edge
    checkNeighbour(self, neighbour, weight)
    if (!history(parent) || !Number.isSafeInteger(turns) || turns < 0) throw fail()
    if (last === null) continue
    const { previous, matrices, raws, side } = last ?? {}
    const numbers = Number.isFinite(matrices) && Number.isFinite(raws)
    if (!history(previous) || !numbers || !['left', 'right'].includes(side)) throw fail()
  }
  if (new Set(list.map(({ neighbour }) => neighbour)).size < list.length) throw fail()
  return list
}
