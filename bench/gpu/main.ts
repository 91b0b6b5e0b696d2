// `npm run bench:gpu`: the built package on this machine's GPU, beside the bandwidth of its memory
// and the times of PyTorch.
//
// Runs without a loader in Node 24, `node bench/gpu/main.ts`, with the packages webgpu and
// tinybench alone: machines with a GPU may have no others.
import { constants } from 'node:os'
import { parseArgs } from 'node:util'
import { checkOutput, print, writeOutput } from '../../scripts/output.ts'
import { compareReports, readReport } from '../compare.ts'
import { byEffort, type Settings } from '../effort.ts'
import {
  GPT2,
  LSTM,
  type Model,
  parametersOf,
  RESNET18,
  SMALL,
  TINY,
  TINYLLAMA,
} from '../models.ts'
import { createProgress, type Progress } from '../progress.ts'
import { write } from '../report.ts'
import { circumstances } from '../results.ts'
import { Unavailable } from '../tools.ts'
import { type Adapter, nameOf, openDevice } from './device.ts'
import { measureAll } from './measure.ts'
import { gpuOfNode } from './node.ts'
import type { GpuReport } from './report.ts'
import { measureTorch, type TorchRows } from './torch.ts'

const MODELS: Readonly<Record<string, Model>> = {
  resnet18: { name: 'ResNet-18', shapes: RESNET18 },
  lstm: { name: 'LSTM', shapes: LSTM },
  gpt2: { name: 'GPT-2-124M', shapes: GPT2 },
  tinyllama: { name: 'TinyLlama-1.1B', shapes: TINYLLAMA },
  small: { name: 'a small transformer', shapes: SMALL },
  tiny: TINY,
}

/** A software adapter gets models of at most so many parameters. */
const MOST_IN_SOFTWARE = 1e6

const HELP = `Usage: npm run bench:gpu -- [options] [models...]

Times the passes of steps on the GPU and whole steps, beside the GPU's own copying and PyTorch on CUDA.
Medians; ± is the median distance from them.

Models: ${Object.keys(MODELS).join(', ')}. If none is named, the first four; on a
software adapter, whose times are meaningless, small, and few samples.

  --ranks <list>    1,2,4,8,32 if not given
  --quick           ResNet-18 and GPT-2 at ranks 1, 2 and 4, less time
  --tiny            a tiny model, tiny arrays and hardly any time: to see that it works
  --no-torch        leave PyTorch out
  --browser         instead, the matrix products alone in a headless Chromium, beside TensorFlow.js and
                    jax-js; ranks 1, 4, 32 if none are given
  --chromium <file> of --browser: the Chromium or Chrome to take, and with it this machine's GPU; without,
                    one from npm that computes in software
  --json <file>     write everything to a file
  --compare <file>  ratios beside those of such a file, and which have changed
  --markdown        print tables as Markdown
  --help
`

let torch: { kill(): boolean } | undefined
let stop = () => {}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    stop()
    torch?.kill()
    process.stderr.write(`bench: ended by ${signal}\n`)
    process.exit(128 + constants.signals[signal])
  })
}

try {
  await main()
} catch (error) {
  stop()
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
}

async function main(): Promise<void> {
  const { values: options, positionals } = parse()
  if (options.help) return print(HELP)
  const asked = options.ranks === undefined ? null : numbersOf(options.ranks)
  if (options.chromium !== undefined && !options.browser) {
    throw new RangeError('--chromium: only with --browser')
  }
  const then = options.compare === undefined ? null : readReport(options.compare)
  const named = modelsOf(positionals)
  if (options.json !== undefined) checkOutput('--json', options.json)

  const found = options.browser
    ? await inBrowser(options, asked, named)
    : await inNode(options, asked, named)
  stop()
  const report: GpuReport = { ...circumstances('bench:gpu'), ...found }
  const changes = then && compareReports(report, then)
  const where = [nameOf(report.adapter), ...(report.browser ? [report.browser] : [])].join(', ')
  try {
    await print(write(report, where, changes, options.markdown ?? false))
  } finally {
    if (options.json !== undefined) {
      writeOutput('--json', options.json, `${JSON.stringify({ ...report, changes }, null, 2)}\n`)
    }
  }
}

