// PowerSGD on factored gradients against PowerSGD on their products.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { backprojectGradient, projectGradient } from '../../../src/algorithms/factored/products.ts'
import { reference } from '../../../src/backends/reference.ts'
import { webgpu } from '../../../src/backends/webgpu/index.ts'
import { dad, factored, rankDad } from '../../../src/factored.ts'
import {
  aggregate,
  type Backend,
  createCompressor,
  type Gradient,
  type Options,
  plan,
  wasm,
} from '../../../src/index.ts'
import { createLayout } from '../../../src/kernels.ts'
import { openDevice } from '../../backends/webgpu/device.ts'
import { gamma, sameBytes, sameFloats } from '../../support/close.ts'
import { errorOf } from '../../support/errors.ts'
import { createFleet, residualsOf, stepTogether } from '../../support/fleet.ts'
import { open } from '../../support/frames.ts'
import { norm } from '../../support/norms.ts'
import { gradientsOf as plainOf, uniform } from '../../support/numbers.ts'
import { explicit, gradientsOf, pairOf, relative, SHAPES, stepFactored } from './factors.ts'

/** Bound of sums of at most 60 products in another order; other roundings are few beside these. */
const CLOSE = gamma(60)

/** Every method of the door, with the options of its own tests. */
const METHODS = {
  'factored, nothing kept': { method: factored(), rank: 2 },
  'factored, with feedback': { method: factored(), rank: 2, errorFeedback: 'local' },
  dAD: { method: dad({ samples: [9, 1, 9, 18] }) },
  'rank-dAD': { method: rankDad(), rank: 3 },
} satisfies Record<string, Options>

const fleet = (options: Options, workers = 3) => createFleet(SHAPES, workers, options)

const test = suite('factored')

test('in float64, products on the factors are those of the matrix, and so is a whole step', () => {
  const desk = reference as never // its loops take float64 as well
  const wide = (x: Float32Array) => Float64Array.from(x) as unknown as Float32Array
  const sites = [1, 2, 3].map((seed) => pairOf(40, 60, 4 + seed, seed))
  const joined = {
    rows: 40,
    cols: 60,
    activations: wide(Float32Array.from(sites.flatMap((site) => [...site.activations]))),
    deltas: wide(Float32Array.from(sites.flatMap((site) => [...site.deltas]))),
  }
  const sum = new Float64Array(2400)
  for (const site of sites) for (const [i, x] of explicit(site).entries()) sum[i]! += x
  assert.ok(relative(explicit(joined), sum) <= 1e-12, 'concatenated: the sum over sites')

  const dims = { rows: 40, cols: 60, rank: 3 }
  const [room, matrix] = [wide(new Float32Array(3 * 18)), sum as unknown as Float32Array]
  const ways: ((p: Float32Array, q: Float32Array, back: boolean) => void)[] = [
    (p, q, back) =>
      back
        ? backprojectGradient(desk, q, joined, p, dims, room)
        : projectGradient(desk, p, joined, q, dims, room),
    (p, q, back) =>
      back ? reference.backproject(q, matrix, p, dims) : reference.project(p, matrix, q, dims),
  ]
  const [p, q] = [
    ways.map(() => wide(new Float32Array(120))),
    ways.map(() => wide(uniform(180, 9))),
  ]
  for (let step = 0; step < 4; step++) {
    const [got, want] = ways.map((way, i) => {
      reference.orthonormalize(q[i]!, 60, 3)
      way(p[i]!, q[i]!, false)
      reference.orthonormalize(p[i]!, 40, 3)
      way(p[i]!, q[i]!, true)
      const update = wide(new Float32Array(2400))
      reference.reconstruct(update, p[i]!, q[i]!, dims)
      return update
    })
    assert.ok(norm(want!) > 1)
    assert.ok(relative(got!, want!) <= 1e-12, `step ${step}: ${relative(got!, want!)}`)
  }
})

