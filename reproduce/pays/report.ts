// The page's part about where compression pays: tables, a chart, claims.
import { statistics } from '../../bench/measure.ts'
import type { Part } from '../experiment.ts'
import { bytes, table } from '../markdown.ts'
import { chart } from './chart.ts'
import { claimsOf } from './claims.ts'
import type { Compute } from './compute.ts'
import { type Measured, type MeasuredCost, type ModelName, WORKERS } from './costs.ts'
import type { Trip } from './overline.ts'
import { breakEven, type Line, savedMs, stepMs } from './steptime.ts'

/** All that was measured. */
export interface Found {
  readonly compute: Compute
  readonly costs: readonly Measured[]
  readonly trips: readonly Travelled[]
}

export interface Travelled {
  readonly trip: Trip
  readonly stepsMs: readonly number[]
}

const MBITS = [1, 10, 100, 1000] as const
const DELAYS_MS = [0, 20, 100] as const
const TYPICAL: Line = { mbits: 100, delayMs: 20 }
const MODEL = `**The model.** ${WORKERS} workers around a coordinator, each on a line of its own that carries so many bits a second in either
direction, the first of them after a delay. Nothing overlaps: a step is

> gradient and optimiser + compression + decompression + aggregation + 2 · rounds · delay + 8 · (bytes sent + received) ÷ bandwidth

*Measured* are the processor times, on one thread of this machine, and the bytes, which are those of real frames and
means, and those that \`plan\` tells. *Assumed* are the lines, that all workers are equally fast, that the coordinator's own line is
wide enough for all of them, and that connections are open and have grown their windows. A full step of
PowerSGD has two rounds, a half-step and an uncompressed step one. What is gathered (top k, sign + norm)
everyone receives from everyone.`

export function report({ compute, costs, trips }: Found): Part {
  const demo = costs.filter(({ model }) => model === 'demo')
  const others = [...new Set(costs.map(({ model }) => model))].filter((model) => model !== 'demo')
  const dense = uncompressedOf(costs, 'demo')
  const computeMs = compute.gradientMs + compute.optimiserMs
  const speedUp = (cost: MeasuredCost, line: Line) =>
    stepMs(computeMs, dense, line) / stepMs(computeMs, cost, line)
  const checks = trips.map((travelled) => checkOf(travelled, costs, computeMs))
  const markdown = [
    MODEL,
    `**Measured: the demo's model**, 1,161,767 parameters. A gradient (64 characters, jax-js on wasm) takes ${ms(compute.gradientMs)} ms, the
optimiser ${ms(compute.optimiserMs)} ms. Of one worker in one step:`,
    costTable(demo),
    ...DELAYS_MS.map((delayMs) => {
      const rows = demo.map(({ way, cost }) => [
        way,
        ...MBITS.map((mbits) => {
          const line = { mbits, delayMs }
          const time = ms(stepMs(computeMs, cost, line))
          return way === 'uncompressed' ? time : `${time} (${ms(speedUp(cost, line))} ×)`
        }),
      ])
      const head = ['', ...MBITS.map((mbits) => `${mbits} Mbit/s`)]
      return `**A step of the demo, ${delayMs} ms one way**, in milliseconds (and times faster than uncompressed):\n\n${table(head, rows)}`
    }),
    '![Speed-up of the demo’s steps over uncompressed ones, by bandwidth and delay](pays-speedup.svg)',
    ...(others.length > 0 ? [OTHERS] : []),
    ...others.map((name) => {
      const of = costs.filter(({ model }) => model === name)
      return `${name}:\n\n${costTable(of)}`
    }),
    `**Where it ends.** The bandwidth above which a step takes longer than an uncompressed one, by delay; and what
it is shorter by at ${TYPICAL.mbits} Mbit/s, ${TYPICAL.delayMs} ms. Neither depends on how long gradients take.`,
    endTable(costs),
    `**The model against sockets.** The demo's own coordinator and two of its worker processes, on this machine, with a
proxy between them that limits bytes a second in each direction of each connection and delays them; a step is
from its last mean to the next one's, the median of several.`,
    table(
      ['', 'predicted, ms', 'measured, ms', 'least … most', 'measured ÷ predicted'],
      checks.map(({ trip: { way, mbits, delayMs }, predictedMs, measuredMs, least, most }) => [
        `${mbits} Mbit/s, ${delayMs} ms, ${way}`,
        ...[ms(predictedMs), ms(measuredMs), `${ms(least)} … ${ms(most)}`],
        (measuredMs / predictedMs).toFixed(2),
      ]),
    ),
  ].join('\n\n')
  const curves = demo.filter(({ way }) => way !== 'uncompressed')
  return {
    markdown,
    charts: {
      'pays-speedup.svg': chart(
        curves.map(({ way, cost }) => ({ name: way, speedUp: (line) => speedUp(cost, line) })),
        DELAYS_MS,
      ),
    },
    claims: claimsOf(costs),
    figures: { compute, costs, ends: endsOf(costs), checks },
  }
}