type Options = ReturnType<typeof parse>['values']
type Found = Pick<GpuReport, 'adapter' | 'browser' | 'tables' | 'skipped' | 'goals'>

async function inBrowser(
  { quick = false, tiny = false, chromium }: Options,
  ranks: readonly number[] | null,
  { length }: readonly Model[],
): Promise<Found> {
  if (length > 0) throw new RangeError('--browser takes matrices of its own, and no models')
  const { measureInBrowser } = await import('./browser/main.ts')
  return measureInBrowser({ ranks, quick, tiny, executable: chromium }, begin)
}

async function begin(sections: number): Promise<Progress> {
  const progress = await createProgress(sections)
  stop = () => progress.stop()
  return progress
}

async function inNode(
  options: Options,
  asked: readonly number[] | null,
  named: readonly Model[],
): Promise<Found> {
  const opened = await openDevice(await gpuOfNode())
  const { adapter, device } = opened
  // A software adapter's times mean nothing, so few samples suffice.
  const least = options.tiny || adapter.software
  const settings: Settings = {
    effort: least ? 'tiny' : options.quick ? 'quick' : 'full',
    all: false,
  }
  const ranks = asked ?? byEffort(settings, [1, 2, 4, 8, 32], [1, 2, 4], [1, 4])
  const models =
    named.length > 0 ? named : modelsOf(options.tiny ? ['tiny'] : defaults(settings, adapter))
  for (const { name, shapes } of adapter.software ? models : []) {
    if (parametersOf(shapes) <= MOST_IN_SOFTWARE) continue
    throw new RangeError(`${name}: more than ${MOST_IN_SOFTWARE} parameters on a software adapter`)
  }
  const progress = await begin(models.length + 2)
  const skipped: string[] = []
  const skip = (why: string) => skipped.push(why)
  let steps: TorchRows = new Map()
  progress.section('torch')
  if (options['no-torch']) skip('PyTorch on CUDA: --no-torch')
  else {
    try {
      steps = await measureTorch(models, ranks, settings, progress.at, skip, (child) => {
        torch = child
      })
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error
      skip(`PyTorch on CUDA: ${error.message}`)
    }
  }
  const found = await measureAll(opened, models, ranks, settings, steps, progress)
  device.destroy()
  progress.stop()

  return { adapter, ...found, skipped: [...skipped, ...found.skipped] }
}

function parse() {
  return parseArgs({
    allowPositionals: true,
    options: {
      ranks: { type: 'string' },
      quick: { type: 'boolean' },
      tiny: { type: 'boolean' },
      'no-torch': { type: 'boolean' },
      browser: { type: 'boolean' },
      chromium: { type: 'string' },
      json: { type: 'string' },
      compare: { type: 'string' },
      markdown: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
}

function defaults(settings: Settings, { software }: Adapter): readonly string[] {
  if (software) return ['small']
  return byEffort(
    settings,
    ['resnet18', 'lstm', 'gpt2', 'tinyllama'],
    ['resnet18', 'gpt2'],
    ['tiny'],
  )
}

function modelsOf(names: readonly string[]): Model[] {
  return names.map((name) => {
    const model = MODELS[name]
    if (model) return model
    throw new RangeError(`expected models of ${Object.keys(MODELS).join(', ')}, got ${name}`)
  })
}

function numbersOf(list: string): number[] {
  return list.split(',').map((word) => {
    const rank = Number(word)
    if (Number.isInteger(rank) && rank >= 1 && rank <= 64) return rank
    throw new RangeError(`--ranks: expected numbers of 1…64 with commas between, got ${list}`)
  })
}
