// A state that is refused, or that needs memory which is not there, leaves a worker as it was: the
// next step has the same bits as that of a twin that has never seen it.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Layout } from '../../src/backend.ts'
import {
  type Backend,
  type Compressor,
  createCompressor,
  type Options,
  wasm,
} from '../../src/index.ts'
import { byEnergy, halfSteps } from '../../src/methods.ts'
import { wasm as threaded } from '../../src/threads.ts'
import { sameBytes, sameFloats } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { stepTogether } from '../support/fleet.ts'
import { METHODS, type Name } from '../support/methods.ts'
import { gradientsOf } from '../support/numbers.ts'
import { readState, type Saved, writeState } from '../support/safetensors.ts'

const SHAPES = [[24, 18], [7], [5, 4, 6], [40, 3]]

const BACKENDS: Record<string, Options> = {
  wasm: {},
  resident: { resident: true },
  threads: { backend: threaded({ threads: 2 }) },
}

const test = suite('refused states')

for (const name of Object.keys(METHODS) as Name[]) {
  for (const [place, own] of Object.entries(BACKENDS)) {
    test(`${name}, ${place}: a refused state changes nothing`, async () => {
      const options: Options = { ...METHODS[name], ...own }
      const make = () => createCompressor(SHAPES, options)
      const [worker, twin, source] = [await make(), await make(), await make()]
      for (const one of [worker, twin, source]) await train(one, 1)
      await train(source, 2)
      const supported = METHODS[name] as Options
      if ((supported.method?.supportedOptions ?? ['rank']).includes('rank')) source.setRank(3)
      let refused = 0
      for (const [what, state] of damaged(readState(await source.save()))) {
        const before = await worker.save()
        for (const call of ['join', 'adopt'] as const) {
          try {
            await worker[call](state)
            await twin[call](state)
          } catch (error) {
            refused++
            assert.instance(error, RangeError, `${what}: ${error}`)
            assert.match((error as Error).message, /^("checkpoint"|safetensors):? /, what)
            assert.ok((error as Error).message.length < 1000, what)
            sameBytes(await worker.save(), before, `${what}: ${call}`)
          }
        }
      }
      assert.ok(refused >= 30, `${refused} refusals`)
      await sameStep(worker, twin)
      for (const one of [worker, twin, source]) one.dispose()
    })

    test(`${name}, ${place}: without memory for its ranks, a valid state changes nothing`, async () => {
      const memory = { full: false }
      const options = { ...METHODS[name], ...own } as Options
      const backend = limited(options.backend ?? wasm(), memory)
      const worker = await createCompressor(SHAPES, { ...options, backend })
      const twin = await createCompressor(SHAPES, options)
      const source = await createCompressor(SHAPES, options)
      for (const one of [worker, twin, source]) await train(one, 1)
      await train(source, 2)
      memory.full = true
      const { supportedOptions = ['rank'], ownsFactors } = options.method ?? {}
      const ranked = supportedOptions.includes('rank') && !ownsFactors
      if (ranked) {
        assert.match((await errorOf(() => worker.setRank(3))).message, /no memory/)
        source.setRank(3)
        // bestRank, which keeps no factors, refuses an unknown rank before that.
        const error = await errorOf(async () => worker.join(await source.save()))
        assert.match(error.message, /no memory|create the compressor with that rank/)
      }
      await sameStep(worker, twin)
      memory.full = false
      if (ranked) for (const one of [worker, twin]) one.setRank(3)
      for (const one of [worker, twin]) one.join(await source.save())
      await sameStep(worker, twin)
      for (const one of [worker, twin, source]) one.dispose()
    })
  }
}

test('half-steps, resident: a bad note with a higher rank leaves the arrays of the gradients', async () => {
  const options: Options = { method: halfSteps(), rank: 2, resident: true, minCompressionRate: 0 }
  const shapes = [[300, 300]]
  const worker = await createCompressor(shapes, options)
  const big = readState(await (await createCompressor(shapes, { ...options, rank: 200 })).save())
  const state = writeState(Object.fromEntries(big.tensors), {
    ...big.metadata,
    notes: '{"next":"R"}',
  })
  const { gradients } = worker
  assert.match((await errorOf(() => worker.join(state))).message, /next: expected "P" or "Q"/)
  assert.is(worker.gradients, gradients)
  assert.is(gradients[0]!.length, 90_000)
})

