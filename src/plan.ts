// Which tensors are compressed, the matrix that each becomes, where its numbers lie, and what a
// step costs in bytes.
import { encodedLength, type Wire } from './codec/floats.ts'
import { headerLength } from './codec/frame.ts'
import {
  integer,
  localOf,
  type Options,
  type ParameterSpec,
  type Settings,
  settingsOf,
  show,
} from './options.ts'
import type { Parameter, Plan, Tensor } from './seam.ts'

/** What one worker exchanges in a step. */
export interface Traffic {
  readonly floats: number
  /** of the frames: headers and checksums included */
  readonly bytes: number
}

/** What `plan` tells about a model before anything is created. */
export interface PlanSummary extends Traffic {
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
  /** what a worker receives in a step, if it receives the mean over so many workers' frames */
  received(workers: number): Traffic
}

/**
 * Tells what compression would do to a model, without creating anything.
 *
 * @param shapes  one entry per parameter, in the order that all workers share
 * @throws RangeError, TypeError  naming the entry or option at fault
 */
export function plan(shapes: readonly ParameterSpec[], options: Options = {}): PlanSummary {
  const { iterations } = settingsOf(options)
  const { wire } = localOf(options)
  const table = layoutPlan(shapes, options)
  const rounds = roundsOf(table, iterations)
  const traffic = (type: Wire, senders: number): Traffic => ({
    floats: rounds.reduce((sum, lengths) => sum + total(lengths), 0),
    bytes: rounds.reduce(
      (sum, lengths) =>
        sum + headerLength(senders, shapes.length, 0) + encodedLength(type, lengths),
      0,
    ),
  })
  const sent = traffic(wire, 1)
  return {
    ...sent,
    parameters: table.parameters.map(({ shape, rows, cols, rank }) => ({
      shape,
      rows,
      cols,
      rank,
    })),
    rounds: rounds.length,
    denseFloats: table.denseFloats,
    ratio: table.denseFloats / sent.floats,
    received(workers) {
      integer('workers', workers, 1, 0xffffffff)
      return traffic('f32', workers)
    },
  }
}

/**
 * The table of a model's parameters over flat arenas: what `wasm().open` takes, to run the phases of
 * a step one by one.
 *
 * @throws RangeError, TypeError  naming the entry or option at fault
 */
export function layoutPlan(shapes: readonly ParameterSpec[], options: Options = {}): Plan {
  const settings = settingsOf(options)
  const specs = specsOf(shapes)
  return layout(specs, ranksOf(specs, settings, settings.rank))
}

/** A checked entry of `shapes`. */
export interface Spec {
  readonly shape: readonly number[]
  readonly length: number
  readonly rows: number
  readonly cols: number
  readonly rank: number | undefined
  readonly compress: boolean | undefined
}

/** @throws RangeError, TypeError  naming the entry at fault */
export function specsOf(shapes: readonly ParameterSpec[]): Spec[] {
  if (!Array.isArray(shapes)) {
    throw new TypeError(`"shapes": expected an array of shapes, got ${show(shapes)}`)
  }
  if (shapes.length === 0) throw new RangeError('"shapes": expected at least one, got none')
  return shapes.map((entry, i) => specOf(entry, `shapes[${i}]`))
}

function specOf(entry: ParameterSpec, name: string): Spec {
  if (typeof entry !== 'object' || entry === null) {
    throw new TypeError(`"${name}": expected a shape or { shape, … }, got ${show(entry)}`)
  }
  const { shape, rows, rank, compress } = isShape(entry) ? { shape: entry } : entry
  if (!Array.isArray(shape)) {
    throw new TypeError(`"${name}.shape": expected an array of integers, got ${show(shape)}`)
  }
  for (const size of shape) integer(name, size, 1, 2 ** 32)
  const length = total(shape, (a, b) => a * b, 1)
  if (rows !== undefined) {
    integer(`${name}.rows`, rows, 1, length)
    if (length % rows !== 0) {
      throw new RangeError(`"${name}.rows": expected a divisor of ${length}, got ${rows}`)
    }
  }
  if (rank !== undefined) integer(`${name}.rank`, rank, 1, 65535)
  if (compress !== undefined && typeof compress !== 'boolean') {
    throw new TypeError(`"${name}.compress": expected true or false, got ${show(compress)}`)
  }
  const n = rows ?? shape[0] ?? 1
  return { shape: [...shape], length, rows: n, cols: length / n, rank, compress }
}

