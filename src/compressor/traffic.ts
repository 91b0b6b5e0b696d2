// Predicts the bytes of a step from shapes and options alone.

import { powerSgd } from '../algorithms/powersgd.ts'
import type { Layout } from '../backend.ts'
import { dataLength, partLength } from '../codec/gathered.ts'
import { headerLength } from '../codec/header.ts'
import { type Wire, wireType } from '../codec/wire/index.ts'
import { layoutOf, specsOf } from '../layout.ts'
import {
  type Options,
  ownOptionsOf,
  type ParameterSpec,
  type Round,
  settingsOf,
} from '../options.ts'
import { integer } from '../validate.ts'

/** The size of what one worker sends or receives in a step. */
export interface Traffic {
  /** floats, and other words of four bytes such as indices or bits */
  readonly floats: number
  /** bytes of the frames, headers and checksums included */
  readonly bytes: number
}

/** The prediction of `plan`. `floats` and `bytes` are what one worker sends in a step. */
export interface Plan extends Traffic {
  /** the matrix view of each parameter, and its rank; 0: it travels uncompressed */
  readonly parameters: readonly {
    shape: readonly number[]
    rows: number
    cols: number
    rank: number
  }[]
  /** exchanges in a step */
  readonly rounds: number
  /** elements of all parameters */
  readonly denseFloats: number
  /** `denseFloats` ÷ `floats`: 1 is no gain, larger is better. It ignores the wire type */
  readonly ratio: number
  /**
   * The size of what a worker receives in a step, if it receives the result of `aggregate`: in each
   * round a mean in float32 or, with methods that gather, the parts of all workers.
   *
   * @param workers  how many workers send frames
   */
  received(workers: number): Traffic
}

/**
 * Predicts the traffic of a model without creating a compressor: matrices, ranks, rounds, floats
 * and bytes. If steps differ, as half-steps do that send P and Q in turn, the traffic is that of
 * the average step. Steps before `startCompressingAfter` are not counted.
 *
 * @param shapes  as for `createCompressor`
 * @param options  as for `createCompressor`
 * @throws TypeError, RangeError  naming the entry or option that is not valid
 */
export function plan(shapes: readonly ParameterSpec[], options: Options = {}): Plan {
  const settings = settingsOf(options, powerSgd)
  const { wire } = ownOptionsOf(options)
  const layout = createLayout(shapes, options)
  const { parameters, denseFloats } = layout
  const steps = settings.method.cycle(layout, settings)
  const perStep = (trafficOf: (round: Round) => Traffic): Traffic => {
    const rounds = steps.flat().map(trafficOf)
    const mean = (field: keyof Traffic) =>
      rounds.reduce((sum, traffic) => sum + traffic[field], 0) / steps.length
    return { floats: mean('floats'), bytes: mean('bytes') }
  }
  const header = (senders: number, { scalars = 0 }: Round) =>
    headerLength(senders, shapes.length, scalars)
  const sent = perStep((round) => ({
    floats: floatsOf(round),
    bytes: header(1, round) + lengthOf(round, 1, wire, wire),
  }))
  return {
    ...sent,
    parameters: parameters.map(({ shape, rows, cols, rank }) => ({ shape, rows, cols, rank })),
    rounds: steps[0]!.length,
    denseFloats,
    ratio: denseFloats / sent.floats,
    received(workers) {
      integer('workers', workers, 1, 0xffffffff)
      return perStep((round) => ({
        floats: (round.kind === 'gathered' ? workers : 1) * floatsOf(round),
        bytes: header(workers, round) + lengthOf(round, workers, wire, 'f32'),
      }))
    },
  }
}

/**
 * Makes the table of a model's parameters, for `wasm().open`: the matrix view of each, its rank,
 * and its offsets in the arenas.
 *
 * @param shapes  as for `createCompressor`
 * @param options  as for `createCompressor`; only those that affect ranks are used
 * @throws TypeError, RangeError  naming the entry or option that is not valid
 */
export function createLayout(shapes: readonly ParameterSpec[], options: Options = {}): Layout {
  const settings = settingsOf(options, powerSgd)
  ownOptionsOf(options)
  const specs = specsOf(shapes)
  return layoutOf(specs, settings.method.ranks(specs, settings, settings.rank))
}

function floatsOf({ words = 0, columns }: Round): number {
  return words + columns.reduce((sum, length) => sum + length, 0)
}

/**
 * Bytes of a frame after its header.
 *
 * @param workers  how many parts the frame has, if the round is gathered
 * @param partWire  the wire type of the parts of a gathered frame
 * @param sumWire  the wire type of a summed frame: a worker's own, or that of means, f32
 */
function lengthOf(round: Round, workers: number, partWire: Wire, sumWire: Wire): number {
  const { kind, words = 0, columns } = round
  if (kind === 'summed') return wireType(sumWire).encodedLength(columns)
  return workers * partLength(dataLength(words, wireType(partWire).encodedLength(columns)))
}
