// States: `save`, and `restore`, `setRank`, `join`, `adopt` and `mergeCheckpoints`. Tests on random
// fleets: simulation.test.ts.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  aggregate,
  type Compressor,
  createCompressor,
  mergeCheckpoints,
  type Options,
} from '../../src/index.ts'
import { leadingColumns } from '../../src/linalg/rayleigh-ritz.ts'
import { sameBytes, sameFloats, UNIT, within } from '../support/close.ts'
import { residualsOf, stepTogether } from '../support/fleet.ts'
import { readState, type Saved } from '../support/safetensors.ts'
import { fleetOf, gradients, make, train } from '../support/small-model.ts'

const test = suite('state')

test('a file of named tensors, and metadata that say the rest', async () => {
  const worker = await make({ seed: 5 })
  await stepTogether([worker], [gradients(1)], [2.5])
  const { metadata, tensors } = readState(await worker.save())
  assert.equal(
    [...tensors].map(([name, { shape }]) => [name, shape]),
    [
      ['q/0', [2, 8]],
      ['q/2', [2, 8]],
      ['residual/0', [6, 8]],
      ['residual/1', [5]],
      ['residual/2', [3, 4, 2]],
    ],
  )
  const { parent, options, ...rest } = metadata
  assert.match(parent!, /^[0-9a-f]{16}$/)
  assert.is(JSON.parse(options!).seed, '5')
  const expected = { format: 'lowrank', version: '1', step: '1', ranks: '[2,0,2]', weight: '2.5' }
  assert.equal(rest, expected)
})

test('a checkpoint of 150,000 parameters: no call takes them as its arguments', async () => {
  const shapes = new Array<readonly number[]>(150_000).fill([1])
  const gradient = Float32Array.of(1)
  const worker = await createCompressor(shapes, { wire: 'int8' })
  await stepTogether([worker], [shapes.map(() => gradient)])
  const state = await worker.save()
  const restored = await createCompressor(shapes, { wire: 'int8', restore: state })
  sameBytes(await restored.save(), state, 'state')
})

for (const wire of ['f32', 'int8'] as const) {
  for (const warmStart of [true, false, 'fixed'] as const) {
    test(`restored, it goes on as before: ${wire}, warmStart ${warmStart}`, async () => {
      const options: Options = { wire, warmStart, iterations: 2, seed: 3 }
      const worker = await make(options)
      await train([worker], 3)
      const state = await worker.save()
      const restored = await make({ ...options, restore: state })
      sameBytes(await restored.save(), state, 'state')
      assert.is(restored.stats.step, 3)
      for (let step = 0; step < 3; step++) {
        const [a, b] = [
          await stepTogether([worker], [gradients(70 + step)]),
          await stepTogether([restored], [gradients(70 + step)]),
        ]
        for (const [i, [frame]] of a.frames.entries()) sameBytes(b.frames[i]![0]!, frame!, 'frame')
        for (const [i, want] of a.updates[0]!.entries()) {
          sameFloats(b.updates[0]![i]!, want, 'update')
        }
      }
      sameBytes(await restored.save(), await worker.save(), 'state')
    })
  }
}

test('the ranks of the file win over the rank of the program', async () => {
  const worker = await make()
  await train([worker], 1)
  worker.setRank([3, 0, 0])
  const restored = await make({ rank: 1, restore: await worker.save() })
  assert.equal(restored.stats.ranks, [3, 0, 0])
  sameBytes(await restored.compress(gradients(2)), await worker.compress(gradients(2)), 'frame')
})