function isShape(entry: ParameterSpec): entry is readonly number[] {
  return Array.isArray(entry)
}

/**
 * @param other  checks an entry that is no Float32Array
 * @throws TypeError, RangeError  unless there are as many numbers as in its shape for each
 */
export function checkTensors(
  tensors: readonly Tensor[],
  specs: readonly Spec[],
  name: string,
  other: (tensor: unknown, length: number, name: string) => void,
): void {
  if (!Array.isArray(tensors)) {
    throw new TypeError(`"${name}": expected an array, got ${show(tensors)}`)
  }
  if (tensors.length !== specs.length) {
    throw new RangeError(`"${name}": expected ${specs.length} entries, got ${tensors.length}`)
  }
  const arrays = tensors[0] instanceof Float32Array
  for (const [i, { length, shape }] of specs.entries()) {
    const tensor: unknown = tensors[i]
    if (!(tensor instanceof Float32Array)) {
      other(tensor, length, `${name}[${i}]`)
      if (!arrays) continue
    } else if (arrays) {
      if (tensor.length === length) continue
      throw new RangeError(
        `"${name}[${i}]": expected ${length} floats for shape [${shape.join(', ')}], ` +
          `got ${tensor.length}`,
      )
    }
    throw new TypeError(`"${name}[${i}]": expected arrays or GPU buffers, not some of each`)
  }
}

/**
 * The rank of each parameter, 0 where it stays raw: vectors, single rows or columns (but for some
 * presets), what is told to, and what would not pay.
 *
 * @param wanted  for all, or one per parameter
 */
export function ranksOf(
  specs: readonly Spec[],
  settings: Settings,
  wanted: number | readonly number[],
): number[] {
  return specs.map(({ rows, cols, shape, rank, compress }, i) => {
    const asked = typeof wanted === 'number' ? (rank ?? wanted) : wanted[i]!
    const r = Math.min(asked, rows, cols)
    if (compress !== undefined) return compress ? r : 0
    if (shape.length <= 1) return 0
    if (settings.alwaysRaw === 'thin' && Math.min(rows, cols) === 1) return 0
    const sent = settings.iterations * r * (rows + cols)
    return sent * settings.minCompressionRate < rows * cols ? r : 0
  })
}

/** Lays the parameters out in the arenas. */
export function layout(specs: readonly Spec[], ranks: readonly number[]): Plan {
  let arenaFloats = 0
  let leftFloats = 0
  let rightFloats = 0
  let rawFloats = 0
  const parameters = specs.map(({ shape, length, rows, cols }, index): Parameter => {
    const rank = ranks[index]!
    const parameter = {
      index,
      shape,
      length,
      rows,
      cols,
      rank,
      offset: arenaFloats,
      left: leftFloats,
      right: rightFloats,
      raw: rawFloats,
    }
    arenaFloats += Math.ceil(length / 4) * 4
    leftFloats += rows * rank
    rightFloats += cols * rank
    rawFloats += rank === 0 ? length : 0
    return parameter
  })
  return {
    parameters,
    matrices: parameters.filter(({ rank }) => rank > 0),
    raws: parameters.filter(({ rank }) => rank === 0),
    arenaFloats,
    denseFloats: total(specs.map(({ length }) => length)),
    leftFloats,
    rightFloats,
    rawFloats,
  }
}

/** Lengths of the columns of all left factors: what must share a scale when quantised. */
export function leftColumns(plan: Plan): number[] {
  return plan.matrices.flatMap(({ rows, rank }) => Array<number>(rank).fill(rows))
}

/** The same for the right factors. */
export function rightColumns(plan: Plan): number[] {
  return plan.matrices.flatMap(({ cols, rank }) => Array<number>(rank).fill(cols))
}

/** Lengths of the raw tensors. */
export function rawLengths(plan: Plan): number[] {
  return plan.raws.map(({ length }) => length)
}

/** What is sent in each round of a step, column by column. */
function roundsOf(plan: Plan, iterations: number): number[][] {
  if (plan.matrices.length === 0) return [rawLengths(plan)]
  const rounds: number[][] = []
  for (let k = 0; k < iterations; k++) rounds.push(leftColumns(plan), rightColumns(plan))
  rounds.at(-1)!.push(...rawLengths(plan))
  return rounds
}

function total(
  values: readonly number[],
  add: (a: number, b: number) => number = (a, b) => a + b,
  first = 0,
): number {
  return values.reduce(add, first)
}
