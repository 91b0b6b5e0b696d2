// The picture, as SVG: held-out loss against bytes sent, or in a ring, against steps.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'
import type { Report } from './report.ts'
import type { RingReport } from './ringreport.ts'
import type { RingRun } from './ringrun.ts'
import type { Run } from './run.ts'

const COLOURS = { whole: '#4e79a7', compressed: '#e15759', unigram: '#666666' }
const BYTES = { ws: 'sent by', mpi: 'given to MPI_Allreduce by' }

/**
 * Plots both runs' loss over the bytes that one worker had sent (log scale), and the unigram
 * entropy.
 */
export function plot(report: Report): string {
  const { transport, uncompressed, compressed, unigramEntropy, settings } = report
  const { workers, steps, rank, wire, seed } = settings
  const curveOf = ({ measurements }: Run, name: string, colour: string): Curve => ({
    name,
    colour,
    points: measurements.map(({ sentBytes, loss }) => ({ x: sentBytes, loss })),
    dy: 20,
  })
  const curves = [
    curveOf(compressed, `compressed, rank ${rank}, ${wire}`, COLOURS.compressed),
    curveOf(uncompressed, 'uncompressed', COLOURS.whole),
  ]
  const bytes = curves.flatMap(({ points }) => points.map(({ x }) => x))
  return draw({
    title: title('fewer bytes', report),
    subtitle: `Character language model, ${workers} workers, ${steps} steps, seed ${seed}`,
    x: {
      type: 'log',
      label: `bytes ${BYTES[transport]} one worker so far (log scale)`,
      domain: [Math.min(...bytes) / 1.5, Math.max(...bytes) * 1.5],
      tickFormat: showBytes,
    },
    curves,
    unigramEntropy,
  })
}

/** Plots the loss of the workers' mean over the steps of both runs, and the unigram entropy. */
export function plotRing(report: RingReport): string {
  const { plain, powerGossip, unigramEntropy, settings } = report
  const { workers, steps, rank, wire, seed } = settings
  const above = report.lossDifference > 0 // PowerGossip's curve ends above the other
  const curveOf = (
    { measurements }: RingRun,
    name: string,
    colour: string,
    up: boolean,
  ): Curve => ({
    name,
    colour,
    points: measurements.map(({ step, loss }) => ({ x: step, loss })),
    dy: up ? -16 : 20,
  })
  return draw({
    title: title('fewer bytes than plain gossip', report),
    subtitle: `Character language model, ${workers} workers in a ring, ${steps} steps, seed ${seed}`,
    x: { type: 'linear', label: 'steps', domain: [0, steps * 1.02], tickFormat: String },
    curves: [
      curveOf(powerGossip, `PowerGossip, rank ${rank}, ${wire}`, COLOURS.compressed, above),
      curveOf(plain, 'plain gossip', COLOURS.whole, !above),
    ],
    unigramEntropy,
  })
}

interface Curve {
  readonly name: string
  readonly colour: string
  readonly points: readonly { readonly x: number; readonly loss: number }[]
  /** how far below the last point the name is written */
  readonly dy: number
}

interface Picture {
  readonly title: string
  readonly subtitle: string
  readonly x: Pick<Plot.ScaleOptions, 'type' | 'label' | 'domain' | 'tickFormat'>
  readonly curves: readonly Curve[]
  readonly unigramEntropy: number
}

function draw({ title, subtitle, x, curves, unigramEntropy }: Picture): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const losses = curves.flatMap(({ points }) => points.map(({ loss }) => loss))
  const least = Math.min(...losses, unigramEntropy)
  const most = Math.max(...losses, unigramEntropy)
  const heading = { frameAnchor: 'top-left', dx: -48 } as const
  const figure = Plot.plot({
    document,
    width: 800,
    height: 480,
    marginTop: 72,
    marginRight: 32,
    marginLeft: 64,
    marginBottom: 52,
    style: { background: 'white', fontSize: '13px', fontFamily: 'sans-serif' },
    x: { ...x, grid: true, labelAnchor: 'center', labelArrow: 'none', ticks: 6 },
    y: {
      grid: true,
      label: 'held-out loss, nats per character',
      labelAnchor: 'center',
      labelArrow: 'none',
      domain: [least - (most - least) / 8, most + (most - least) / 30],
      ticks: 6,
    },
    marks: [
      ...curves.flatMap(marksOf),
      Plot.ruleY([unigramEntropy], { stroke: COLOURS.unigram, strokeDasharray: '4 4' }),
      Plot.text([unigramEntropy], {
        y: (loss: number) => loss,
        text: [`unigram entropy ${unigramEntropy.toFixed(2)}`],
        frameAnchor: 'right',
        textAnchor: 'end',
        dy: 10,
        fill: COLOURS.unigram,
      }),
      Plot.text([title], { ...heading, dy: -60, fontSize: 17, fontWeight: 'bold' }),
      Plot.text([subtitle], { ...heading, dy: -36, fill: COLOURS.unigram }),
    ],
  })
  figure.setAttribute('xmlns', 'http://www.w3.org/2000/svg') // a file of its own, not part of a page
  return `${figure.outerHTML}\n`
}

function marksOf({ points, name, colour, dy }: Curve): Plot.Markish[] {
  const last = points.at(-1)!
  return [
    Plot.line(points, { x: 'x', y: 'loss', stroke: colour, strokeWidth: 2 }),
    Plot.dot(points, { x: 'x', y: 'loss', fill: colour, r: 3 }),
    Plot.text([last], {
      x: 'x',
      y: 'loss',
      text: [`${name}: ${last.loss.toFixed(3)}`],
      textAnchor: 'end',
      dx: 8,
      dy,
      fill: colour,
      fontWeight: 'bold',
    }),
  ]
}

function title(fewer: string, { compressionRatio, lossDifference }: Report | RingReport): string {
  const sign = lossDifference < 0 ? '−' : '+'
  const percent = `${sign}${(100 * Math.abs(lossDifference)).toFixed(1)} %`
  return `${compressionRatio.toFixed(0)} times ${fewer}, held-out loss ${percent}`
}

function showBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const unit = Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1)
  return `${bytes / 1000 ** unit} ${units[unit]}`
}