test('setRank keeps what carries most, draws other columns, and loses nothing of the residual', async () => {
  const worker = await make({ rank: 2 })
  await train([worker], 1)
  const columns = async () => readState(await worker.save()).tensors.get('q/0')
  const before = (await columns())!.data
  const residual = await residualsOf(worker)
  worker.setRank(4)
  assert.equal(worker.stats.ranks, [4, 0, 3]) // clipped to min(rows, cols)
  const grown = (await columns())!.data
  sameFloats(grown.subarray(0, 16), before, 'leading columns')
  assert.ok(grown.subarray(16).every((x) => x !== 0))
  // Draws depend on seed, parameter, column and step only: another worker draws the same.
  const twin = await make({ rank: 2 })
  await train([twin], 1)
  twin.setRank(4)
  sameBytes(await twin.save(), await worker.save(), 'state of a twin')
  worker.setRank(1)
  sameFloats((await columns())!.data, leadingColumns(grown, 8, 1), 'what is longest')
  worker.setRank([0, 0, 0])
  assert.is(await columns(), undefined)
  for (const [i, e] of (await residualsOf(worker)).entries())
    sameFloats(e, residual[i]!, 'residual')
  // A tensor that became raw sends its residual whole.
  const { updates } = await stepTogether([worker], [gradients(9)])
  const whole = gradients(9).map((g, i) => g.map((x, j) => x + residual[i]![j]!))
  for (const [i, want] of whole.entries()) sameFloats(updates[0]![i]!, want, 'update')
  for (const e of await residualsOf(worker)) assert.ok(e.every((x) => x === 0))
})

test('setRank leaves parameters with a rank of their own, unless each is named', async () => {
  const shapes = [{ shape: [6, 8], rank: 1 }, [7, 9], { shape: [5, 5], compress: false }]
  const worker = await make({}, shapes)
  assert.equal(worker.stats.ranks, [1, 2, 0])
  worker.setRank(4)
  assert.equal(worker.stats.ranks, [1, 4, 0])
  worker.setRank([3, 2, 5])
  assert.equal(worker.stats.ranks, [3, 2, 0])
})

test('setRank decides the gate anew', async () => {
  const worker = await createCompressor([[20, 20]], { rank: 1, minCompressionRate: 2 })
  assert.equal(worker.stats.ranks, [1])
  worker.setRank(4) // 4 · 40 · 2 < 400
  assert.equal(worker.stats.ranks, [4])
  worker.setRank(5) // 400 is not less than 400
  assert.equal(worker.stats.ranks, [0])
  worker.setRank(2)
  assert.equal(worker.stats.ranks, [2])
})

test('without its residual, a state is a start for a joiner', async () => {
  const fleet = await fleetOf(2)
  await train(fleet, 2)
  const state = await fleet[0]!.save({ residual: false })
  assert.equal([...readState(state).tensors.keys()], ['q/0', 'q/2'])
  const joiner = await make({ sender: 9, restore: state })
  for (const e of await residualsOf(joiner)) assert.ok(e.every((x) => x === 0))
  const { outcomes, updates } = await stepTogether(
    [...fleet, joiner],
    [1, 2, 3].map((i) => gradients(i)),
  )
  for (const outcome of outcomes) assert.equal(outcome.senders, [0, 1, 9])
  for (const [i, want] of updates[0]!.entries()) sameFloats(updates[2]![i]!, want, 'update')
})

test('join takes everything from a peer but the residual', async () => {
  const fleet = await fleetOf(2)
  await train(fleet, 2)
  fleet[0]!.setRank(1)
  const loner = await make({ sender: 9, rank: 2 })
  await loner.compress(gradients(5))
  loner.abort()
  const own = await residualsOf(loner)
  const state = await fleet[0]!.save()
  loner.join(state)
  const [mine, peers] = [readState(await loner.save()), readState(state)]
  for (const name of ['step', 'ranks', 'parent']) {
    assert.is(mine.metadata[name], peers.metadata[name], name)
  }
  for (const name of ['q/0', 'q/2']) {
    sameFloats(mine.tensors.get(name)!.data, peers.tensors.get(name)!.data, name)
  }
  for (const [i, e] of (await residualsOf(loner)).entries()) sameFloats(e, own[i]!, 'residual')
  assert.is(loner.stats.step, 2)
})

test('a worker that aborted alone is refused until it has joined again', async () => {
  const fleet = await fleetOf(2)
  const [a, b] = fleet as [Compressor, Compressor]
  const first = await a.compress(gradients(1))
  await b.compress(gradients(2))
  const second = await a.receive(aggregate([first]))
  await a.receive(aggregate([second!]))
  await a.decompress(null)
  b.abort()
  const frames = [await a.compress(gradients(3)), await b.compress(gradients(4))]
  assert.throws(() => aggregate(frames), /histories differ/)
  a.abort()
  b.abort()
  b.join(await a.save({ residual: false }))
  const { outcomes } = await stepTogether(fleet, [gradients(5), gradients(6)])
  assert.ok(outcomes.every(({ counted }) => counted))
})

