// `plan` for the paper's two models against the paper's tables and the counts of its code.
import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  bestRank,
  randomBlock,
  randomK,
  signNorm,
  topK,
  uncompressed,
} from '../../src/baselines.ts'
import { type Options, plan } from '../../src/index.ts'
import { paper } from '../../src/methods.ts'

interface Model {
  readonly floats_total: number
  readonly parameters: readonly { readonly shape: readonly number[] }[]
  readonly ranks: Readonly<Record<string, Ratio>>
  readonly steps_per_epoch: number
  readonly full_MiB_per_epoch: number
}

interface Ratio {
  readonly floats_sent: number
  readonly ratio: number
  readonly paper_ratio: number
  readonly MiB_per_epoch: number
  readonly pytorch_hook_floats_min_rate_2: number
}

const path = new URL('cases/ratios/ratios.json', import.meta.url)
const { models } = JSON.parse(readFileSync(path, 'utf8')) as {
  models: Record<'resnet18-cifar10' | 'lstm-wikitext2', Model>
}
const PAPER = {
  'resnet18-cifar10': { 1: 243, 2: 136, 4: 72 },
  'lstm-wikitext2': { 1: 310, 2: 203, 4: 120 },
}

const test = suite('recorded: ratios')

for (const [name, model] of Object.entries(models)) {
  const shapes = model.parameters.map(({ shape }) => shape)

  test(`${name}: PowerSGD at ranks 1, 2, 4`, () => {
    for (const [rank, want] of Object.entries(model.ranks)) {
      const of = (options: Options) => plan(shapes, { rank: Number(rank), ...options })
      const { floats, denseFloats, ratio } = of({})
      assert.is(floats, want.pytorch_hook_floats_min_rate_2)
      assert.is(of({ method: paper() }).floats, want.floats_sent)
      assert.is(denseFloats, model.floats_total)
      assert.ok(Math.abs(ratio - want.ratio) <= 5e-5, `${ratio}`)
      assert.is(Math.round(ratio), want.paper_ratio)
      assert.is(perEpoch(floats, model).toFixed(3), want.MiB_per_epoch.toFixed(3))
    }
    const printed = Object.entries(model.ranks).map(([rank, { ratio }]) => [
      rank,
      Math.round(ratio),
    ])
    assert.equal(Object.fromEntries(printed), PAPER[name as keyof typeof PAPER])
  })

  test(`${name}: uncompressed`, () => {
    const { floats, ratio } = plan(shapes, { method: uncompressed() })
    assert.is(floats, model.floats_total)
    assert.is(ratio, 1)
    assert.is(perEpoch(floats, model).toFixed(2), model.full_MiB_per_epoch.toFixed(2))
  })
}

test('resnet18-cifar10: the baselines of Table 4', () => {
  const model = models['resnet18-cifar10']
  const shapes = model.parameters.map(({ shape }) => shape)
  const floats = (options: Options) => plan(shapes, options).floats
  for (const [rank, want] of [
    [2, 82260],
    [7, 263885],
  ] as const) {
    assert.is(floats({ method: randomBlock({ rank }) }), want)
    assert.is(floats({ method: randomK({ rank }) }), want)
    assert.is(floats({ method: bestRank(), rank, minCompressionRate: 0 }), want)
  }
  for (const [ratio, entries, mebibytes] of [
    [1 / 32, 174594, '31.969'],
    [1 / 136, 41076, '7.521'],
  ] as const) {
    const method = topK({ ratio })
    assert.is(floats({ method }), 2 * entries) // an index and a value each
    assert.is(perEpoch(floats({ method }), model).toFixed(3), mebibytes)
  }
  const method = signNorm()
  assert.is(floats({ method }), Math.ceil(11173962 / 32) + 62)
  assert.is(perEpoch(floats({ method }), model).toFixed(3), '31.975')
})

test.run()

/** MiB of float32 that one worker sends in an epoch. */
function perEpoch(floats: number, { steps_per_epoch: steps }: Model): number {
  return (4 * floats * steps) / 2 ** 20
}