for (const [name, options] of Object.entries({
  'nothing kept': { errorFeedback: 'none' },
  'feedback: local': { errorFeedback: 'local' },
  'feedback: aggregated': { errorFeedback: 'aggregated' },
  'two iterations': { iterations: 2, errorFeedback: 'none' },
  'two iterations, local': { iterations: 2, errorFeedback: 'local' },
  'no warm start': { warmStart: false, errorFeedback: 'none' },
  refreshed: { refresh: 2, errorFeedback: 'none' },
  'rank 4': { rank: 4, minCompressionRate: 1, errorFeedback: 'none' },
} satisfies Record<string, Options>)) {
  test(`is PowerSGD on the product: ${name}`, async () => {
    const shared: Options = { rank: 2, ...options }
    const ours = await fleet({ ...shared, method: factored() })
    const usual = await fleet(shared)
    assert.equal(
      plan(SHAPES, { ...shared, method: factored() }).parameters,
      plan(SHAPES, shared).parameters,
    )
    const weights = [1, 2.5, 4]
    for (let step = 0; step < 5; step++) {
      const given = ours.map((_, i) => gradientsOf(10 * step + i, [3 + step, 5 + i]))
      const got = await stepFactored(
        ours,
        given.map(({ factored }) => factored),
        weights,
      )
      const want = await stepTogether(
        usual,
        given.map(({ whole }) => whole),
        weights,
      )
      for (const [i, update] of got.updates[0]!.entries()) {
        assert.ok(relative(update, want.updates[0]![i]!) <= CLOSE, `step ${step}, parameter ${i}`)
        sameFloats(update, got.updates[2]![i]!, 'workers agree')
      }
      sameFloats(got.updates[0]![1]!, want.updates[0]![1]!, 'the vector is exact')
      const norms = [ours[0]!, usual[0]!].map(({ updateNorm }) => updateNorm!)
      assert.ok(Math.abs(norms[0]! / norms[1]! - 1) <= CLOSE)
      assert.equal(
        got.frames.map((round) => round.map(({ length }) => length)),
        want.frames.map((round) => round.map(({ length }) => length)),
      )
    }
  })
}

test('updates are means of contributions, and with feedback the residual is what they lack', async () => {
  for (const wire of ['f32', 'f16', 'bf16', 'int8'] as const) {
    for (const errorFeedback of ['none', 'local'] as const) {
      const options: Options = { method: factored(), rank: 2, wire, errorFeedback }
      const workers = await fleet(options)
      const weights = [1, 2, 5]
      let residuals = await Promise.all(workers.map(residualsOf))
      for (let step = 0; step < 3; step++) {
        const given = workers.map((_, i) => gradientsOf(10 * step + i))
        const { frames, means, updates } = await stepFactored(
          workers,
          given.map(({ factored }) => factored),
          weights,
        )
        const after = await Promise.all(workers.map(residualsOf))
        const left = open(means[0]!).floats
        let [atP, atQ] = [0, 0]
        for (const [i, { rows, cols, rank }] of createLayout(
          SHAPES,
          options,
        ).parameters.entries()) {
          if (rank === 0) continue
          const p = left.slice(atP, atP + rows * rank)
          reference.orthonormalize(p, rows, rank)
          const sent = frames[1]!.map((frame) => {
            const contribution = new Float32Array(rows * cols)
            const q = open(frame).floats.subarray(atQ, atQ + cols * rank)
            reference.reconstruct(contribution, p, q, { rows, cols, rank })
            return contribution
          })
          const mean = sent[0]!.map(
            (_, j) => sent.reduce((s, x, w) => s + weights[w]! * x[j]!, 0) / 8,
          )
          assert.ok(relative(updates[1]![i]!, mean) <= CLOSE, `${wire}, update ${i}`)
          for (const [w, contribution] of sent.entries()) {
            const had = residuals[w]![i]!.map((e, j) => e + given[w]!.whole[i]![j]!)
            const want = had.map((m, j) => m - contribution[j]!)
            if (errorFeedback === 'none') assert.ok(after[w]![i]!.every((e) => e === 0))
            else assert.ok(relative(after[w]![i]!, want) <= CLOSE, `${wire}, residual ${i}`)
          }
          atP += rows * rank
          atQ += cols * rank
        }
        residuals = after
      }
    }
  }
})