test('adopt adds a leaver’s residual in the proportion of the weights', async () => {
  const fleet = await fleetOf(2)
  await train(fleet, 2) // weights 1 and 2
  const [heir, leaver] = fleet as [Compressor, Compressor]
  const [own, other] = [await residualsOf(heir), await residualsOf(leaver)]
  await heir.adopt(await leaver.save())
  for (const [i, e] of (await residualsOf(heir)).entries()) {
    sameFloats(
      e,
      own[i]!.map((x, j) => x + 2 * other[i]![j]!),
      'residual',
    )
  }
})

test('merged states: the same updates, whoever goes on with them', async () => {
  const fleet = await fleetOf(3)
  await train(fleet, 3)
  const states = await Promise.all(fleet.map((worker) => worker.save()))
  const merged = mergeCheckpoints(states)
  // The residual is the mean of the residuals by weights 1, 2, 3; all else is the first file's.
  const files = [merged, ...states].map(readState) as [Saved, Saved, Saved, Saved]
  const [file, ...parts] = files
  for (const [name, { data }] of file.tensors) {
    const of = parts.map(({ tensors }) => tensors.get(name)!.data)
    if (name.startsWith('q/')) sameFloats(data, of[0]!, name)
    else {
      const mean = (f: (x: number) => number) => (j: number) =>
        of.reduce((sum, x, w) => sum + ((w + 1) * f(x[j]!)) / 6, 0)
      const want = Float64Array.from(data, (_, j) => mean(Number)(j))
      within(data, want, (j) => 1.01 * UNIT * mean(Math.abs)(j), name)
    }
  }
  // The same for three as for two: the update is a mean, so the pending part stays as it was.
  const pair = await Promise.all([7, 8].map((sender) => make({ sender, restore: merged })))
  const single = await make({ restore: merged })
  const nobody = gradients(1).map(({ length }) => new Float32Array(length))
  const sizes: number[] = []
  for (let step = 0; step < 4; step++) {
    const three = await stepTogether(fleet, [nobody, nobody, nobody], [1, 2, 3])
    const two = await stepTogether(pair, [nobody, nobody])
    const one = await stepTogether([single], [nobody])
    for (const [i, want] of three.updates[0]!.entries()) {
      sizes[i] ??= Math.hypot(...want) // later ones are residuals, rounding included
      for (const { updates } of [two, one]) {
        const far = Math.hypot(...want.map((x, j) => x - updates[0]![i]![j]!))
        assert.ok(far <= 1e-5 * sizes[i], `step ${step}, parameter ${i}: ${far}`)
      }
    }
  }
})

test('one state merges to itself, and any order to the same', async () => {
  const fleet = await fleetOf(2)
  await train(fleet, 2)
  const [a, b] = await Promise.all(fleet.map((worker) => worker.save()))
  sameBytes(mergeCheckpoints([a!]), a!, 'one state')
  sameBytes(mergeCheckpoints([b!, a!]), mergeCheckpoints([a!, b!]), 'another order')
})

test('startCompressingAfter: uncompressed steps are saved as such, with the first factors', async () => {
  const options: Options = { startCompressingAfter: 2 }
  const worker = await make(options)
  const fresh = readState(await worker.save())
  await train([worker], 1)
  const state = await worker.save()
  const { metadata, tensors } = readState(state)
  assert.is(metadata.step, '1')
  assert.is(metadata.ranks, '[2,0,2]')
  for (const name of ['q/0', 'q/2']) {
    sameFloats(tensors.get(name)!.data, fresh.tensors.get(name)!.data, name)
  }
  const restored = await make({ ...options, restore: state })
  for (const rounds of [1, 2]) {
    const a = await stepTogether([worker], [gradients(rounds)])
    const b = await stepTogether([restored], [gradients(rounds)])
    assert.is(a.frames.length, rounds)
    for (const [i, [frame]] of a.frames.entries()) sameBytes(b.frames[i]![0]!, frame!, 'frame')
  }
})

test('a state at any alignment', async () => {
  const worker = await make()
  await train([worker], 1)
  const state = await worker.save()
  const odd = new Uint8Array(state.length + 5).subarray(5)
  odd.set(state)
  sameBytes(await (await make({ restore: odd })).save(), state, 'state')
  sameBytes(mergeCheckpoints([odd]), state, 'merged')
})

test.run()
