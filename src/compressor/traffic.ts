// Predicts the bytes of a step from shapes and options alone.

import { powerSgd } from '../algorithms/powersgd.ts'
import type { Layout, Parameter } from '../backend.ts'
import { dataLength, partLength } from '../codec/gathered.ts'
import { headerLength } from '../codec/header.ts'
import { type Wire, wireType } from '../codec/wire/index.ts'
import { decideRanks, layoutOf, specsOf, unfrozen } from '../layout.ts'
import {
  type Options,
  ownOptionsOf,
  type ParameterSpec,
  type Rank,
  type Round,
  type Settings,
  type Spec,
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

/** How a parameter is seen, and how it travels. */
export interface PlannedParameter {
  /** as in `shapes`; absent if it has none */
  readonly name?: string
  readonly shape: readonly number[]
  /** the matrix view: rows × cols */
  readonly rows: number
  readonly cols: number
  /** 0: it travels uncompressed. 'frozen': it does not travel */
  readonly rank: Rank
  /**
   * In words: which axes make the rows and which the columns, and why it is compressed or not. Of
   * (3·3·64) × 128, the first three axes are the rows. For people to read: the text may change
   */
  readonly why: string
}

/** The prediction of `plan`. `floats` and `bytes` are what one worker sends in a step. */
export interface Plan extends Traffic {
  readonly parameters: readonly PlannedParameter[]
  /** exchanges in a step */
  readonly rounds: number
  /** elements of all parameters that are not frozen */
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
  const specs = specsOf(shapes, settings.method.firstAxis)
  const layout = layoutOf(specs, decideRanks(specs, settings, settings.rank))
  const { parameters } = layout
  const denseFloats = unfrozen(layout).reduce((sum, { length }) => sum + length, 0)
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
    parameters: parameters.map((parameter, i) => {
      const { name } = specs[i]!
      const { shape, rows, cols, frozen, rank } = parameter
      const why = `${viewOf(parameter)}, ${reasonOf(parameter, specs[i]!, settings)}`
      return {
        ...(name !== undefined && { name }),
        shape,
        rows,
        cols,
        rank: frozen ? 'frozen' : rank,
        why,
      }
    }),
    rounds: steps[0]!.length,
    denseFloats,
    ratio: denseFloats / sent.floats || 1,
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
  const specs = specsOf(shapes, settings.method.firstAxis)
  return layoutOf(specs, decideRanks(specs, settings, settings.rank))
}

/** How many of the axes make the rows; null: the rows begin within an axis. */
function axesOfRows({ shape, rows }: Parameter): number | null {
  const products = shape.map((_, i) => productOf(shape.slice(0, i + 1)))
  const first = products.indexOf(rows)
  if (first >= 0) return first + 1
  return rows === 1 ? 0 : null
}

/** The matrix view in words: '64 × (3·7·7)'. */
function viewOf(parameter: Parameter): string {
  const { shape, rows, cols } = parameter
  const axes = axesOfRows(parameter)
  if (axes === null) return `[${shape.join(', ')}] laid out as ${rows} × ${cols}`
  const side = (sizes: readonly number[]) =>
    sizes.length > 1 ? `(${sizes.join('·')})` : `${sizes[0] ?? 1}`
  return `${side(shape.slice(0, axes))} × ${side(shape.slice(axes))}`
}

/** Why a parameter travels as it does, in words. */
function reasonOf(parameter: Parameter, { rank: own, compress }: Spec, settings: Settings): string {
  const { index, shape, length, rows, cols, rank, frozen } = parameter
  const { method, minCompressionRate, startCompressingAfter } = settings
  const { narrow = 'never', wanted = settings.rank, cost } = method.gate?.(settings) ?? {}
  if (frozen) return 'frozen: does not travel'
  if (!cost) return `raw: ${method.name} has no factors`
  if (compress === false) return 'raw: compress is false'
  const tried =
    rank || Math.min(typeof wanted === 'number' ? (own ?? wanted) : wanted[index]!, rows, cols)
  const floats = cost(rows, cols, tried, shape)
  if (rank > 0) {
    const delay = `, raw before step ${startCompressingAfter} (startCompressingAfter)`
    return (
      `rank ${rank}${stackOf(parameter)}: ${floats} floats instead of ${length}` +
      (compress ? ', because compress is true' : '') +
      (startCompressingAfter > 0 ? delay : '')
    )
  }
  const overruled = 'unless compress is true'
  if (shape.length <= 1 && narrow !== 'any')
    return `raw: a ${shape.length === 0 ? 'scalar' : 'vector'}, ${overruled}`
  if (Math.min(rows, cols) === 1 && narrow === 'never') {
    return `raw: a single ${rows === 1 ? 'row' : 'column'}, ${overruled}`
  }
  return (
    `raw: at rank ${tried} ${floats} floats × ${minCompressionRate} (minCompressionRate) are not ` +
    `fewer than ${length}, ${overruled}`
  )
}

/** Rows of several axes are parts side by side: the layers of a stack, the places of a kernel. */
function stackOf(parameter: Parameter): string {
  const { shape, cols } = parameter
  const axes = axesOfRows(parameter) ?? 0
  const parts = productOf(shape.slice(0, axes - 1))
  if (axes < 2 || parts === 1) return ''
  return `, which its ${parts} parts of ${shape[axes - 1]} × ${cols} share`
}

function productOf(sizes: readonly number[]): number {
  return sizes.reduce((product, size) => product * size, 1)
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