test('ranks that adapt but find no memory: decompress ends the step, compress says why', async () => {
  const memory = { full: false }
  const options: Options = { method: byEnergy({ fraction: 0.99, most: 8, every: 1 }), rank: 1 }
  const worker = await createCompressor(SHAPES, { ...options, backend: limited(wasm(), memory) })
  const twin = await createCompressor(SHAPES, options)
  memory.full = true
  await sameStep(worker, twin)
  assert.equal(worker.stats.ranks, twin.stats.ranks)
  assert.is.not(worker.stats.ranks[0], 1)
  sameBytes(await worker.save(), await twin.save(), 'state')
  for (let i = 0; i < 2; i++) {
    const error = await errorOf(() => worker.compress(gradientsOf(SHAPES, 7)))
    assert.match(error.message, /no memory/)
  }
  memory.full = false
  await sameStep(worker, twin)
})

test('ranks that adapt but cannot be prepared: decompress changes nothing', async () => {
  let fails = false
  const random = (...[use, , column, , length]: number[]) => {
    if (fails) throw new RangeError('no numbers')
    return Float32Array.from({ length: length! }, (_, i) => Math.sin(1 + use! + 7 * column! + i))
  }
  const options: Options = {
    method: byEnergy({ fraction: 0.99, most: 8, every: 1 }),
    rank: 1,
    random,
  }
  const [worker, twin] = [
    await createCompressor(SHAPES, options),
    await createCompressor(SHAPES, options),
  ]
  const into = gradientsOf(SHAPES, 5)
  let frame: Uint8Array | null = await worker.compress(into)
  while (frame) frame = await worker.receive(frame)
  fails = true
  assert.match((await errorOf(() => worker.decompress(into))).message, /no numbers/)
  for (const [i, g] of gradientsOf(SHAPES, 5).entries()) sameFloats(into[i]!, g, 'not written')
  fails = false
  await worker.decompress(into)
  const { updates } = await stepTogether([twin], [gradientsOf(SHAPES, 5)])
  for (const [i, want] of updates[0]!.entries()) sameFloats(into[i]!, want, 'update')
  await sameStep(worker, twin)
})

test('a few bytes cost little: ranks without factors are those of the options at most', async () => {
  const shapes = [[3000, 3000]]
  const claim = writeState({}, { ranks: '[3000]', step: '3' })
  const half = { 'q/0': { shape: [5, 3000], data: new Float32Array(15_000).fill(1) } }
  for (const name of ['full steps', 'halfSteps', 'dion', 'bestRank', 'rankDad'] as const) {
    const worker = await createCompressor(shapes, METHODS[name])
    const refusing = (state: Uint8Array) => async (call: 'join' | 'restore') => {
      const error = await errorOf(() =>
        call === 'join'
          ? worker.join(state)
          : createCompressor(shapes, { ...METHODS[name], restore: state }),
      )
      assert.match(error.message, /without its factors: expected at most 2/, `${name}: ${call}`)
    }
    await refusing(claim)('join')
    await refusing(claim)('restore')
    if (name === 'halfSteps') await refusing(writeState(half))('join') // P is missing
    worker.join(writeState({}, { ranks: '[1]' }))
    assert.equal(worker.stats.ranks, [1])
  }
  // Without factors to show, a method believes in the ranks that it has itself.
  const [best, source] = [
    await createCompressor(shapes, METHODS.bestRank),
    await createCompressor(shapes, METHODS.bestRank),
  ]
  for (const one of [best, source]) one.setRank(3)
  best.join(await source.save({ residual: false }))
  assert.equal(best.stats.ranks, [3])
})

test.run()

/** Steps of a worker that trains alone. */
async function train(worker: Compressor, steps: number): Promise<void> {
  for (let i = 0; i < steps; i++) await stepTogether([worker], [gradientsOf(SHAPES, 20 + i)])
}