test('what does not pay is multiplied out if it is factored, and sent as it is', async () => {
  const options: Options = { method: factored(), rank: 20 } // factors gain nothing here
  assert.equal(
    plan(SHAPES, options).parameters.map(({ rank }) => rank),
    [0, 0, 0, 0],
  )
  for (const errorFeedback of ['none', 'local'] as const) {
    const [worker] = await fleet({ ...options, errorFeedback }, 1)
    for (const seed of [1, 2]) {
      const { factored, whole } = gradientsOf(seed)
      const { updates } = await stepFactored([worker!], [factored])
      for (const [i, want] of whole.entries()) assert.ok(relative(updates[0]![i]!, want) <= 1e-6)
    }
    assert.is(await worker!.residualNorm(), 0)
  }
})

test('the caller may overwrite activations and deltas once the first frame is there', async () => {
  for (const options of Object.values(METHODS)) {
    const [worker, other] = [(await fleet(options, 1))[0]!, (await fleet(options, 1))[0]!]
    const { factored } = gradientsOf(1)
    const want = (await stepFactored([other], [gradientsOf(1).factored])).updates[0]!
    let frame: Uint8Array | null = await worker.compress(factored)
    for (const entry of factored) {
      for (const x of Object.values(entry)) if (x instanceof Float32Array) x.fill(Number.NaN)
    }
    for (const x of factored) if (x instanceof Float32Array) x.fill(Number.NaN)
    while (frame) frame = await worker.receive(aggregate([frame]))
    const updates = want.map(({ length }) => new Float32Array(length))
    await worker.decompress(updates)
    for (const [i, update] of updates.entries()) sameFloats(update, want[i]!, 'update')
  }
})

for (const [name, options] of Object.entries(METHODS)) {
  test(`${name}: a worker whose numbers are not finite, or too large, is absent`, async () => {
    const [workers, twins] = [await fleet(options, 2), await fleet(options, 2)]
    const [huge, larger] = [2 ** 60, 2 ** 101] // products of two huge ones overflow what M may hold
    const spoilt: ((own: ReturnType<typeof gradientsOf>) => void)[] = [
      ({ pairs }) => pairs[0]!.deltas.fill(Number.NaN, 7, 8),
      ({ pairs }) => pairs[1]!.activations.fill(Number.POSITIVE_INFINITY, 3, 4),
      ({ pairs }) => [pairs[0]!.activations, pairs[0]!.deltas].map((x) => x.fill(huge, 0, 1)),
      ({ whole }) => whole[1]!.fill(Number.NEGATIVE_INFINITY, 5, 6),
      ({ whole }) => whole[3]!.fill(larger, 5, 6),
    ]
    for (const [step, spoil] of spoilt.entries()) {
      const [bad, { factored: good }] = [gradientsOf(2 * step), gradientsOf(2 * step + 1)]
      spoil(bad)
      const got = await stepFactored(workers, [bad.factored, good])
      assert.equal(got.outcomes[0], { counted: false, senders: [1], weight: 1, refused: [] })
      const want = await stepFactored(twins, [null, good])
      for (const [i, update] of got.updates[0]!.entries()) {
        sameFloats(update, want.updates[0]![i]!, `step ${step}, parameter ${i}`)
      }
      assert.ok(got.updates[0]!.flatMap((x) => [...x]).every(Number.isFinite))
    }
    assert.is(workers[0]!.stats.absent.gradient, spoilt.length)
    const last = gradientsOf(99).factored
    sameBytes(
      await workers[0]!.compress(last),
      await twins[0]!.compress(last),
      'as if it had not been',
    )
    const nobody = await stepFactored(await fleet(options, 2), [null, null])
    assert.ok(nobody.updates[1]!.flatMap((x) => [...x]).every((x) => x === 0))
  })

  test(`${name}: a worker that is not counted applies the update, and keeps M if it keeps anything`, async () => {
    const workers = await fleet(options, 2)
    const given = workers.map((_, i) => gradientsOf(i))
    const { updates, outcomes } = await stepFactored(
      workers,
      given.map(({ factored }) => factored),
      undefined,
      { arrives: (w) => w === 0 },
    )
    assert.equal(
      outcomes.map(({ counted }) => counted),
      [true, false],
    )
    for (const [i, update] of updates[0]!.entries()) sameFloats(update, updates[1]![i]!, 'update')
    const kept = await residualsOf(workers[1]!)
    for (const [i, e] of kept.entries()) {
      if (name !== 'factored, with feedback')
        assert.ok(
          e.every((x) => x === 0),
          `residual ${i}`,
        )
      else assert.ok(relative(e, given[1]!.whole[i]!) <= 1e-6, `residual ${i}`)
    }
  })

  test(`${name}: saved and restored, joined, aborted, and without awaiting`, async () => {
    const workers = await fleet(options, 2)
    for (const step of [1, 2]) {
      await stepFactored(
        workers,
        workers.map((_, i) => gradientsOf(10 * step + i).factored),
      )
    }
    const saved = await workers[0]!.save()
    const restored = await createCompressor(SHAPES, { ...options, restore: saved })
    const late = await createCompressor(SHAPES, { ...options, sender: 7 })
    late.join(await workers[1]!.save({ residual: false }))
    const own = gradientsOf(50).factored
    for (const worker of [workers[0]!, restored]) {
      await worker.compress(gradientsOf(49).factored)
      worker.abort()
    }
    late.compressSync(null)
    late.abort()
    const first = workers[0]!.compressSync(own)
    sameBytes(restored.compressSync(own), first, 'restored')
    let frames: Uint8Array[] = [first, late.compressSync(gradientsOf(51).factored)]
    for (;;) {
      const mean = aggregate(frames)
      const next = [workers[0]!, late].map((worker) => worker.receiveSync(mean))
      if (next.every((frame) => frame === null)) break
      frames = next as Uint8Array[]
    }
    const updates = [workers[0]!, late].map((worker) => {
      const into = gradientsOf(0).whole
      assert.is(worker.decompressSync(into).counted, true)
      return into
    })
    for (const [i, update] of updates[0]!.entries()) sameFloats(update, updates[1]![i]!, 'joined')
  })

  test(`${name}: frames are as long as plan says, on every wire`, async () => {
    for (const wire of ['f32', 'f16', 'bf16', 'int8'] as const) {
      const [worker] = await fleet({ ...options, wire }, 1)
      const { frames } = await stepFactored([worker!], [gradientsOf(1, [9, 9]).factored])
      const sent = frames.reduce((sum, [frame]) => sum + frame!.length, 0)
      assert.is(sent, plan(SHAPES, { ...options, wire }).bytes, wire)
    }
  })
}

