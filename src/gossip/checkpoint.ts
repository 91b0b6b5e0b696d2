// The checkpoint of a gossip node: the state of all its edges, as one safetensors file.
//
//   edge<lo>-<hi>/p/<i>        [rank, rows]: left factor of parameter i, one row per column
//   edge<lo>-<hi>/q/<i>        [rank, cols]: right factor of parameter i, one row per column
//   edge<lo>-<hi>/before/<i>   [rank, rows or cols]: the factor that the last exchange began
//                              with, as it was before that exchange. Absent if there is no
//                              exchange to take back.
//   edge<lo>-<hi>/<name>/<i>   the parameter's shape: an array that the method's coding keeps
//                              for a parameter without factors, such as `difference` of the
//                              last exchange
//   metadata                   format 'lowrank-gossip', version, layout (the configHash), self,
//                              step, edges (JSON: a list of EdgeRecord)

import type { Layout } from '../backend.ts'
import { type Bytes, type BytesLike, fromHex, toHex } from '../bytes.ts'
import {
  decodeSafetensors,
  encodeSafetensors,
  floatsOf,
  type NamedFloats,
} from '../codec/safetensors.ts'
import type { Edge, EdgeExchange } from './edge.ts'
import { MAX_DIFFERENCE } from './edge-coding.ts'
import { checkNeighbour, type Neighbour } from './neighbour.ts'

/** An edge's entry in the metadata. Histories are 8 bytes, in hexadecimal. */
interface EdgeRecord {
  readonly neighbour: number
  readonly weight: number
  readonly parent: string
  readonly turns: number
  readonly last: (Omit<EdgeExchange, 'previous'> & { readonly previous: string }) | null
}

/** A checkpoint that has passed every check. */
export interface EdgeCheckpoint {
  /** number of the next iteration */
  readonly step: number
  /** the weights that the node asked for, by neighbour */
  readonly neighbours: ReadonlyMap<number, number>
  /**
   * Restores a newly created edge. Leaves it alone if the checkpoint does not know the neighbour.
   */
  fill(neighbour: number, edge: Edge): void
}

/** weight · γ at most: an exchange is taken back with this factor */
const MOST_MOVE = 2
/** half-steps at most: steps · iterations */
const MOST_TURNS = 127 * 2 ** 32

const FORMAT = 'lowrank-gossip'
const VERSION = '1'

/** Encodes the state of all edges of node `self`. */
export function encodeEdges(
  layout: Layout,
  configHash: Uint8Array,
  self: number,
  step: number,
  neighbours: ReadonlyMap<number, Neighbour>,
): Bytes {
  const tensors: NamedFloats[] = []
  const records: EdgeRecord[] = []
  for (const [neighbour, { edge, weight }] of neighbours) {
    tensors.push(...tensorsOf(layout, edge, edge.last))
    const last = edge.last && { ...edge.last, previous: toHex(edge.last.previous) }
    records.push({ neighbour, weight, parent: toHex(edge.parent), turns: edge.turns, last })
  }
  return encodeSafetensors(tensors, {
    format: FORMAT,
    version: VERSION,
    layout: toHex(configHash),
    self: String(self),
    step: String(step),
    edges: JSON.stringify(records),
  })
}

/**
 * Decodes and checks a checkpoint.
 *
 * @param newEdge  creates an edge of this node; only the names and shapes of its tensors are read
 * @throws TypeError  if these are not bytes
 * @throws RangeError  if it is not a checkpoint, or one of another node, other shapes or other
 *   options
 */
