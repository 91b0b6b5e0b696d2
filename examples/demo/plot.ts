// The picture: held-out loss against bytes sent, as SVG.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'
import type { Run } from './coordinator.ts'
import type { Report } from './report.ts'

const COLOURS = { uncompressed: '#4e79a7', compressed: '#e15759', unigram: '#666666' }

/** Both runs' loss over the bytes that one worker had sent (log scale), and the unigram entropy. */
export function plot(report: Report): string {
  const { uncompressed, compressed, unigramEntropy, settings } = report
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const bytes = [uncompressed, compressed].flatMap(({ measurements }) =>
    measurements.map(({ sentBytes }) => sentBytes),
  )
  const heading = { frameAnchor: 'top-left', dx: -40 } as const
  const first = Math.min(...bytes)
  const figure = Plot.plot({
    document,
    width: 800,
    height: 480,
    marginTop: 64,
    marginRight: 32,
    marginLeft: 56,
    marginBottom: 48,
    style: { background: 'white', fontSize: '13px', fontFamily: 'sans-serif' },
    x: {
      type: 'log',
      grid: true,
      label: 'bytes sent by one worker (log scale) →',
      domain: [first / 1.5, Math.max(...bytes) * 1.5],
      ticks: 6,
      tickFormat: showBytes,
    },
    y: { grid: true, label: '↑ held-out loss, nats per character' },
    marks: [
      ...curve(compressed, `compressed, rank ${settings.rank}`, COLOURS.compressed),
      ...curve(uncompressed, 'uncompressed', COLOURS.uncompressed),
      Plot.ruleY([unigramEntropy], { stroke: COLOURS.unigram, strokeDasharray: '4 4' }),
      Plot.text([unigramEntropy], {
        y: (loss: number) => loss,
        text: [`unigram entropy ${unigramEntropy.toFixed(2)}`],
        frameAnchor: 'right',
        textAnchor: 'end',
        dy: -8,
        fill: COLOURS.unigram,
      }),
      Plot.text([title(report)], { ...heading, dy: -52, fontSize: 17, fontWeight: 'bold' }),
      Plot.text([subtitle(report)], { ...heading, dy: -30, fill: COLOURS.unigram }),
    ],
  })
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
      dy: 16,
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
