// Alternating half-steps: their results, frames and residuals, and the decisions of each round.
// simulation.test.ts has random fleets, recorded/epfml.test.ts recorded runs of the authors'
// package.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openHost } from '../../src/backends/wasm/index.ts'
import type { Wire } from '../../src/frames.ts'
import {
  aggregate,
  type Compressor,
  createCompressor,
  type Options,
  type ParameterSpec,
  plan,
} from '../../src/index.ts'
import { createLayout, createWasmKernels, svd } from '../../src/kernels.ts'
import { epfml, halfSteps } from '../../src/methods.ts'
import { sameBytes, sameFloats } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { createFleet, exchange, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { distance, norm } from '../support/norms.ts'
import { gradientsOf } from '../support/numbers.ts'
import { readState, writeState } from '../support/safetensors.ts'

const SHAPES = [[12, 20], [7], [9, 3, 5], [16, 10]]
const MATRICES = [0, 2, 3]
const RAW = 7

/** Tolerance of a whole run in float32 against float64, as for recorded runs. */
const CHAIN = 1e-4

/**
 * The rank of an update: P̄·Q̂ᵀ and the P̂·Q̄ᵀ after it have one column space, P̂·Q̄ᵀ and P̄·Q̂ᵀ
 * one row space.
 */
const most = (iterations: number) => 2 * Math.ceil(iterations / 2)

const test = suite('half-steps')

const make = (options: Options = {}, shapes: readonly ParameterSpec[] = SHAPES) =>
  createCompressor(shapes, { method: halfSteps(), rank: 2, minCompressionRate: 0, ...options })
const fleetOf = (count: number, options: Options = {}) =>
  Promise.all(Array.from({ length: count }, (_, sender) => make({ ...options, sender })))
const draw = (seed: number) => gradientsOf(SHAPES, seed)
const stateOf = async (worker: Compressor) => readState(await worker.save())
const nextOf = async (worker: Compressor) =>
  JSON.parse((await stateOf(worker)).metadata.notes!).next as string
const factorsOf = async (worker: Compressor, side: 'p' | 'q') => {
  const { tensors } = await stateOf(worker)
  return MATRICES.map((i) => tensors.get(`${side}/${i}`)!.data)
}

for (const iterations of [1, 2, 3, 4]) {
  test(`a lone worker loses nothing: ${iterations} a step`, async () => {
    const worker = await make({ iterations })
    for (let t = 0; t < 5; t++) {
      const gradients = draw(t)
      const before = await residualsOf(worker)
      const { updates } = await stepTogether([worker], [gradients])
      for (const [i, e] of (await residualsOf(worker)).entries()) {
        const m = gradients[i]!.map((g, j) => g + before[i]![j]!)
        const sum = e.map((x, j) => x + updates[0]![i]![j]!)
        assert.ok(distance(sum, m) <= 1e-6 * norm(m), `step ${t}, parameter ${i}`)
      }
    }
  })

  test(`updates have rank ${most(iterations)}, and updateNorm is their norm: ${iterations} a step`, async () => {
    const kernels = await createWasmKernels()
    const worker = await make({ iterations })
    for (let t = 0; t < 3; t++) {
      const { updates } = await stepTogether([worker], [draw(t)])
      const [update] = updates as [Float32Array[]]
      const whole = Math.hypot(...update.map(norm))
      assert.ok(Math.abs(worker.updateNorm! - whole) <= 1e-6 * whole)
      const rank = most(iterations)
      const { s } = await svd(kernels, update[0]!, 12, 20, rank + 2)
      assert.ok(s[rank - 1]! > 1e-3 * s[0]!, 'and no less')
      assert.ok(s[rank]! <= 1e-6 * s[0]!, `${s}`)
    }
  })

  test(`a fleet does what the recursion says in float64: ${iterations} a step`, async () => {
    const weights = [1, 2.5, 0.5]
    const workers = await fleetOf(3, { iterations })
    const { tensors } = await stateOf(workers[0]!)
    const oracles = MATRICES.map((i) => {
      const { shape: [rank, rows] = [], data: p } = tensors.get(`p/${i}`)!
      const { data: q } = tensors.get(`q/${i}`)!
      return new Recursion(rows!, q.length / rank!, p, q, weights)
    })
    for (let t = 0; t < 7; t++) {
      const gradients = workers.map((_, w) => draw(10 * t + w))
      const { updates } = await stepTogether(workers, gradients, weights)
      const residuals = await Promise.all(workers.map(residualsOf))
      for (const [k, i] of MATRICES.entries()) {
        const update = oracles[k]!.step(
          gradients.map((g) => g[i]!),
          iterations,
        )
        const off = distance(updates[0]![i]!, update)
        assert.ok(off <= CHAIN * norm(update), `step ${t}, parameter ${i}: ${off / norm(update)}`)
        for (const [w, all] of residuals.entries()) {
          const e = Float32Array.from(oracles[k]!.residuals[w]!)
          assert.ok(distance(all[i]!, e) <= CHAIN * norm(e), `step ${t}, residual of worker ${w}`)
        }
      }
    }
  })

  test(`plan knows what is sent and received, whatever the wire: ${iterations} a step`, async () => {
    for (const method of [halfSteps(), epfml()]) {
      for (const wire of ['f32', 'f16', 'bf16', 'int8'] satisfies Wire[]) {
        const options: Options = { method, iterations, rank: 2, wire, startCompressingAfter: 0 }
        const asked: Options = { ...options, minCompressionRate: 1 }
        const workers = await createFleet(SHAPES, 2, asked)
        for (let t = 0; t < 2; t++) await stepTogether(workers, [draw(t), draw(t + 2)])
        const planned = plan(SHAPES, asked)
        assert.is(planned.rounds, iterations)
        assert.is(2 * planned.bytes, workers[0]!.stats.bytesSent, `${method.name}, ${wire}`)
        assert.is(2 * planned.received(2).bytes, workers[0]!.stats.bytesReceived)
      }
    }
  })
}

test('two half-steps, P first, make the update of a full step from the same factors', async () => {
  const halves = await fleetOf(2, { iterations: 2 })
  const whole = await createFleet(SHAPES, 2, { rank: 2, minCompressionRate: 0 })
  const gradients = [draw(1), draw(2)]
  const { updates } = await stepTogether(halves, gradients)
  const full = await stepTogether(whole, gradients)
  for (const [i, update] of updates[0]!.entries()) {
    const want = full.updates[0]![i]!
    assert.ok(distance(update, want) <= 1e-6 * norm(want), `parameter ${i}`)
  }
})

test('delayed steps are plain means, and do not take turns', async () => {
  const workers = await fleetOf(2, { startCompressingAfter: 3 })
  for (let t = 0; t < 3; t++) {
    const gradients = [draw(t), draw(t + 9)]
    const { updates } = await stepTogether(workers, gradients)
    for (const [i, update] of updates[0]!.entries()) {
      const mean = gradients[0]![i]!.map((g, j) => (g + gradients[1]![i]![j]!) / 2)
      sameFloats(update, mean, `step ${t}, parameter ${i}`)
    }
    for (const e of await residualsOf(workers[0]!)) assert.ok(e.every((x) => x === 0))
    assert.is(await nextOf(workers[0]!), 'P')
  }
  await stepTogether(workers, [draw(3), draw(4)])
  assert.is(await nextOf(workers[0]!), 'Q')
})

test('messages take turns, P first, across steps; raw tensors are in the last of each', async () => {
  const [P, Q] = [2 * (12 + 9 + 16), 2 * (20 + 15 + 10)]
  for (const [iterations, lengths] of [
    [1, [P + RAW, Q + RAW, P + RAW, Q + RAW]],
    [2, [P, Q + RAW, P, Q + RAW]],
    [3, [P, Q, P + RAW, Q, P, Q + RAW]],
  ] as const) {
    const worker = await make({ iterations })
    const sent: number[] = []
    while (sent.length < lengths.length) {
      const { frames } = await stepTogether([worker], [draw(sent.length)])
      sent.push(...frames.map(([frame]) => open(frame!).total))
    }
    assert.equal(sent, lengths)
  }
})

test('floats of the average step at ResNet-18 are those of the package', () => {
  for (const [rank, iterations, floats] of [
    [1, 1, 27_772.5],
    [2, 1, 45_935],
    [4, 1, 82_260],
    [1, 3, 64_097.5],
    [2, 3, 118_585],
    [4, 3, 229_548],
  ] as const) {
    const options: Options = { method: epfml(), rank, iterations, minCompressionRate: 2 }
    assert.is(plan(resnet18(), options).floats, floats, `rank ${rank}, ${iterations} a step`)
  }
})

test('whose turn it is survives save and restore, join, and merely going on', async () => {
  const workers = await fleetOf(2)
  for (let t = 0; t < 3; t++) await stepTogether(workers, [draw(t), draw(t + 5)])
  assert.is(await nextOf(workers[0]!), 'Q')
  const state = await workers[0]!.save()
  const restored = await make({ restore: state })
  sameBytes(await restored.save(), state, 'a state that was restored')
  const joined = await make({ sender: 2 })
  joined.join(await workers[0]!.save({ residual: false }))
  const [first, second] = workers as [Compressor, Compressor]
  const fleets = [
    await stepTogether([first, second, joined], [draw(7), draw(8), draw(9)]),
    // without the others: the worker's own frame is the same
    { frames: [[restored.compressSync(draw(7))]] },
  ]
  sameBytes(fleets[1]!.frames[0]![0]!, fleets[0]!.frames[0]![0]!, 'frame of the restored worker')
  const states = await Promise.all([first, second, joined].map(stateOf))
  for (const { metadata, tensors } of states) {
    for (const name of ['parent', 'notes', 'step'])
      assert.is(metadata[name], states[0]!.metadata[name])
    for (const [name, { data }] of states[0]!.tensors) {
      if (!name.startsWith('residual')) sameFloats(tensors.get(name)!.data, data, name)
    }
  }
})

test('a state that says whose turn it is in other words is refused, and changes nothing', async () => {
  const worker = await make()
  await stepTogether([worker], [draw(1)])
  const before = await worker.save()
  const other = await make()
  await exchange([other], [draw(2)])
  await other.decompress(null)
  const { tensors, metadata } = await stateOf(other)
  const bad = writeState(Object.fromEntries(tensors), { ...metadata, notes: '{"next":"R"}' })
  const error = await errorOf(() => worker.join(bad))
  assert.instance(error, RangeError)
  assert.is(error.message, '"checkpoint": notes: next: expected "P" or "Q", got "R"')
  sameBytes(await worker.save(), before, 'the state')
  assert.is((await errorOf(() => make({ restore: bad }))).message, error.message)
})

test('setRank keeps leading columns of both sides, and draws the others alike everywhere', async () => {
  const workers = await fleetOf(2)
  for (let t = 0; t < 3; t++) await stepTogether(workers, [draw(t), draw(t + 5)])
  const before = { p: await factorsOf(workers[0]!, 'p'), q: await factorsOf(workers[0]!, 'q') }
  for (const worker of workers) worker.setRank(3)
  for (const side of ['p', 'q'] as const) {
    const [mine, others] = await Promise.all(workers.map((worker) => factorsOf(worker, side)))
    for (const [k, factor] of mine!.entries()) {
      const old = before[side][k]!
      assert.is(factor.length, 1.5 * old.length)
      sameFloats(factor.slice(0, old.length), old, 'leading columns')
      assert.ok(factor.slice(old.length).some((x) => x !== 0))
      sameFloats(others![k]!, factor, 'columns of the other worker')
    }
  }
  assert.is(await nextOf(workers[0]!), 'Q')
  await stepTogether(workers, [draw(8), draw(9)])
  for (const worker of workers) worker.setRank(1)
  const { frames } = await stepTogether(workers, [draw(8), draw(9)])
  assert.is(open(frames[0]![0]!).total, 12 + 9 + 16 + RAW)
})

test('matrices of equal shape and rank 1 come through whole, each of them', async () => {
  const shapes = Array.from({ length: 4 }, () => [6, 9])
  const gradients = shapes.map((_, i) => {
    const [u, v] = gradientsOf([[6], [9]], 70 + i) as [Float32Array, Float32Array]
    return Float32Array.from({ length: 54 }, (_, j) => u[Math.floor(j / 9)]! * v[j % 9]!)
  })
  const fractions = async (options: Options) => {
    const worker = await createCompressor(shapes, {
      minCompressionRate: 0,
      ...options,
      rank: 1,
      iterations: 2,
    })
    const { updates } = await stepTogether([worker], [gradients])
    return gradients.map((g, i) => 1 - distance(g, updates[0]![i]!) / norm(g))
  }
  for (const fraction of await fractions({ method: halfSteps() })) assert.ok(fraction > 1 - 1e-6)
  // The package divides all of them by one norm.
  const theirs = await fractions({ method: epfml(), startCompressingAfter: 0 })
  for (const fraction of theirs) assert.ok(fraction < 0.9, `${theirs}`)
})

for (const wire of ['f32', 'f16', 'bf16', 'int8'] satisfies Wire[]) {
  for (const iterations of [1, 3]) {
    test(`what all got, and what all kept, is what all gave: ${wire}, ${iterations} a step`, async () => {
      const weights = [1, 3, 0.25]
      const workers = await fleetOf(3, { wire, iterations })
      const given = SHAPES.map((shape) => new Float64Array(shape.reduce((a, b) => a * b)))
      const got = given.map((x) => x.slice())
      const total = weights.reduce((a, b) => a + b)
      for (let t = 0; t < 6; t++) {
        const gradients = workers.map((_, w) => draw(10 * t + w))
        const { updates } = await stepTogether(workers, gradients, weights)
        for (const [i, sum] of given.entries()) {
          for (let j = 0; j < sum.length; j++) {
            for (const [w, g] of gradients.entries()) sum[j]! += weights[w]! * g[i]![j]!
            got[i]![j]! += total * updates[0]![i]![j]!
          }
        }
      }
      for (const [w, worker] of workers.entries()) {
        for (const [i, e] of (await residualsOf(worker)).entries()) {
          for (let j = 0; j < e.length; j++) got[i]![j]! += weights[w]! * e[j]!
        }
      }
      for (const [i, sum] of given.entries()) {
        const [a, b] = [Float32Array.from(got[i]!), Float32Array.from(sum)]
        assert.ok(distance(a, b) <= 2e-6 * norm(b), `parameter ${i}: ${distance(a, b) / norm(b)}`)
      }
    })
  }
}

test('each round counts by itself: a lost frame costs its half-step, and no more', async () => {
  const iterations = 3
  for (let lost = 0; lost < iterations; lost++) {
    const workers = await fleetOf(2, { iterations })
    const gradients = [draw(1), draw(2)]
    const { means, outcomes } = await stepTogether(workers, gradients, undefined, {
      arrives: (w, round) => w === 0 || round !== lost,
    })
    for (const [round, mean] of means.entries()) {
      assert.is(open(mean).weight, round === lost ? 1 : 2)
    }
    assert.is(means.length, iterations)
    assert.is(outcomes[1]!.counted, lost !== iterations - 1)
    assert.is(outcomes[0]!.counted, true)
    const kept = await residualsOf(workers[1]!)
    const empty = kept[1]!.every((x) => x === 0)
    assert.is(empty, outcomes[1]!.counted, 'raw tensors follow the last round')
    // Two half-steps took a part of rank 2 each, also made from other workers' frames.
    const taken = kept[0]!.map((e, j) => gradients[1]![0]![j]! - e)
    const { s } = await svd(await createWasmKernels(), taken, 12, 20, 6)
    assert.ok(s[3]! > 1e-3 * s[0]! && s[4]! <= 1e-6 * s[0]!, `lost ${lost}: ${s}`)
    for (const worker of workers) assert.is(await nextOf(worker), 'Q')
  }
})

test('abort has nothing to undo, however many means each has received', async () => {
  const options: Options = { iterations: 3 }
  const workers = await fleetOf(4, options)
  await stepTogether(
    workers,
    workers.map((_, w) => draw(w)),
  )
  const before = await Promise.all(workers.map(stateOf))
  const gradients = workers.map((_, w) => draw(20 + w))
  let frames = await Promise.all(workers.map((worker, w) => worker.compress(gradients[w]!)))
  for (let round = 0; round < 2; round++) {
    const mean = aggregate(frames)
    const rest = workers.slice(round + 1)
    frames = (await Promise.all(rest.map((worker) => worker.receive(mean)))) as typeof frames
  }
  for (const worker of workers) worker.abort()
  for (const [w, worker] of workers.entries()) {
    const { metadata, tensors } = await stateOf(worker)
    const old = before[w]!
    assert.is(metadata.step, '2')
    assert.is(metadata.parent, old.metadata.parent)
    assert.is(metadata.notes, old.metadata.notes)
    for (const [name, { data }] of old.tensors) {
      const i = /^residual\/(\d)$/.exec(name)?.[1]
      const want = i ? data.map((e, j) => e + gradients[w]![Number(i)]![j]!) : data
      sameFloats(tensors.get(name)!.data, want, name)
    }
  }
  const { outcomes } = await stepTogether(
    workers,
    workers.map((_, w) => draw(30 + w)),
  )
  assert.is(outcomes[0]!.weight, 4)
})

test('a mean of weight 0 changes nothing: the same half-step is tried again', async () => {
  const workers = await fleetOf(2)
  const before = await stateOf(workers[0]!)
  const { updates, outcomes } = await stepTogether([workers[0]!], [draw(1)], [0])
  assert.is(outcomes[0]!.weight, 0)
  assert.ok(updates[0]!.every((array) => array.every((x) => x === 0)))
  assert.is(workers[0]!.updateNorm, 0)
  const after = await stateOf(workers[0]!)
  for (const name of ['parent', 'notes']) assert.is(after.metadata[name], before.metadata[name])
  for (const [name, { data }] of before.tensors)
    sameFloats(after.tensors.get(name)!.data, data, name)
})

test('a round in which no gradient arrives is no half-step of its step', async () => {
  const iterations = 3
  const [P, Q] = [2 * (12 + 9 + 16), 2 * (20 + 15 + 10)]
  for (const [empty, lengths, next] of [
    [0, [P, P, Q + RAW], 'P'],
    [1, [P, Q, Q + RAW], 'P'],
    [2, [P, Q, P + RAW], 'P'],
  ] as const) {
    const workers = await fleetOf(2, { iterations })
    const absent = (await fleetOf(3, { iterations }))[2]!
    const gradients = [draw(1), draw(2)]
    const all = [...workers, absent]
    const { frames, updates, outcomes } = await stepTogether(all, [...gradients, null], undefined, {
      arrives: (w, round) => w === 2 || round !== empty,
    })
    assert.equal(
      frames.map(([frame]) => open(frame!).total),
      lengths,
    )
    const into = updates[0]!
    assert.is(outcomes[0]!.weight, empty === 2 ? 0 : 2)
    const states = await Promise.all(all.map(stateOf))
    assert.is(await nextOf(all[0]!), next)
    for (const { metadata } of states) {
      assert.is(metadata.notes, states[0]!.metadata.notes)
      assert.is(metadata.parent, states[0]!.metadata.parent)
    }
    // Two half-steps have happened: nothing is lost, and updateNorm is right
    const whole = Math.hypot(...into.map(norm))
    assert.ok(whole > 0 && Math.abs(workers[0]!.updateNorm! - whole) <= 1e-6 * whole)
    const kept = await Promise.all(workers.map(residualsOf))
    for (const [i, update] of into.entries()) {
      const mean = update.map((x, j) => x + (kept[0]![i]![j]! + kept[1]![i]![j]!) / 2)
      const want = update.map((_, j) => (gradients[0]![i]![j]! + gradients[1]![i]![j]!) / 2)
      assert.ok(distance(mean, want) <= 1e-6 * norm(want), `parameter ${i}`)
    }
    await stepTogether(all, [draw(3), draw(4), draw(5)])
  }
})

test('a worker that is absent, or late, takes its turns like everyone', async () => {
  for (const iterations of [1, 2]) {
    const workers = await fleetOf(3, { iterations })
    const means: Uint8Array[][] = []
    for (let t = 0; t < 3; t++) {
      const two = workers.slice(0, 2)
      const absent = t === 1 ? null : draw(t)
      means.push((await stepTogether(two, [absent, draw(t + 5)])).means)
    }
    const late = workers[2]!
    for (const all of means) {
      await late.compress(draw(8))
      for (const mean of all) await late.receive(mean)
      assert.is((await late.decompress(draw(1))).counted, false)
    }
    const [mine, theirs] = await Promise.all([stateOf(late), stateOf(workers[0]!)])
    for (const name of ['parent', 'notes', 'step'])
      assert.is(mine.metadata[name], theirs.metadata[name])
    for (const [i, e] of (await residualsOf(late)).entries()) {
      const all = draw(8)[i]!.map((g) => g + g + g)
      assert.ok(distance(e, all) <= 1e-6 * norm(all), 'everything is kept')
    }
    assert.equal(workers[0]!.stats.absent.null, 1)
  }
})

test('a gradient that is not finite is left out', async () => {
  for (const iterations of [1, 3]) {
    const workers = await fleetOf(2, { iterations })
    const bad = draw(1)
    bad[0]![3] = Number.NaN
    const { outcomes } = await stepTogether(workers, [bad, draw(2)])
    assert.equal(outcomes[0], { counted: false, senders: [1], weight: 1, refused: [] })
    assert.is(workers[0]!.stats.absent.gradient, 1)
    for (const e of await residualsOf(workers[0]!)) assert.ok(e.every((x) => x === 0))
  }
})

test('calls without waiting do the same', async () => {
  const [a, b] = await Promise.all([make({ iterations: 2 }), make({ iterations: 2 })])
  const into = { a: draw(1), b: draw(1) }
  for (let t = 0; t < 3; t++) {
    let frame: Uint8Array | null = a.compressSync(draw(t))
    while (frame) frame = a.receiveSync(frame)
    a.decompressSync(into.a)
    await exchange([b], [draw(t)])
    await b.decompress(into.b)
  }
  for (const [i, update] of into.a.entries()) sameFloats(update, into.b[i]!, `parameter ${i}`)
  sameBytes(await a.save(), await b.save(), 'the state')
})

test('an update goes where it is asked to: scaled, added, in resident memory', async () => {
  for (const iterations of [1, 2, 3]) {
    const [plain, resident] = await Promise.all([
      make({ iterations }),
      make({ iterations, resident: true }),
    ])
    const x = draw(50)
    for (let t = 0; t < 2; t++) {
      const before = x.map((array) => array.slice())
      const { updates } = await stepTogether([plain], [draw(t)])
      for (const [i, g] of draw(t).entries()) resident.gradients[i]!.set(g)
      await exchange([resident], [resident.gradients])
      await resident.decompress(x, { scale: -0.5, accumulate: true })
      for (const [i, array] of x.entries()) {
        const want = before[i]!.map((value, j) => value - 0.5 * updates[0]![i]![j]!)
        assert.ok(distance(array, want) <= 1e-6 * norm(want), `step ${t}, parameter ${i}`)
      }
    }
  }
})

test('refresh draws both factors anew, the same ones everywhere', async () => {
  const workers = await fleetOf(2, { refresh: 2 })
  for (let t = 0; t < 3; t++) {
    const { means } = await stepTogether(workers, [draw(t), draw(t + 5)])
    const side = t % 2 === 0 ? 'p' : 'q'
    const [mine, theirs] = await Promise.all(workers.map((worker) => factorsOf(worker, side)))
    for (const [k, factor] of mine!.entries()) sameFloats(theirs![k]!, factor, 'of the other')
    const mean = open(means[0]!).floats.slice(0, mine![0]!.length)
    const same = mine![0]!.every((x, i) => x === mean[i])
    assert.is(same, t !== 1, `step ${t}`)
  }
})

test('feedback is local or none, and options of full steps are refused', async () => {
  const worker = await make({ errorFeedback: 'none' })
  await stepTogether([worker], [draw(1)])
  assert.is(await worker.residualNorm(), 0)
  for (const method of [halfSteps(), epfml()]) {
    const error = await errorOf(() => make({ method, errorFeedback: 'aggregated' }))
    assert.instance(error, RangeError)
    assert.match(error.message, /^"errorFeedback": expected 'local' or 'none' with .*, got/)
    for (const name of ['warmStart', 'orthonormalize']) {
      const unheeded = await errorOf(() => make({ method, [name]: false }))
      assert.is(unheeded.message, `"${name}": the method ${method.name} has no use for it`)
    }
  }
})

test('the gate counts half of the factors a round', () => {
  const rank = (options: Options) =>
    plan([[10, 20]], { method: halfSteps(), ...options }).parameters[0]!.rank
  // ½·r·30 floats a step, against 200 ÷ 2
  assert.is(rank({ rank: 6 }), 6)
  assert.is(rank({ rank: 7 }), 0)
  assert.is(rank({ rank: 3, iterations: 2 }), 3)
  assert.is(rank({ rank: 3, iterations: 3 }), 0)
})

test("the package's gate takes shapes as they are, and vectors", () => {
  const ranks = (shapes: readonly ParameterSpec[], options: Options) =>
    plan(shapes, { method: epfml(), ...options }).parameters.map(({ rank }) => rank)
  assert.equal(ranks([[13], [40, 3, 3, 3], []], { rank: 1, minCompressionRate: 1.5 }), [1, 1, 0])
  assert.equal(ranks([[13], [40, 40]], { rank: 2, minCompressionRate: 1.5 }), [0, 2])
  assert.equal(ranks([[13], { shape: [40, 40], compress: false }], { rank: 1 }), [0, 0])
})

test("the package's bases: unit vectors where nothing is to be had", async () => {
  const table = createLayout([[5, 4]], { rank: 3, minCompressionRate: 0 })
  const host = await openHost(0)
  const basis = (...columns: number[][]) => {
    const left = Float32Array.from(columns.flat())
    host.orthonormalize(table, 'left', left, 0, true)
    return columns.map((_, k) => [...left.subarray(5 * k, 5 * k + 5)])
  }
  const unit = (i: number) => Array.from({ length: 5 }, (_, k) => Number(k === i))
  const zero = unit(-1)
  assert.equal(basis(zero, zero, zero), [unit(0), unit(1), unit(2)])
  // The second and the third are taken: the next will do.
  assert.equal(basis(unit(1), unit(2), zero), [unit(1), unit(2), unit(3)])
  assert.equal(basis(unit(4), zero, unit(4)), [unit(4), unit(1), unit(2)])
})

test.run()

/**
 * Half-steps on one matrix in float64, when all frames arrive: E ← M − P·Q̂ᵀ with the worker's own
 * P.
 */
class Recursion {
  readonly residuals: number[][]
  readonly #rows: number
  readonly #cols: number
  readonly #weights: readonly number[]
  /** by column */
  #p: number[][]
  #q: number[][]
  #sendsP = true

  constructor(
    rows: number,
    cols: number,
    p: Float32Array,
    q: Float32Array,
    weights: readonly number[],
  ) {
    this.#rows = rows
    this.#cols = cols
    this.#weights = weights
    const split = (x: Float32Array, length: number) =>
      Array.from({ length: x.length / length }, (_, k) => [
        ...x.subarray(k * length, (k + 1) * length),
      ])
    this.#p = split(p, rows)
    this.#q = split(q, cols)
    this.residuals = weights.map(() => Array<number>(rows * cols).fill(0))
  }

  step(gradients: readonly Float32Array[], halves: number): Float32Array {
    const [n, m] = [this.#rows, this.#cols]
    const total = this.#weights.reduce((a, b) => a + b)
    const update = new Float64Array(n * m)
    for (const [w, e] of this.residuals.entries())
      for (let j = 0; j < n * m; j++) e[j]! += gradients[w]![j]!
    for (let half = 0; half < halves; half++) {
      const fixed = orthonormal(this.#sendsP ? this.#q : this.#p)
      const length = this.#sendsP ? n : m
      const mean = fixed.map(() => Array<number>(length).fill(0))
      for (const [w, e] of this.residuals.entries()) {
        // Each column's product leaves M at once, for the columns are orthogonal.
        for (const [k, column] of fixed.entries()) {
          const own = Array<number>(length).fill(0)
          for (let i = 0; i < n; i++) {
            for (let j = 0; j < m; j++) {
              if (this.#sendsP) own[i]! += e[i * m + j]! * column[j]!
              else own[j]! += e[i * m + j]! * column[i]!
            }
          }
          for (let i = 0; i < n; i++) {
            for (let j = 0; j < m; j++) {
              const part = this.#sendsP ? own[i]! * column[j]! : column[i]! * own[j]!
              e[i * m + j]! -= part
              update[i * m + j]! += (this.#weights[w]! / total) * part
            }
          }
          for (let i = 0; i < length; i++) mean[k]![i]! += (this.#weights[w]! / total) * own[i]!
        }
      }
      if (this.#sendsP) this.#p = mean
      else this.#q = mean
      this.#sendsP = !this.#sendsP
    }
    return Float32Array.from(update)
  }
}

function orthonormal(columns: readonly number[][]): number[][] {
  const done: number[][] = []
  const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
  for (const column of columns) {
    let rest = [...column]
    for (let turn = 0; turn < 2; turn++) {
      for (const other of done) {
        const part = dot(rest, other)
        rest = rest.map((x, i) => x - part * other[i]!)
      }
    }
    const length = Math.sqrt(dot(rest, rest))
    done.push(rest.map((x) => x / length))
  }
  return done
}

/** ResNet-18 for CIFAR-10, in the order of the model's parameters. */
function resnet18(): number[][] {
  const conv = (out: number, into: number, size = 3) => [[out, into, size, size], [out], [out]]
  const block = (out: number, into: number) => [
    ...conv(out, into),
    ...conv(out, out),
    ...(out === into ? [] : conv(out, into, 1)),
  ]
  const stage = (out: number, into: number) => [...block(out, into), ...block(out, out)]
  const stages = [stage(64, 64), stage(128, 64), stage(256, 128), stage(512, 256)]
  return [...conv(64, 3), ...stages.flat(), [10, 512], [10]]
}