export function decodeEdges(
  bytes: BytesLike,
  layout: Layout,
  configHash: Uint8Array,
  self: number,
  newEdge: (neighbour: number) => Edge,
): EdgeCheckpoint {
  const { metadata, tensors } = decodeSafetensors(bytes, 'restore')
  const expected = {
    format: FORMAT,
    version: VERSION,
    layout: toHex(configHash),
    self: String(self),
  }
  for (const [name, value] of Object.entries(expected)) {
    if (metadata[name] === value) continue
    const got = metadata[name]?.slice(0, 80)
    throw new RangeError(`"restore": ${name}: expected ${value}, got ${got}`)
  }
  const step = Number(metadata.step)
  if (!Number.isInteger(step) || step < 0 || step >= 0xffffffff) {
    const got = metadata.step?.slice(0, 80)
    throw new RangeError(`"restore": step: expected a number that fits, got ${got}`)
  }
  const records = parseRecords(metadata.edges, self)
  for (const { neighbour, last } of records) {
    for (const { name, shape } of tensorsOf(layout, newEdge(neighbour), last)) {
      const tensor = tensors.get(name)
      if (!tensor || String(tensor.shape) !== String(shape)) {
        throw new RangeError(`"restore": expected ${name} of shape [${shape.join(', ')}]`)
      }
      if (floatsOf(tensor).every((x) => Math.abs(x) < MAX_DIFFERENCE)) continue
      throw new RangeError(`"restore": ${name}: expected finite numbers below 2¹⁰⁰ only`)
    }
  }
  return {
    step,
    neighbours: new Map(records.map(({ neighbour, weight }) => [neighbour, weight])),
    fill(neighbour, edge) {
      const record = records.find((one) => one.neighbour === neighbour)
      if (!record) return
      edge.parent = fromHex(record.parent)
      edge.turns = record.turns
      edge.last = record.last && { ...record.last, previous: fromHex(record.last.previous) }
      for (const { name, data } of tensorsOf(layout, edge, edge.last)) {
        data.set(floatsOf(tensors.get(name)!))
      }
    },
  }
}

/**
 * The tensors that a checkpoint has of an edge, as views of the edge's arrays.
 *
 * @param last  the edge's last exchange, in memory or from the metadata
 */
function tensorsOf(
  layout: Layout,
  { lo, hi, left, right, before, coding }: Edge,
  last: Pick<EdgeExchange, 'matrices' | 'side'> | null,
): NamedFloats[] {
  const tensors: NamedFloats[] = []
  const add = (name: string, shape: readonly number[], array: Float32Array, at: number) => {
    const length = shape.reduce((a, b) => a * b, 1)
    tensors.push({ name: `edge${lo}-${hi}/${name}`, shape, data: array.subarray(at, at + length) })
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
  return tensors
}

/**
 * @throws RangeError, TypeError  unless the text is a JSON list of records of different neighbours
 */
function parseRecords(text: string | undefined, self: number): EdgeRecord[] {
  const fail = () =>
    new RangeError(`"restore": edges: expected a list of them, got ${text?.slice(0, 80)}`)
  let list: unknown
  try {
    list = JSON.parse(text ?? '')
  } catch (cause) {
    throw new RangeError('"restore": edges: expected JSON', { cause })
  }
  if (!Array.isArray(list)) throw fail()
  const isHistory = (value: unknown) => typeof value === 'string' && /^[0-9a-f]{16}$/.test(value)
  for (const record of list) {
    if (typeof record !== 'object' || record === null) throw fail()
    const { neighbour, weight, parent, turns, last } = record
    checkNeighbour(self, neighbour, weight)
    if (!isHistory(parent) || !Number.isInteger(turns) || turns < 0 || turns > MOST_TURNS) {
      throw fail()
    }
    if (last === null) continue
    const { previous, matrices, raws, side } = last ?? {}
    const fit = [matrices, raws].every((x) => typeof x === 'number' && Math.abs(x) <= MOST_MOVE)
    if (!isHistory(previous) || !fit || !['left', 'right'].includes(side)) throw fail()
    if (matrices !== 0 && turns === 0) throw fail()
  }
  if (new Set(list.map(({ neighbour }) => neighbour)).size < list.length) throw fail()
  return list
}
