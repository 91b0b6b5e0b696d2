// The picture: held-out loss against bytes sent, as SVG.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'
import type { Report } from './report.ts'
import type { Run } from './run.ts'

const COLOURS = { uncompressed: '#4e79a7', compressed: '#e15759', unigram: '#666666' }
const BYTES = { ws: 'sent by', mpi: 'given to MPI_Allreduce by' }

/** Both runs' loss over the bytes that one worker had sent (log scale), and the unigram entropy. */
export function plot(report: Report): string {
  const { transport, uncompressed, compressed, unigramEntropy, settings } = report
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const points = [uncompressed, compressed].flatMap(({ measurements }) => measurements)
  const bytes = points.map(({ sentBytes }) => sentBytes)
  const losses = [...points.map(({ loss }) => loss), unigramEntropy]
  const least = Math.min(...losses)
  const most = Math.max(...losses)
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
    x: {
      type: 'log',
      grid: true,
      label: `bytes ${BYTES[transport]} one worker so far (log scale)`,
      labelAnchor: 'center',
      labelArrow: 'none',
      domain: [Math.min(...bytes) / 1.5, Math.max(...bytes) * 1.5],
      ticks: 6,
      tickFormat: showBytes,
    },
    y: {
      grid: true,
      label: 'held-out loss, nats per character',
      labelAnchor: 'center',
      labelArrow: 'none',
      domain: [least - (most - least) / 8, most + (most - least) / 30],
      ticks: 6,
    },
    marks: [
      ...curve(
        compressed,
        `compressed, rank ${settings.rank}, ${settings.wire}`,
        COLOURS.compressed,
      ),
      ...curve(uncompressed, 'uncompressed', COLOURS.uncompressed),
      Plot.ruleY([unigramEntropy], { stroke: COLOURS.unigram, strokeDasharray: '4 4' }),
      Plot.text([unigramEntropy], {
        y: (loss: number) => loss,
        text: [`unigram entropy ${unigramEntropy.toFixed(2)}`],
        frameAnchor: 'right',
        textAnchor: 'end',
        dy: 10,
        fill: COLOURS.unigram,
      }),
      Plot.text([title(report)], { ...heading, dy: -60, fontSize: 17, fontWeight: 'bold' }),
      Plot.text([subtitle(report)], { ...heading, dy: -36, fill: COLOURS.unigram }),
    ],
  })
  figure.setAttribute('xmlns', 'http://www.w3.org/2000/svg') // a file of its own, not part of a page
  return `${figure.outerHTML}\n`
}

function curve(run: Run, name: string, colour: string): Plot.Markish[] {
  const last = run.measurements.at(-1)!
  return [
    Plot.line(run.measurements, { x: 'sentBytes', y: 'loss', stroke: colour, strokeWidth: 2 }),
    Plot.dot(run.measurements, { x: 'sentBytes', y: 'loss', fill: colour, r: 3 }),
    Plot.text([last], {
      x: 'sentBytes',
      y: 'loss',
      text: [`${name}: ${last.loss.toFixed(3)}`],
      textAnchor: 'end',
      dx: 8,
      dy: 20,
      fill: colour,
      fontWeight: 'bold',
    }),
  ]
}

function title({ compressionRatio, lossDifference }: Report): string {
  const sign = lossDifference < 0 ? '−' : '+'
  const percent = `${sign}${(100 * Math.abs(lossDifference)).toFixed(1)} %`
  return `${compressionRatio.toFixed(0)} times fewer bytes, held-out loss ${percent}`
}

function subtitle({ settings: { workers, steps, seed } }: Report): string {
  return `Character language model, ${workers} workers, ${steps} steps, seed ${seed}`
}

function showBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const unit = Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1)
  return `${bytes / 1000 ** unit} ${units[unit]}`
}
