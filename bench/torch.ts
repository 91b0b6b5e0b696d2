// Steps in PyTorch at ResNet-18's shapes, on the core of this process, each followed by ours.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { byEffort, type Settings } from './effort.ts'
import { type Case, measure, statistics, withRatios } from './measure.ts'
import type { Row } from './results.ts'
import type { Section } from './section.ts'
import { KINDS, type Kind, modelsOf, stepCases, stepName } from './step.ts'
import { Unavailable } from './tools.ts'

/** The ranks of the goals. */
export const TORCH_RANKS = [1, 2, 4]

const SCRIPT = fileURLToPath(new URL('./peers/torch_step.py', import.meta.url))

/** The script's measurements, and their names in the tables. */
export const IMPLEMENTATIONS = {
  hook: 'PyTorch’s hook',
  'authors, 1 half-step': 'the authors’ algorithm, a half-step: half of the work',
  'authors, 2 half-steps': 'the authors’ algorithm, two half-steps',
} as const

interface Answer {
  readonly torch: string
  readonly blas: string
  readonly samples: Readonly<Record<keyof typeof IMPLEMENTATIONS, readonly number[]>>
}

export function torchTitle(model: string, implementation: keyof typeof IMPLEMENTATIONS): string {
  return `torch, ${model}, ${IMPLEMENTATIONS[implementation]}`
}

export function torchName(rank: number, by: Kind | 'torch' = 'resident'): string {
  return by === 'torch' ? `a step, r = ${rank}: torch` : `lowrank, ${stepName(by, rank)}`
}

export const torch: Section = async (settings, { progress, table, skip }) => {
  const [model] = modelsOf(settings)
  const tables = new Map<keyof typeof IMPLEMENTATIONS, Row[]>()
  let python: string
  try {
    python = pythonWithTorch()
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error
    skip(`torch: ${error.message}`)
    return
  }
  for (const rank of byEffort(settings, TORCH_RANKS, TORCH_RANKS, [1])) {
    progress(`torch: r = ${rank}`)
    const { torch, blas, samples } = askPython(python, model!.shapes, rank, settings)
    const cases: Case[] = []
    for (const kind of KINDS) cases.push(...(await stepCases(model!, kind, [rank])))
    const ours = await measure(cases, settings, (name) => progress(`torch: ours, ${name}`))
    for (const implementation of Object.keys(IMPLEMENTATIONS) as (keyof typeof IMPLEMENTATIONS)[]) {
      const theirs = torchName(rank, 'torch')
      tables.set(implementation, [
        ...(tables.get(implementation) ?? []),
        {
          name: theirs,
          ...statistics(samples[implementation]),
          bytes: ours[0]!.bytes,
          flops: 0,
          note: `torch ${torch}, ${blas}`,
        },
        ...ours.map((row, i) => ({
          ...row,
          name: torchName(rank, KINDS[i]),
          yardstick: theirs,
        })),
      ])
    }
  }
  for (const [implementation, rows] of tables) {
    table({
      title: torchTitle(model!.name, implementation),
      ratios: 'faster',
      against: 'than torch',
      rows: withRatios(rows),
    })
  }
}

/** @throws Unavailable  if no Python here has torch */
export function pythonWithTorch(): string {
  for (const python of ['python3', '/usr/bin/python3']) {
    const { status } = spawnSync(python, ['-c', 'import torch'], { encoding: 'utf8' })
    if (status === 0) return python
  }
  throw new Unavailable('neither python3 nor /usr/bin/python3 has it')
}

function askPython(
  python: string,
  shapes: readonly (readonly number[])[],
  rank: number,
  settings: Settings,
): Answer {
  const seconds = byEffort(settings, 1.5, 1, 0.01)
  const { status, stdout, stderr } = spawnSync(python, [SCRIPT], {
    input: JSON.stringify({ shapes, rank, seconds }),
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1', MKL_NUM_THREADS: '1' },
  })
  if (status !== 0) throw new Error(stderr.trim() || `${python} ended with ${status}`)
  return JSON.parse(stdout) as Answer
}
