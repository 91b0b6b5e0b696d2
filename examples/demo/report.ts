// The results of both runs, for programs and for people.
import type { Transport } from './options.ts'
import type { Run, Settings } from './run.ts'
import { aligned, count } from './table.ts'
import type { Corpus } from './text.ts'

/** All that `--json` prints. Losses in nats per character; bytes by one worker in one step. */
export interface Report {
  readonly transport: Transport
  readonly settings: Settings
  readonly symbols: number
  readonly unigramEntropy: number
  readonly uncompressed: Run
  readonly compressed: Run
  /** bytes sent uncompressed ÷ bytes sent compressed */
  readonly compressionRatio: number
  /** (compressed − uncompressed) ÷ uncompressed, of the last held-out losses */
  readonly lossDifference: number
  /** in both runs, all workers ended with the same bits */
  readonly identical: boolean
  /** identical; where GPUs compute, which round in their own ways, within `NEAR` */
  readonly agreed: boolean
}

/** The largest relative distance of parameters after 100 steps that rounding explains. */
const NEAR = 1e-6

export function createReport(
  transport: Transport,
  settings: Settings,
  corpus: Corpus,
  uncompressed: Run,
  compressed: Run,
): Report {
  const runs = [uncompressed, compressed]
  const identical = runs.every(({ parameters }) => new Set(parameters).size === 1)
  const near = NEAR * Math.max(1, settings.steps / 100)
  return {
    transport,
    settings,
    symbols: corpus.symbols,
    unigramEntropy: corpus.unigramEntropy,
    uncompressed,
    compressed,
    compressionRatio: uncompressed.sentBytes / compressed.sentBytes,
    lossDifference: lastLoss(compressed) / lastLoss(uncompressed) - 1,
    identical,
    agreed: settings.backend === 'wasm' ? identical : runs.every(({ apart }) => apart <= near),
  }
}

/** The held-out loss after the last step. */
export function lastLoss(run: Run): number {
  return run.measurements.at(-1)!.loss
}

/** The words for each transport: how often MPI_Allreduce sends its input is not known here. */
const WORDS = {
  ws: { sent: 'sent', received: 'received', aggregation: 'aggregation' },
  mpi: { sent: 'to be summed', received: 'of the sum', aggregation: 'MPI_Allreduce, with waiting' },
}

/** The report as a table of text, one column per run. */
export function table({
  transport,
  settings: { backend, software },
  unigramEntropy,
  uncompressed,
  compressed,
  compressionRatio,
  lossDifference,
}: Report): string {
  const receivedRatio = uncompressed.receivedBytes / compressed.receivedBytes
  const { sent, received, aggregation } = WORDS[transport]
  const both = (show: (run: Run) => string): [string, string] => [
    show(uncompressed),
    show(compressed),
  ]
  const below = (run: Run): string => `${(100 * (1 - lastLoss(run) / unigramEntropy)).toFixed(1)} %`
  const rows: [string, string, string][] = [
    ['', 'uncompressed', 'compressed'],
    ['held-out loss, nats per character', ...both((run) => lastLoss(run).toFixed(4))],
    ['  against uncompressed', '', `${(100 * lossDifference).toFixed(2)} %`],
    ['  unigram entropy of the same text', ...both(() => unigramEntropy.toFixed(4))],
    ['  below it by', ...both(below)],
    [`bytes ${sent}, per worker and step`, ...both(({ sentBytes }) => count(sentBytes))],
    [`bytes ${received}, per worker and step`, ...both((run) => count(run.receivedBytes))],
    [`compression ratio, ${sent}`, '', `${compressionRatio.toFixed(1)} ×`],
    [`compression ratio, ${received}`, '', `${receivedRatio.toFixed(1)} ×`],
    ['backend', ...both(() => (software ? `${backend}, software` : backend))],
    ['gradients, ms per worker and step', ...both(({ gradientMs }) => gradientMs.toFixed(1))],
    ['compression, ms per worker and step', ...both((run) => run.compressionMs.toFixed(1))],
    [`${aggregation}, ms per step`, ...both(({ aggregationMs }) => aggregationMs.toFixed(1))],
    ['time in all, s', ...both(({ seconds }) => seconds.toFixed(1))],
    ['parameters, SHA-256', ...both((run) => run.parameters[0]!.slice(0, 12))],
    ['  the same bits on all workers', ...both(same)],
    [
      '  largest distance from worker 0, relative',
      ...both(({ apart }) => (apart === 0 ? '0' : apart.toExponential(1))),
    ],
  ]
  return aligned(rows)
}

function same({ parameters }: Run): string {
  const different = new Set(parameters).size
  return different === 1
    ? `yes, ${parameters.length} of ${parameters.length}`
    : `no: ${different} kinds`
}