test('setRank keeps leading columns; dAD has no ranks', async () => {
  for (const errorFeedback of ['none', 'local'] as const) {
    const shared: Options = { rank: 1, errorFeedback, minCompressionRate: 1 }
    const [ours, usual] = [
      await fleet({ ...shared, method: factored() }, 2),
      await fleet(shared, 2),
    ]
    for (const [step, rank] of [3, 4, 1, 30].entries()) {
      const given = ours.map((_, i) => gradientsOf(10 * step + i))
      const got = await stepFactored(
        ours,
        given.map(({ factored }) => factored),
      )
      const want = await stepTogether(
        usual,
        given.map(({ whole }) => whole),
      )
      for (const [i, update] of got.updates[0]!.entries()) {
        assert.ok(relative(update, want.updates[0]![i]!) <= CLOSE, `step ${step}, parameter ${i}`)
      }
      for (const worker of [...ours, ...usual]) worker.setRank(rank)
    }
  }
  const [worker] = await fleet(METHODS.dAD, 1)
  assert.throws(() => worker!.setRank(2), /"rank": the method dad has no use for it/)
})

for (const name of ['factored, nothing kept', 'factored, with feedback'] as const) {
  test(`${name}: factors that are not finite take the gradient back`, async () => {
    let spoils = false
    const backend: Backend = {
      name: 'overflowing',
      async open(table) {
        const session = await wasm().open(table)
        const read = session.read.bind(session)
        session.read = (slots, into) => {
          read(slots, into)
          if (spoils && slots.includes('left')) into[1] = Number.POSITIVE_INFINITY
        }
        return session
      },
    }
    const [worker] = await fleet({ ...METHODS[name], backend }, 1)
    const { factored, whole } = gradientsOf(1)
    await stepFactored([worker!], [factored])
    const before = await residualsOf(worker!)
    spoils = true
    const { updates, outcomes } = await stepFactored([worker!], [gradientsOf(2).factored])
    spoils = false
    assert.equal(outcomes[0], { counted: false, senders: [], weight: 0, refused: [] })
    assert.is(worker!.stats.absent.factors, 1)
    assert.ok(updates[0]!.flatMap((x) => [...x]).every((x) => x === 0))
    for (const [i, e] of (await residualsOf(worker!)).entries()) {
      assert.ok(norm(e.map((x, j) => x - before[i]![j]!)) <= 1e-6 * norm(whole[i]!))
    }
  })
}

