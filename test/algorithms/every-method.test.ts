// Rules for every method, whatever it sends: conservation, wire types, gradients that are not
// finite, units, checkpoints, bytes. Each method's own tests check its numbers.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { factored } from '../../src/factored.ts'
import type { Wire } from '../../src/frames.ts'
import { aggregate, type Compressor, type Options, plan } from '../../src/index.ts'
import { sameBytes, within } from '../support/close.ts'
import { createFleet, residualsOf, stepTogether } from '../support/fleet.ts'
import { LOCAL, METHODS, type Name } from '../support/methods.ts'
import { norm } from '../support/norms.ts'
import { gradientsOf } from '../support/numbers.ts'

const SHAPES = [[24, 18], [7], [5, 4, 6], [40, 3]]
const WIRES: readonly Wire[] = ['f32', 'f16', 'bf16', 'int8']
const WEIGHTS = [1, 2, 0.5]

/** Relative tolerance of sums over three workers, one after another, in float32. */
const CLOSE = 2e-6

const test = suite('every method')

for (const name of Object.keys(METHODS) as Name[]) {
  test(`${name}: the frames are as long as plan says, for each wire type`, async () => {
    for (const wire of WIRES) {
      const fleet = await fleetOf(name, [wire, wire, wire])
      const planned = plan(SHAPES, optionsOf(name, wire))
      const steps = [1, 2].map((seed) => fleet.map((_, w) => gradientsOf(SHAPES, 10 * seed + w)))
      let [sent, received] = [0, 0]
      for (const gradients of steps) {
        const { frames, means } = await stepTogether(fleet, gradients)
        assert.is(frames.length, planned.rounds)
        for (const [frame] of frames) sent += frame!.length / steps.length
        for (const mean of means) received += mean.length / steps.length
      }
      // `plan` averages, so it includes floats that only one step in a hundred sends.
      assert.is(sent, Math.floor(planned.bytes), `sent, ${wire}`)
      assert.is(received, Math.floor(planned.received(3).bytes), `received, ${wire}`)
    }
  })

  test(`${name}: a gradient that is not finite is as none`, async () => {
    const [hit] = await fleetOf(name)
    const [spared] = await fleetOf(name)
    const bad = gradientsOf(SHAPES, 3)
    bad[0]![100] = Number.POSITIVE_INFINITY
    for (const [step, own] of [gradientsOf(SHAPES, 1), bad, gradientsOf(SHAPES, 2)].entries()) {
      const [got, want] = await Promise.all([
        stepTogether([hit!], [own]),
        stepTogether([spared!], [step === 1 ? null : own], [1], { shapes: SHAPES }),
      ])
      assert.is(got.outcomes[0]!.weight, step === 1 ? 0 : 1)
      near(got.updates[0]!, want.updates[0]!, `step ${step}: update`)
      near(await residualsOf(hit!), await residualsOf(spared!), `step ${step}: residual`)
    }
    assert.is(hit!.stats.absent.gradient, 1)
  })

  test(`${name}: a restored worker goes on with the same bytes`, async () => {
    const [worker] = await fleetOf(name, ['int8'])
    for (let step = 0; step < 3; step++) await stepTogether([worker!], [gradientsOf(SHAPES, step)])
    const [other] = await fleetOf(name, ['int8'], { restore: await worker!.save() })
    for (let step = 3; step < 6; step++) {
      const all = await Promise.all(
        [worker!, other!].map((one) => stepTogether([one], [gradientsOf(SHAPES, step)])),
      )
      for (const [round, [frame]] of all[0]!.frames.entries()) {
        sameBytes(all[1]!.frames[round]![0]!, frame!, `step ${step}, round ${round}`)
      }
    }
    sameBytes(await other!.save(), await worker!.save(), 'states')
  })

  test(`${name}: sends the same where nothing can be awaited`, async () => {
    const [awaited] = await fleetOf(name)
    const [sync] = await fleetOf(name)
    for (let step = 0; step < 3; step++) {
      const { frames } = await stepTogether([awaited!], [gradientsOf(SHAPES, step)])
      let frame: Uint8Array | null = sync!.compressSync(gradientsOf(SHAPES, step))
      for (const [want] of frames) {
        sameBytes(frame!, want!, `step ${step}`)
        frame = sync!.receiveSync(aggregate([frame!]))
      }
      assert.is(frame, null)
      sync!.decompressSync(null)
    }
  })
}

