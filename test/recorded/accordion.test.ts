// `accordion` against the decisions of the Accordion authors' code, from given norms.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createCompressor } from '../../src/index.ts'
import { accordion, accordionDecision } from '../../src/methods.ts'
import { stepTogether } from '../support/fleet.ts'
import { readState } from '../support/safetensors.ts'
import { recording } from './recording.ts'

interface Config {
  readonly rank_high: number
  readonly rank_low: number
  readonly threshold: number
  readonly pairs: number
  readonly epochs: number
  readonly layers: number
  readonly matrix: readonly boolean[]
  readonly switch_freq: number
  readonly lr_after_each_epoch: readonly number[]
}

const test = suite('recorded: accordion')

test('decisions-2-1: every pair', () => {
  const { config, get, ints } = recording<Config>('accordion/decisions-2-1')
  const rule = { low: config.rank_low, high: config.rank_high, threshold: config.threshold }
  const [prev, next, ranks] = [get('prev'), get('new'), ints('rank')]
  assert.is(prev.length, config.pairs)
  const unlike = [...prev].flatMap((p, i) =>
    accordionDecision(p, next[i]!, rule) === ranks[i] ? [] : [`${p} → ${next[i]}`],
  )
  assert.equal(unlike, [])
  assert.equal(new Set(ranks), new Set([1, 2]))
})

for (const name of ['cifar-300-2-1', 'lm-90-4-1']) {
  const { config, get, ints } = recording<Config>(`accordion/${name}`)
  const { rank_high: high, rank_low: low, threshold, switch_freq: every } = config
  const norm = (epoch: number, layer: number) => get('norm')[epoch * config.layers + layer]!
  const decided = ints('rank_decided')
  /** of the matrices, after an epoch */
  const want = (epoch: number) =>
    config.matrix.flatMap((is, i) => (is ? [decided[epoch * config.layers + i]!] : []))
  const rate = (epoch: number) => config.lr_after_each_epoch[epoch]!

  test(`${name}: the epochs by the rule alone`, () => {
    const matrices = config.matrix.flatMap((is, i) => (is ? [i] : []))
    let ranks: number[] = []
    for (let epoch = 0; epoch < config.epochs; epoch++) {
      if (epoch % every === 0) {
        ranks = matrices.map((layer) => {
          const before = epoch === 0 ? null : norm(epoch - every, layer)
          return accordionDecision(before, norm(epoch, layer), { low, high, threshold })
        })
      }
      if (rate(epoch + 1) < rate(epoch)) ranks = matrices.map(() => high)
      assert.equal(ranks, want(epoch), `epoch ${epoch}`)
    }
  })

  test(`${name}: the epochs as steps of a compressor, some after a checkpoint`, async () => {
    // Four elements of half a norm have exactly that norm. Norms go up to 2¹⁰¹, and what is sent
    // stays below 2⁶⁴: decisions do not depend on a common factor, and this one rounds only norms
    // below 2⁻⁸⁸. The rate given is the one after the step: as published, a lower rate takes effect
    // without another epoch.
    const factor = 2 ** -37
    const shapes = config.matrix.map((is) => (is ? [5, 6] : [4]))
    let epoch = 0
    const learningRate = () => rate(epoch + 1)
    const method = accordion({ low, high, threshold, window: 1, every, learningRate })
    const options = { method, minCompressionRate: 0 }
    let worker = await createCompressor(shapes, options)
    let switches = 0
    for (let before = String(worker.stats.ranks); epoch < config.epochs; epoch++) {
      const gradients = shapes.map((shape, layer) => {
        const gradient = new Float32Array(shape.reduce((a, b) => a * b, 1))
        gradient.fill((factor * norm(epoch, layer)) / 2, 0, 4)
        return gradient
      })
      await stepTogether([worker], [gradients])
      const { ranks } = worker.stats
      const matrices = ranks.filter((_, i) => config.matrix[i])
      assert.equal(matrices, want(epoch), `epoch ${epoch}`)
      if (String(ranks) !== before) switches++
      before = String(ranks)
      // Not where the rate falls next: a restored worker does not know the last rate.
      if (epoch % 7 !== 3 || rate(epoch + 2) < rate(epoch + 1)) continue
      const state = await worker.save()
      assert.ok(readState(state).metadata.notes)
      worker.dispose()
      worker = await createCompressor(shapes, { ...options, restore: state })
    }
    assert.ok(switches > 10, `${switches} switches`)
  })
}

test.run()
