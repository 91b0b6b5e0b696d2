// What a step costs in bytes, before anything is created.

import { powerSgd } from '../algorithms/powersgd.ts'
import type { Layout } from '../backend.ts'
import { dataLength, partLength } from '../codec/gathered.ts'
import { headerLength } from '../codec/header.ts'
import type { Wire } from '../codec/wire/index.ts'
import { wireType } from '../codec/wire/index.ts'
import { layoutOf, specsOf } from '../layout.ts'
import type { Round } from '../options.ts'
import { type Options, ownOptionsOf, type ParameterSpec, settingsOf } from '../options.ts'
import { integer } from '../validate.ts'

/** What one worker exchanges in a step. */
export interface Traffic {
  /** and other words of four bytes: indices, bits */
  readonly floats: number
  /** of the frames: headers and checksums included */
  readonly bytes: number
}

/** What `plan` tells about a model before anything is created. */
export interface Plan extends Traffic {
  /** one per parameter: its matrix, and the rank it is compressed at (0: it travels raw) */
  readonly parameters: readonly {
    shape: readonly number[]
    rows: number
    cols: number
    rank: number
  }[]
  /** exchanges a step */
  readonly rounds: number
  readonly denseFloats: number
  /** dense floats ÷ floats sent: 1 is no gain, larger is better */
  readonly ratio: number
  /**
   * What a worker receives in a step, if it receives what `aggregate` makes of so many workers' frames:
   * one mean, or, with methods that gather, everyone's.
   */
  received(workers: number): Traffic
}

/**
 * Tells what compression would do to a model, without creating anything. Where steps are not all alike, as
 * in alternating half-steps, traffic is that of the average step.
 *
 * @param shapes  one entry per parameter, in the order that all workers share
 * @throws RangeError, TypeError  naming the entry or option at fault
 */
export function plan(shapes: readonly ParameterSpec[], options: Options = {}): Plan {
  const settings = settingsOf(options, powerSgd)
  const { wire } = ownOptionsOf(options)
  const table = createLayout(shapes, options)
  const steps = settings.method.cycle(table, settings)
  const averaged = (one: (round: Round) => Traffic): Traffic => {
    const all = steps.flat().map(one)
    const over = (of: (traffic: Traffic) => number) =>
      all.reduce((sum, traffic) => sum + of(traffic), 0) / steps.length
    return { floats: over(({ floats }) => floats), bytes: over(({ bytes }) => bytes) }
  }
  const header = (senders: number, { scalars = 0 }: Round) =>
    headerLength(senders, shapes.length, scalars)
  const sent = averaged((round) => ({
    floats: floatsOf(round),
    bytes: header(1, round) + lengthOf(round, 1, wire, wire),
  }))
  return {
    ...sent,
    parameters: table.parameters.map(({ shape, rows, cols, rank }) => ({
      shape,
      rows,
      cols,
      rank,
    })),
    rounds: steps[0]!.length,
    denseFloats: table.denseFloats,
    ratio: table.denseFloats / sent.floats,
    received(workers) {
      integer('workers', workers, 1, 0xffffffff)
      return averaged((round) => ({
        floats: (round.kind === 'gathered' ? workers : 1) * floatsOf(round),
        bytes: header(workers, round) + lengthOf(round, workers, wire, 'f32'),
      }))
    },
  }
}

/**
 * The table of a model's parameters, for `wasm().open` and its phases: which are matrices, at which
 * ranks, and where everything lies.
 *
 * @param shapes  one entry per parameter
 * @param options  of these, what decides about ranks
 * @throws RangeError, TypeError  naming the entry or option at fault
 */
export function createLayout(shapes: readonly ParameterSpec[], options: Options = {}): Layout {
  const settings = settingsOf(options, powerSgd)
  const specs = specsOf(shapes)
  return layoutOf(specs, settings.method.ranks(specs, settings, settings.rank))
}

function floatsOf({ words = 0, columns }: Round): number {
  return words + columns.reduce((sum, length) => sum + length, 0)
}

/** Bytes behind the header. @param wire  of frames that are gathered @param sum  of a summed one */
function lengthOf(round: Round, workers: number, wire: Wire, sum: Wire): number {
  const { kind, words = 0, columns } = round
  if (kind === 'summed') return wireType(sum).encodedLength(columns)
  return workers * partLength(dataLength(words, wireType(wire).encodedLength(columns)))
}
