// Whole steps of one worker: compress, aggregate its one frame of each round, receive, decompress.
//
// Float32 on the wire; the update is written over the gradient, as in the README. The yardstick is
// to stream the 28 bytes a parameter that a step needs at least, and nothing else: M and g are read
// and M is written (12), M is read (4), M is read and written and the update written (12).
import { aggregate, type Compressor, createCompressor, type Options } from 'lowrank'
import { createWasmKernels, reference } from 'lowrank/kernels'
import { wasm } from 'lowrank/threads'
import { byEffort, ranksOf, type Settings } from './effort.ts'
import { type Case, measure, withRatios } from './measure.ts'
import { GPT2, LSTM, lengthsOf, type Model, parametersOf, RESNET18, TINY } from './models.ts'
import type { Section } from './section.ts'
import { best, createProbes, isProbe, STEP_BYTES, streamName } from './stream.ts'

/** The place of the gradients. */
export type Kind = 'caller' | 'resident'
export const KINDS: readonly Kind[] = ['resident', 'caller']

const NAMES: Readonly<Record<Kind, string>> = {
  caller: 'gradients in the caller’s arrays',
  resident: 'gradients in wasm memory',
}

export function modelsOf(settings: Settings): readonly Model[] {
  const resnet18 = { name: 'ResNet-18', shapes: RESNET18 }
  const gpt2 = settings.all ? [{ name: 'GPT-2-124M', shapes: GPT2 }] : []
  const lstm = { name: 'LSTM', shapes: LSTM }
  return byEffort(settings, [resnet18, lstm, ...gpt2], [resnet18], [TINY])
}

export function stepTitle(model: string): string {
  return `step, ${model}`
}

export function stepName(kind: Kind, rank: number, threads = 1): string {
  return `${NAMES[kind]}, r = ${rank}${threads > 1 ? `, ${threads} threads` : ''}`
}

/** Steps on one core. */
export const step: Section = async (settings, { progress, table }) => {
  for (const model of modelsOf(settings)) {
    const title = stepTitle(model.name)
    const parameters = parametersOf(model.shapes)
    const probes = await createProbes(parameters)
    const copied = new Float32Array(parameters).fill(1)
    const copy = copied.slice()
    const cases: Case[] = [
      ...probes.step(),
      {
        name: 'memcpy of as many bytes',
        bytes: STEP_BYTES * parameters,
        yardstick: streamName('step'),
        // Reads and writes 8 bytes an element: 3½ passes.
        run() {
          for (let pass = 0; pass < 3; pass++) copy.set(copied)
          copy.set(copied.subarray(0, parameters / 2))
        },
      },
    ]
    for (const kind of KINDS) {
      const steps = await stepCases(model, kind, ranksOf(settings))
      cases.push(...steps.map((one) => ({ ...one, yardstick: streamName('step') })))
    }
    const rows = await measure(cases, settings, (name) => progress(`${title}: ${name}`))
    table({
      title,
      ratios: 'times',
      against: '× stream',
      rows: withRatios([best('step', rows), ...rows.filter((row) => !isProbe(row))]),
    })
  }
}

/** Steps on two cores: with one thread and with two, in turns. */
export const threads: Section = async (settings, { progress, table }) => {
  for (const model of modelsOf(settings)) {
    const ranks = ranksOf(settings)
    const title = threadsTitle(model.name)
    const cases: Case[] = []
    for (const kind of KINDS) {
      const single = await stepCases(model, kind, ranks)
      const double = await stepCases(model, kind, ranks, 2)
      cases.push(...single, ...double.map((one, i) => ({ ...one, yardstick: single[i]!.name })))
    }
    const rows = await measure(cases, settings, (name) => progress(`${title}: ${name}`))
    table({ title, ratios: 'times', against: '× one thread', rows: withRatios(rows) })
  }
}

export function threadsTitle(model: string): string {
  return `${stepTitle(model)}, on two cores`
}

/** Cases for all ranks with one compressor: `setRank` before each turn. */
export async function stepCases(
  { shapes }: Model,
  kind: Kind,
  ranks: readonly number[],
  threads = 1,
): Promise<Case[]> {
  const resident = kind === 'resident'
  const options: Options = { rank: ranks[0]!, resident, backend: wasm({ threads }) }
  const compressor = await createCompressor(shapes, options)
  // Make room for the factors of all ranks, so that the arrays stay where they are.
  compressor.setRank(Math.max(...ranks))
  const gradients = resident
    ? compressor.gradients
    : lengthsOf(shapes).map((length) => new Float32Array(length))
  const on = await createWasmKernels()
  for (const [i, gradient] of gradients.entries()) on.normal(gradient, 1, 0, i, 0, 0)
  const run = async () => {
    let frame: Uint8Array | null = await compressor.compress(gradients)
    while (frame) frame = await compressor.receive(aggregate([frame]))
    await compressor.decompress(gradients)
  }
  await verify(compressor, gradients, run)
  return ranks.map((rank) => ({
    name: stepName(kind, rank, threads),
    before: () => compressor.setRank(rank),
    run,
    later: true,
    bytes: STEP_BYTES * parametersOf(shapes),
  }))
}

/**
 * Checks the first step: the update is a projection of the gradient, and the residual is the rest,
 * so ‖g‖² = ‖u‖² + ‖e‖².
 */
async function verify(
  compressor: Compressor,
  gradients: readonly Float32Array[],
  run: () => Promise<void>,
): Promise<void> {
  const norm = () => gradients.reduce((sum, x) => sum + (reference.norm(x) as number), 0)
  const before = norm()
  await run()
  const after = norm() + (await compressor.residualNorm()) ** 2
  if (!(Math.abs(after - before) <= 1e-5 * before)) {
    throw new Error(`a step lost something: ‖g‖² = ${before}, ‖u‖² + ‖e‖² = ${after}`)
  }
}
