// The papers' figures about bytes, from shapes alone.
import type { Claim, Done, Experiment, Part } from '../experiment.ts'
import { count, table } from '../markdown.ts'
import { type Printed, SOURCES, type Source, type Unit } from './printed.ts'
import { type ModelName, SHAPES } from './shapes.ts'
import { type Sent, sent, type Way } from './ways.ts'

/** A run's description: the model and the method of which the bytes of a step are counted. */
interface Run {
  readonly model: ModelName
  readonly way: Way
}

/** A printed figure beside the one computed here. */
export interface Figure extends Printed {
  readonly source: string
  readonly floats: number
  /** in the figure's unit */
  readonly value: number
  /** how it relates to what is printed */
  readonly verdict: 'rounds to it' | 'cut off there' | 'off'
  /** what headers add to the bytes of a step; null: the library has no such method */
  readonly overhead: number | null
}

export const bytes: Experiment<Run, Sent> = {
  name: 'bytes',
  title: 'Bytes, exactly',
  files: [],
  runs() {
    const all = SOURCES.flatMap(({ figures }) => figures)
    const byKey = new Map(all.map(({ model, way }) => [keyOf({ model, way }), { model, way }]))
    return [...byKey.values()]
  },
  describe: ({ model, way }) => `${model}, ${way.name}`,
  execute({ model, way }) {
    const { floats, bytes } = sent(SHAPES[model], way)
    return { floats, bytes }
  },
  report,
}

function report(done: readonly Done<Run, Sent>[]): Part {
  const all = figuresOf(done)
  const sections = SOURCES.map((source) => {
    const figures = all.filter((figure) => figure.source === source.name)
    return `**${source.name}.** ${source.about}\n\n${tableOf(figures)}`
  })
  const introduction = `What one worker sends, from the shapes of the papers' models. *Floats* are words of 32 bits a worker
and step, as the papers count them: factors, vectors that travel whole, indices, bits. Their megabytes
are of 2²⁰ bytes. The last column is what headers and checksums of this library's frames add to that.`
  return {
    markdown: [introduction, ...sections].join('\n\n'),
    charts: {},
    claims: SOURCES.map((source) =>
      claimOf(
        source,
        all.filter((figure) => figure.source === source.name),
      ),
    ),
    figures: all.map(({ source, row, model, unit, printed, floats, value, verdict }) => ({
      ...{ source, row, model, unit: unit.kind, printed, floats, value, verdict },
    })),
  }
}

/** All printed figures beside those computed here. */
export function figuresOf(done: readonly Done<Run, Sent>[]): Figure[] {
  const results = new Map(done.map(({ run, result }) => [keyOf(run), result]))
  const of = (model: ModelName, way: Way) => {
    const result = results.get(keyOf({ model, way }))
    if (!result) throw new Error(`no result of ${model}, ${way.name}`)
    return result
  }
  return SOURCES.flatMap(({ name, figures, cut }) =>
    figures.map((figure): Figure => {
      const { model, way, unit, printed } = figure
      const { floats, bytes } = of(model, way)
      const whole: Way = way.name === 'PowerGossip' ? { name: 'gossip' } : { name: 'whole' }
      const value = unit.kind === '×' ? of(model, whole).floats / floats : inUnit(floats, unit)
      return {
        ...figure,
        source: name,
        floats,
        value,
        verdict: compare(value, printed, cut ?? false),
        overhead: bytes === null ? null : bytes / (4 * floats) - 1,
      }
    }),
  )
}

function inUnit(floats: number, unit: Exclude<Unit, { kind: '×' }>): number {
  return unit.kind === 'MiB' ? (4 * floats * unit.steps) / 2 ** 20 : (floats * unit.steps) / 1e6
}

/** Compares with as many digits as are printed. */
function compare(value: number, printed: string, cut: boolean): Figure['verdict'] {
  const digits = digitsOf(printed)
  if (value.toFixed(digits) === printed) return 'rounds to it'
  const floor = Math.floor(value * 10 ** digits) / 10 ** digits
  return cut && floor.toFixed(digits) === printed ? 'cut off there' : 'off'
}

function tableOf(figures: readonly Figure[]): string {
  return table(
    ['', 'floats', 'ours', 'printed', 'difference', '', 'headers'],
    figures.map(({ row, model, floats, value, printed, unit, verdict, overhead }) => [
      `${model}: ${row}`,
      count(floats),
      `${value.toFixed(digitsOf(printed) + 2)} ${unit.kind}`,
      printed,
      `${difference(value, printed)} %`,
      verdict,
      overhead === null ? '' : `+ ${(100 * overhead).toPrecision(2)} %`,
    ]),
  )
}

/** How far the value is from the printed one, in percent. */
function difference(value: number, printed: string): string {
  const percent = 100 * (value / Number(printed) - 1)
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(Math.abs(percent) < 0.1 ? 3 : 1)}`
}

function claimOf({ name, claim }: Source, figures: readonly Figure[]): Claim {
  const others = figures.filter(({ verdict }) => verdict === 'off')
  const cut = figures.filter(({ verdict }) => verdict === 'cut off there').length
  const numbers = [
    `${figures.length - others.length} of ${figures.length} figures come out`,
    ...(cut > 0 ? [`${cut} of them cut off, not rounded`] : []),
    ...others.map(({ row, value, printed }) => `${row}: ${value.toFixed(2)}, not ${printed}`),
  ]
  return {
    claim,
    source: name,
    verdict: others.length === 0 ? 'found' : 'not found',
    numbers: numbers.join('; '),
  }
}

function digitsOf(printed: string): number {
  return printed.split('.')[1]?.length ?? 0
}

function keyOf({ model, way }: Run): string {
  return JSON.stringify([model, way])
}