/** One step of both, with the same bits; with `resident`, in place. */
async function sameStep(worker: Compressor, twin: Compressor): Promise<void> {
  const [got, want] = await Promise.all(
    [worker, twin].map(async (one) => {
      const frames: Uint8Array[] = []
      const gradients = gradientsOf(SHAPES, 40)
      try {
        for (const [i, lent] of one.gradients.entries()) {
          lent.set(gradients[i]!)
          gradients[i] = lent
        }
      } catch (error) {
        assert.instance(error, TypeError) // not resident
      }
      let frame: Uint8Array | null = await one.compress(gradients)
      while (frame) {
        frames.push(frame)
        frame = await one.receive(frame)
      }
      await one.decompress(gradients)
      return { frames, updates: gradients.map((update) => update.slice()) }
    }),
  )
  assert.is(got!.frames.length, want!.frames.length)
  for (const [i, frame] of want!.frames.entries()) sameBytes(got!.frames[i]!, frame, `frame ${i}`)
  for (const [i, update] of want!.updates.entries()) {
    sameFloats(got!.updates[i]!, update, `update ${i}`)
  }
  sameBytes(await worker.save(), await twin.save(), 'state')
}

/** States made of a valid one, most of them not valid. */
function* damaged({ metadata, tensors }: Saved): Generator<[what: string, state: Uint8Array]> {
  const all = Object.fromEntries(tensors)
  const whole = writeState(all, metadata)
  for (const length of [0, 7, 9, whole.length - 4]) yield [`cut ${length}`, whole.slice(0, length)]
  for (const [key, values] of Object.entries({
    format: ['lowrank-gossip', ''],
    version: ['2', 'x'.repeat(1e6)],
    step: ['', '-1', '1.5', 'x', '4294967295', '4294967296', '1e300', 'NaN', 'x'.repeat(1e6)],
    weight: ['', '0', '-1', 'NaN', 'Infinity', '1e300', '1e-320'],
    parent: ['', 'x', '0'.repeat(1e6)],
    options: ['{}', '', 'x'.repeat(100)],
    ranks: ['', '[]', 'null', '{}', '[1,0,1]', '[1,0,1,1,1]', '[-1,0,1,1]', '[1.5,0,1,1]'].concat(
      '[1e9,0,1,1]',
      '["1",0,1,1]',
      '[25,0,2,2]',
      `[${'1,'.repeat(1e5)}1]`,
    ),
    notes: ['', '[]', 'null', '3', '{"next":1}', '{"next":"R"}', '{"norms":"a b"}'].concat(
      '{"norms":"-1 -1"}',
      `{"norms":"${'1 '.repeat(1e5)}"}`,
      '{"__proto__":{"next":"P"}}',
    ),
  })) {
    for (const value of values) {
      yield [`${key} ${value.slice(0, 20)}`, writeState(all, { ...metadata, [key]: value })]
    }
  }
  for (const [name, tensor] of tensors) {
    const { [name]: _, ...others } = all
    const other = (shape: number[], data: Float32Array) =>
      writeState({ ...others, [name]: { shape, data } }, metadata)
    const { length } = tensor.data
    yield [`no ${name}`, writeState(others, metadata)]
    yield [`flat ${name}`, other([1, length], tensor.data)]
    yield [`short ${name}`, other([length - 1], tensor.data.subarray(1))]
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      const data = tensor.data.slice()
      data[length - 1] = value
      yield [`${value} in ${name}`, other([...tensor.shape], data)]
    }
  }
  for (const name of ['q/4', 'residual/99', 'p/18446744073709551616']) {
    const extra = { shape: [1], data: Float32Array.of(1) }
    yield [`extra ${name}`, writeState({ ...all, [name]: extra }, metadata)]
  }
}

/** A backend that has no memory for other layouts while `full`. */
function limited(backend: Backend, memory: { readonly full: boolean }): Backend {
  return {
    name: backend.name,
    async open(...given) {
      const session = await backend.open(...given)
      const { rearrange } = session
      session.rearrange = (layout: Layout) => {
        if (memory.full) throw new RangeError('no memory')
        rearrange.call(session, layout)
      }
      return session
    },
  }
}
