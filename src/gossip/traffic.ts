// What an iteration of a node costs in bytes, before anything is created.

import { dataLength, partLength } from '../codec/gathered.ts'
import { headerLength } from '../codec/header.ts'
import { WIRES, type Wire, wireType } from '../codec/wire/index.ts'
import { layoutOf, leftColumns, rightColumns, specsOf } from '../layout.ts'
import type { ParameterSpec } from '../options.ts'
import { anObject, integer, noOthers, oneOf, show } from '../validate.ts'
import { HISTORY_WORDS } from './frames.ts'
import type { GossipMethod } from './method.ts'
import { powerGossip } from './methods/power-gossip.ts'

export interface GossipPlanOptions {
  /** Default `powerGossip()`. */
  readonly method?: GossipMethod
  /** How many. Default 2, as in a ring. */
  readonly neighbours?: number
  /** Default 'f32'. */
  readonly wire?: Wire
}

/** What a node sends to all its neighbours in an iteration, and as much it receives. */
export interface GossipPlan {
  /** one per parameter: its matrix, and the rank of its factors (0: it has none) */
  readonly parameters: readonly {
    readonly shape: readonly number[]
    readonly rows: number
    readonly cols: number
    readonly rank: number
  }[]
  /** half-steps in an iteration, each with a frame for each neighbour */
  readonly rounds: number
  /** and words of four bytes: signs, indices */
  readonly floats: number
  /** of the frames: headers and checksums included */
  readonly bytes: number
  readonly denseFloats: number
  /** as many floats whole ÷ floats sent */
  readonly ratio: number
}

/**
 * Tells what an iteration sends. P and Q take turns, so it is the average of two iterations; of `published`
 * methods, after the first.
 *
 * @param shapes  one entry per parameter
 * @throws TypeError, RangeError  naming the entry or option at fault
 */
export function planGossip(
  shapes: readonly ParameterSpec[],
  options: GossipPlanOptions = {},
): GossipPlan {
  anObject(options)
  const { method = powerGossip(), neighbours = 2, wire = 'f32', ...others } = options
  noOthers(others)
  checkMethod(method)
  integer('neighbours', neighbours, 0, 0xffffffff)
  oneOf('wire', wire, WIRES)
  const specs = specsOf(shapes)
  const layout = layoutOf(specs, method.ranks(specs))
  const last = method.sends(layout)
  const { iterations } = method
  let [floats, bytes] = [0, 0]
  for (const factors of [rightColumns(layout), leftColumns(layout)]) {
    for (let round = 0; round < iterations; round++) {
      const { words, columns } = round === iterations - 1 ? last : { words: 0, columns: [] }
      const sent = [...factors, ...columns]
      const encoded = wireType(wire).encodedLength(sent)
      floats += words + sent.reduce((sum, length) => sum + length, 0)
      bytes += headerLength(1, specs.length, 0)
      bytes += partLength(dataLength(HISTORY_WORDS + words, encoded))
    }
  }
  const each = neighbours / 2
  return {
    parameters: layout.parameters.map(({ shape, rows, cols, rank }) => ({
      shape,
      rows,
      cols,
      rank,
    })),
    rounds: iterations,
    floats: each * floats,
    bytes: each * bytes,
    denseFloats: layout.denseFloats,
    ratio: (2 * layout.denseFloats) / floats,
  }
}

/** @throws TypeError  unless it is a method of lowrank/gossip */
export function checkMethod(method: unknown): void {
  const { ranks, sends } = (method ?? {}) as Partial<GossipMethod>
  if (typeof ranks === 'function' && typeof sends === 'function') return
  throw new TypeError(`"method": expected a method of lowrank/gossip, got ${show(method)}`)
}