const OTHERS = `**Measured: other models**, without gradients of their own. Unless frames are gathered, those of ResNet-18 and the LSTM come from two
workers, GPT-2's from one: the coordinator's time is scaled to ${WORKERS}.`

function costTable(of: readonly Measured[]): string {
  return table(
    ['', 'rounds', 'sent', 'received', 'compression, ms', 'decompression', 'aggregation', '±'],
    of.map(({ way, cost: { rounds, sent, received, sendMs, updateMs, aggregateMs, spreadMs } }) => [
      ...[way, `${rounds}`, bytes(sent), bytes(received)],
      ...[ms(sendMs), ms(updateMs), ms(aggregateMs), ms(spreadMs)],
    ]),
  )
}

/** The bandwidth at which compression ends to pay, for each compressed way: see `breakEven`. */
function endsOf(costs: readonly Measured[]) {
  return costs
    .filter(({ way }) => way !== 'uncompressed')
    .map(({ model, way, cost }) => {
      const dense = uncompressedOf(costs, model)
      return {
        ...{ model, way, savedMs: savedMs(cost, dense, TYPICAL) },
        ends: DELAYS_MS.map((delayMs) => {
          const mbits = breakEven(cost, dense, delayMs)
          return { delayMs, mbits: Number.isFinite(mbits) ? mbits : ('none' as const) }
        }),
      }
    })
}

function endTable(costs: readonly Measured[]): string {
  const end = (mbits: number | 'none') => {
    if (mbits === 'none') return 'none'
    return mbits < 1000 ? `${ms(mbits)} Mbit/s` : `${ms(mbits / 1000)} Gbit/s`
  }
  return table(
    ['', 'shorter by, ms', ...DELAYS_MS.map((delayMs) => `${delayMs} ms`)],
    endsOf(costs).map(({ model, way, savedMs, ends }) => [
      `${model}: ${way}`,
      ms(savedMs),
      ...ends.map(({ mbits }) => end(mbits)),
    ]),
  )
}

/** The model's time for a trip, beside the measured one. */
function checkOf({ trip, stepsMs }: Travelled, costs: readonly Measured[], computeMs: number) {
  const { way, workers } = trip
  const { cost } = costs.find((one) => one.model === 'demo' && one.way === way)!
  const aggregateMs = (cost.aggregateMs * workers) / WORKERS
  return {
    trip,
    predictedMs: stepMs(computeMs, { ...cost, aggregateMs }, trip),
    measuredMs: statistics(stepsMs).ms,
    least: Math.min(...stepsMs),
    most: Math.max(...stepsMs),
  }
}

export function uncompressedOf(costs: readonly Measured[], model: ModelName): MeasuredCost {
  const found = costs.find((one) => one.model === model && one.way === 'uncompressed')
  if (!found) throw new Error(`${model}: nothing to compare with`)
  return found.cost
}

/** Formats milliseconds with three digits. */
export function ms(value: number): string {
  return Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString('en-US')
    : `${Number(value.toPrecision(3))}`
}
