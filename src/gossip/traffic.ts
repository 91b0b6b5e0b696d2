// `planGossip`: the traffic of an iteration, computed from the shapes alone.

import { dataLength, partLength } from '../codec/gathered.ts'
import { headerLength } from '../codec/header.ts'
import { WIRES, type Wire, wireType } from '../codec/wire/index.ts'
import { layoutOf, leftColumns, rightColumns, specsOf } from '../layout.ts'
import type { ParameterSpec, Spec } from '../options.ts'
import { integer, knownOptions, oneOf, wrongType } from '../validate.ts'
import { HISTORY_WORDS } from './frames.ts'
import type { GossipMethod } from './method.ts'
import { powerGossip } from './methods/power-gossip.ts'

/** Options of `planGossip`. */
export interface GossipPlanOptions {
  /** As in `createGossip`. Default `powerGossip()`. */
  readonly method?: GossipMethod
  /** The number of neighbours. Default 2, as in a ring. */
  readonly neighbours?: number
  /** As in `createGossip`. Default 'f32'. */
  readonly wire?: Wire
}

/** The data that a node sends to all its neighbours in an iteration. It receives as much. */
export interface GossipPlan {
  /**
   * One entry per parameter: its shape, its matrix, and the rank of its factors (0: it has none).
   */
  readonly parameters: readonly {
    readonly shape: readonly number[]
    readonly rows: number
    readonly cols: number
    readonly rank: number
  }[]
  /** The number of half-steps in an iteration. Each has one frame for each neighbour. */
  readonly rounds: number
  /** Floats sent, and words of four bytes that are not floats: signs, indices, levels. */
  readonly floats: number
  /** Bytes of the frames, with headers and checksums. */
  readonly bytes: number
  /** Floats of all parameters: what `plain` sends to each neighbour. */
  readonly denseFloats: number
  /** denseFloats · neighbours ÷ floats, the compression without regard to the wire type. */
  readonly ratio: number
}

/**
 * Computes the traffic of an iteration, without creating a node.
 *
 * P and Q take turns and may differ in size, so the numbers are averages over two iterations. With
 * `published: true` they do not hold for iteration 0, which sends less.
 *
 * @param shapes  one entry per parameter
 * @throws TypeError, RangeError  naming the entry or option at fault
 */
export function planGossip(
  shapes: readonly ParameterSpec[],
  options: GossipPlanOptions = {},
): GossipPlan {
  const known = ['method', 'neighbours', 'wire']
  const { method = powerGossip(), neighbours = 2, wire = 'f32' } = knownOptions(options, known)
  checkMethod(method)
  integer('neighbours', neighbours, 0, 0xffffffff)
  oneOf('wire', wire, WIRES)
  const specs = nodeSpecs(shapes, method)
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
  const each = neighbours / 2 // `floats` and `bytes` are of two iterations with one neighbour
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

/**
 * Checks the argument `shapes` of a node.
 *
 * @throws TypeError, RangeError  naming the entry that is not valid
 */
export function nodeSpecs(shapes: readonly ParameterSpec[], method: GossipMethod): Spec[] {
  const specs = specsOf(shapes, method.published)
  const frozen = specs.findIndex((spec) => spec.frozen)
  if (frozen < 0) return specs
  throw new RangeError(`"shapes[${frozen}].rank": gossip freezes no parameters: leave this one out`)
}

/**
 * @throws TypeError  unless it was created by a function of lowrank/gossip, such as `powerGossip()`
 */
export function checkMethod(method: unknown): void {
  const { ranks, sends } = (method ?? {}) as Partial<GossipMethod>
  if (typeof ranks === 'function' && typeof sends === 'function') return
  throw wrongType('method', 'a method of lowrank/gossip', method)
}