for (const name of [...LOCAL, 'factored'] as const) {
  const own = name === 'factored' ? { errorFeedback: 'local' as const } : {}

  test(`${name}: nothing is lost, whatever the wire types, of all workers or of some`, async () => {
    for (const wire of WIRES) {
      for (const wires of [[wire, wire, wire] as const, ['f32', wire, 'int8'] as const]) {
        const fleet = await fleetOf(name, wires, own)
        for (let step = 0; step < 4; step++) {
          const gradients = fleet.map((_, w) => gradientsOf(SHAPES, 10 * step + w))
          // In one step, one worker's frames do not arrive.
          await balanced(
            fleet,
            gradients,
            step === 2 ? [0, 1] : [0, 1, 2],
            `${wires}, step ${step}`,
          )
        }
      }
    }
  })

  test(`${name}: a change of units goes through`, async () => {
    const scale = 2 ** 12
    const [worker] = await fleetOf(name, ['f32'], own)
    const [other] = await fleetOf(name, ['f32'], own)
    const first = gradientsOf(SHAPES, 1)
    await stepTogether([worker!], [first])
    await stepTogether([other!], [first])
    await other!.rescaleResidual(scale)
    const second = gradientsOf(SHAPES, 2)
    const { updates } = await stepTogether([worker!], [second])
    const scaled = await stepTogether([other!], [second.map((g) => g.map((x) => scale * x))])
    const back = scaled.updates[0]!.map((update) => update.map((x) => x / scale))
    near(back, updates[0]!, 'the update')
  })
}

test.run()

function optionsOf(name: Name, wire: Wire): Options {
  const all: Options = { ...METHODS[name], wire }
  const gate = !all.method || all.method.supportedOptions.includes('minCompressionRate')
  // dAD's and rank-dAD's factors would take more than the product at any rate below 1.
  return gate && !['dad', 'rankDad'].includes(name) ? { ...all, minCompressionRate: 0 } : all
}

function fleetOf(
  name: Name,
  wires: readonly Wire[] = ['f32'],
  more: Options = {},
): Promise<Compressor[]> {
  const method = name === 'factored' ? { method: factored() } : {}
  return createFleet(
    SHAPES,
    wires.map((wire) => ({ ...optionsOf(name, wire), ...method, ...more })),
  )
}

/**
 * Takes a step in which only some workers' frames arrive: the update must be the mean of the parts
 * that left those workers' M.
 */
async function balanced(
  fleet: readonly Compressor[],
  gradients: readonly Float32Array[][],
  senders: readonly number[],
  what: string,
): Promise<void> {
  const before = await Promise.all(fleet.map(residualsOf))
  const { updates } = await stepTogether(fleet, gradients, WEIGHTS, {
    arrives: (w) => senders.includes(w),
  })
  const after = await Promise.all(fleet.map(residualsOf))
  const total = senders.reduce((sum, w) => sum + WEIGHTS[w]!, 0)
  for (const [i, update] of updates[0]!.entries()) {
    const m = fleet.map((_, w) => before[w]![i]!.map((e, j) => e + gradients[w]![i]![j]!))
    const size = Math.max(...m.map(norm))
    const want = update.map((_, j) =>
      senders.reduce((sum, w) => sum + (WEIGHTS[w]! / total) * (m[w]![j]! - after[w]![i]![j]!), 0),
    )
    within(update, want, () => CLOSE * size, `${what}, parameter ${i}: the update`)
    for (const [w] of fleet.entries()) {
      const at = `${what}, worker ${w}, parameter ${i}`
      within(updates[w]![i]!, update, () => 0, `${at}: its update`)
      if (!senders.includes(w)) within(after[w]![i]!, m[w]!, () => 0, `${at}: all is kept`)
    }
  }
}

function near(got: readonly Float32Array[], want: readonly Float32Array[], what: string): void {
  for (const [i, x] of want.entries()) {
    const size = Math.max(norm(x), 1)
    within(got[i]!, x, () => CLOSE * size, `${what}, parameter ${i}`)
  }
}