test('entries that do not fit are refused before anything changes', async () => {
  const [worker] = await fleet(METHODS['factored, nothing kept'], 1)
  const { factored: good, whole } = gradientsOf(1)
  const with_ = (entry: unknown) => [entry, ...good.slice(1)] as Gradient[]
  const refused = async (gradients: readonly Gradient[], type: unknown, message: RegExp) => {
    const error = await errorOf(() => worker!.compress(gradients))
    assert.instance(error, type)
    assert.match(error.message, message)
  }
  const [a, d] = [new Float32Array(120), new Float32Array(80)]
  await refused(
    with_({ activations: a, deltas: [1] }),
    TypeError,
    /"gradients\[0\]\.deltas": expected a Float32Array/,
  )
  await refused(
    with_({ activations: a }),
    TypeError,
    /\.deltas": expected a Float32Array, got undefined/,
  )
  await refused(
    with_({ activations: a.subarray(1), deltas: d }),
    RangeError,
    /\.activations": expected N × 60 floats.* got 119/,
  )
  await refused(with_({ activations: a.subarray(0, 0), deltas: d }), RangeError, /N ≥ 1.* got 0/)
  await refused(
    with_({ activations: a, deltas: d.subarray(40) }),
    RangeError,
    /\.deltas": expected 2 samples, as in activations, got 1/,
  )
  await refused(with_({ buffer: {} }), TypeError, /"gradients\[0\]": expected a Float32Array/)
  await refused(good.slice(1), RangeError, /expected 4 entries, got 3/)
  const [usual] = await fleet({}, 1)
  const error = await errorOf(() => usual!.compress(good))
  assert.instance(error, TypeError)
  assert.is(error.message, '"gradients[0]": the method powersgd takes no factored gradients')
  assert.instance(await errorOf(() => usual!.compress([whole[0]!, ...good.slice(1)])), TypeError)
  const into = await errorOf(() => worker!.step(good, aggregateOne))
  assert.match(into.message, /"into\[0\]": expected a Float32Array/)
  await worker!.step(good, aggregateOne, { into: whole })
  for (const [option, value] of [
    ['startCompressingAfter', 3],
    ['orthonormalize', 'device'],
  ] as const) {
    const options = { method: factored(), [option]: value } as Options
    assert.throws(() => plan(SHAPES, options), `"${option}": the method factored has no use for it`)
  }
})

const opened = await openDevice()
if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())
  for (const [name, options] of Object.entries(METHODS)) {
    test(`${name}: on WebGPU as in WebAssembly, products on the CPU`, async () => {
      const gpu = await createCompressor(SHAPES, { ...options, backend: await webgpu({ device }) })
      const cpu = await createCompressor(SHAPES, { ...options, sender: 1 })
      for (const step of [1, 2, 3]) {
        const given = [gradientsOf(step).factored, gradientsOf(10 + step).factored]
        const { updates, outcomes } = await stepFactored([gpu, cpu], given)
        assert.equal(outcomes[0]!.senders, [0, 1])
        for (const [i, update] of updates[0]!.entries()) {
          assert.ok(relative(update, updates[1]![i]!) <= CLOSE, `step ${step}, parameter ${i}`)
        }
      }
      const error = await errorOf(() =>
        gpu.compress([{ buffer: device } as never, ...plainOf([[40], [24, 30], [18, 20]], 1)]),
      )
      assert.instance(error, TypeError)
      gpu.dispose()
    })
  }
}

test.run()

function aggregateOne(frame: Uint8Array): Uint8Array {
  return aggregate([frame])
}
