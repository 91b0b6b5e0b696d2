// The results of both runs in a ring, for programs and for people.
import type { RingSettings, Sent } from './ringprotocol.ts'
import type { RingRun } from './ringrun.ts'
import { aligned, count, type Row } from './table.ts'
import type { Corpus } from './text.ts'

/** All that `--json` prints with `--topology ring`. */
export interface RingReport {
  readonly topology: 'ring'
  readonly settings: RingSettings
  readonly symbols: number
  readonly unigramEntropy: number
  readonly plain: RingRun
  readonly powerGossip: RingRun
  /** bytes of plain gossip ÷ of PowerGossip, of all workers' frames */
  readonly compressionRatio: number
  /** (PowerGossip − plain) ÷ plain, of the last held-out losses of the mean of all parameters */
  readonly lossDifference: number
}

export function createRingReport(
  settings: RingSettings,
  { symbols, unigramEntropy }: Corpus,
  plain: RingRun,
  powerGossip: RingRun,
): RingReport {
  const loss = (run: RingRun): number => run.measurements.at(-1)!.loss
  return {
    topology: 'ring',
    settings,
    symbols,
    unigramEntropy,
    plain,
    powerGossip,
    compressionRatio: total(plain, 'frames') / total(powerGossip, 'frames'),
    lossDifference: loss(powerGossip) / loss(plain) - 1,
  }
}

/** The report as a table of text, one column per run; below it, lost workers and missed answers. */
export function ringTable(report: RingReport): string {
  const { settings, unigramEntropy, plain, powerGossip } = report
  const both = (show: (run: RingRun) => string): [string, string] => [
    show(plain),
    show(powerGossip),
  ]
  const last = (run: RingRun) => run.measurements.at(-1)!
  const losses = ({ workers }: RingRun): number[] => workers.map(({ loss }) => loss)
  const each = (run: RingRun): number => total(run, 'frames') / run.workers.length
  const cpu = ({ workers }: RingRun): number =>
    workers.reduce((sum, { cpuMs }) => sum + cpuMs, 0) / workers.length / settings.steps
  const rows: Row[] = [
    ['', 'plain gossip', 'PowerGossip'],
    ['held-out loss of the mean, nats per character', ...both((run) => last(run).loss.toFixed(4))],
    ['  against plain gossip', '', `${(100 * report.lossDifference).toFixed(2)} %`],
    ['  unigram entropy of the same text', ...both(() => unigramEntropy.toFixed(4))],
    ['held-out loss of the best worker', ...both((run) => Math.min(...losses(run)).toFixed(4))],
    ['  of the worst', ...both((run) => Math.max(...losses(run)).toFixed(4))],
    [
      'consensus distance, mean of ‖x − x̄‖² ÷ ‖x̄‖²',
      ...both((run) => last(run).consensusDistance.toExponential(2)),
    ],
    ['bytes sent, per worker and step', ...both((run) => count(each(run) / settings.steps))],
    ['  per worker', ...both((run) => count(each(run)))],
    ['  by all', ...both((run) => count(total(run, 'frames')))],
    ['  by all, with WebSocket’s headers', ...both((run) => count(total(run, 'sockets')))],
    ['compression ratio', '', `${report.compressionRatio.toFixed(1)} ×`],
    ['CPU time, ms per worker and step', ...both((run) => cpu(run).toFixed(1))],
    ['time in all, s', ...both(({ seconds }) => seconds.toFixed(1))],
  ]
  return [
    aligned(rows),
    ...notes('plain gossip', plain),
    ...notes('PowerGossip', powerGossip),
  ].join('\n')
}

function notes(name: string, { lost, left, workers }: RingRun): string[] {
  const missed = workers.reduce((sum, worker) => sum + worker.missed, 0)
  return [
    ...lost.map(({ worker, step, how }) => `worker ${worker} was lost in step ${step}: ${how}`),
    ...left.map(
      ({ worker, neighbour, step, why }) =>
        `worker ${worker} left its neighbour ${neighbour} in step ${step}: ${why}`,
    ),
    ...(missed > 0 ? [`${missed} times a neighbour’s answer was not waited for`] : []),
  ].map((note) => `${name}: ${note}`)
}

function total({ workers }: RingRun, key: keyof Sent): number {
  return workers.reduce((sum, { sent }) => sum + sent[key], 0)
}
