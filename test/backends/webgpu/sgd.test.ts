// The optimiser with parameters, gradients and momentum on the GPU, against the one on arrays.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { GpuTensor, Tensor } from '../../../src/backend.ts'
import { webgpu } from '../../../src/backends/webgpu/index.ts'
import { decodeSafetensors, floatsOf } from '../../../src/codec/safetensors.ts'
import { createCompressor, createSgd, type Options, type SgdOptions } from '../../../src/index.ts'
import { gamma, within } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'
import { audit } from './audit.ts'
import { openDevice, USAGE } from './device.ts'
import { small } from './small.ts'
import { type Laying, layTensors, readTensors } from './tensors.ts'

/** Columns that groups of four do not divide, and more floats than a tile and than a small buffer. */
const SHAPES = [[64, 27], [64], [12, 513], [10, 33], [3], [130, 70], { shape: [32] }]
const LENGTHS = [1728, 64, 6156, 330, 3, 9100, 32]
const OPTIONS = { rank: 2 }
const RATES = { learningRate: 0.1, momentum: 0.9, weightDecay: 0.01 }

/** Where the parameters are, and their updates. 'together': all of them in one buffer. */
const LAYINGS: readonly (readonly [Laying, Laying] | 'together')[] = [
  ['one buffer', 'one buffer'],
  ['scattered', 'scattered'],
  ['unaligned', 'scattered'],
  ['scattered', 'unaligned'],
  'together',
]

const opened = await openDevice()
const test = suite('optimiser on WebGPU')

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  for (const laying of LAYINGS) {
    for (const bytes of [1 << 28, 1 << 16]) {
      test(`descends as on wasm: ${laying}, buffers of up to ${bytes} bytes`, () =>
        agrees(laying, RATES, bytes))
    }
    test(`whole steps are as on wasm: ${laying}`, async () => {
      const gpu = await on({}, RATES)
      const cpu = await off(RATES)
      const x = arrays(1)
      const there = arrays(1)
      for (let step = 0; step < 3; step++) {
        const gradients = arrays(10 + step)
        const [xs, gs] = lay(there, gradients, laying)
        const outcome = await gpu.sgd.step(xs, gs, async (frame) => frame, { weight: 2 })
        assert.equal(outcome, await cpu.sgd.step(x, gradients, (frame) => frame, { weight: 2 }))
        const [now, update] = await back(xs, gs)
        for (const [i, got] of now.entries()) {
          within(got, x[i]!, () => 2e-4)
          within(update[i]!, gradients[i]!, () => 1e-4)
          there[i] = got
        }
      }
      gpu.compressor.dispose()
      cpu.compressor.dispose()
    })
  }

  for (const laying of [LAYINGS[0]!, LAYINGS[1]!, 'together'] as const) {
    test(`descends as on wasm without momentum: ${laying}`, () =>
      agrees(laying, { learningRate: 0.1, momentum: 0, weightDecay: 0.01 }, 1 << 16))
  }

  // Where a schedule begins or ends.
  test('as on wasm at a learning rate of 0', () =>
    agrees(LAYINGS[1]!, { learningRate: 0, momentum: 0.9, weightDecay: 0.01 }, 1 << 16))

  test('a checkpoint of one backend restores on the other', async () => {
    const gpu = await on({}, RATES, 1 << 16)
    const x = arrays(1)
    const xs = layTensors(device, x, 'one buffer', 'f32')
    for (let step = 0; step < 2; step++) {
      await gpu.sgd.step(xs, layTensors(device, arrays(2 + step), 'scattered', 'f32'), alone)
    }
    const restore = await gpu.sgd.save()
    const cpu = await off({ ...RATES, restore }, { restore })
    assert.equal(await cpu.sgd.save(), restore)
    const again = await on({ restore }, { ...RATES, restore }, 1 << 16)
    assert.equal(await again.sgd.save(), restore) // it is not on the GPU yet
    const [y] = await back(xs, xs)
    const ys = layTensors(device, y, 'one buffer', 'f32')
    const g = layTensors(device, arrays(5), 'one buffer', 'f32')
    await gpu.sgd.apply(xs, g)
    const want = await gpu.sgd.save()
    cpu.sgd.apply(y, arrays(5))
    await again.sgd.apply(ys, g)
    for (const [i, m] of momentumIn(want).entries()) {
      within(momentumIn(await cpu.sgd.save())[i]!, m, () => 1e-5)
      assert.equal(momentumIn(await again.sgd.save())[i]!, m)
    }
    const [got] = await back(xs, xs)
    for (const [i, values] of got.entries()) within(values, y[i]!, () => 1e-5)
    assert.equal((await back(ys, ys))[0], got)
    for (const { compressor } of [gpu, cpu, again]) compressor.dispose()
  })

  test('momentum outlives other ranks, and is empty before the first step', async () => {
    const { sgd, compressor } = await on({}, RATES)
    assert.equal(momentumIn(await sgd.save()), [])
    const xs = layTensors(device, arrays(1), 'one buffer', 'f32')
    await sgd.apply(xs, layTensors(device, arrays(2), 'one buffer', 'f32'))
    const before = momentumIn(await sgd.save())
    assert.is(before.length, LENGTHS.length)
    compressor.setRank(5)
    assert.equal(momentumIn(await sgd.save()), before)
    compressor.dispose()
    await rejects(() => sgd.apply(xs, xs), 'RoundError', /apply: .*disposed/)
    await rejects(() => sgd.save(), 'RoundError', /disposed/)
  })

  test('arrays first, tensors later: the momentum goes along, and does not come back', async () => {
    const { sgd, compressor } = await on({}, RATES)
    const cpu = await off(RATES)
    const [x, y] = [arrays(1), arrays(1)]
    sgd.apply(x, arrays(2))
    cpu.sgd.apply(y, arrays(2))
    assert.equal(x, y)
    const xs = layTensors(device, x, 'one buffer', 'f32')
    await sgd.apply(xs, layTensors(device, arrays(3), 'one buffer', 'f32'))
    cpu.sgd.apply(y, arrays(3))
    for (const [i, got] of (await back(xs, xs))[0].entries()) within(got, y[i]!, () => 1e-5)
    assert.throws(() => sgd.apply(x, arrays(4)), /"parameters": .* the momentum is on the GPU/)
    assert.equal(
      x,
      arrays(1).map((_, i) => x[i]!),
    )
    compressor.dispose()
    cpu.compressor.dispose()
  })

  test('a step has one dispatch more than the compressor’s, and as many readbacks', async () => {
    const shapes = [[64, 32], [64], [128, 96], [10, 128], [12]]
    const draw = (seed: number) =>
      [2048, 64, 12288, 1280, 12].map((length, i) => gaussian(length, 100 * seed + i))
    const fresh = await another()
    const { counts, reset } = audit(fresh)
    const compressor = await createCompressor(shapes, { backend: await webgpu({ device: fresh }) })
    const sgd = await createSgd(compressor, RATES)
    const xs = layTensors(fresh, draw(1), 'one buffer', 'f32')
    const gs = layTensors(fresh, draw(2), 'one buffer', 'f32')
    const strewn = [3, 4].map((seed) => layTensors(fresh, draw(seed), 'scattered', 'f32'))
    const both = () => layTensors(fresh, [...draw(1), ...draw(2)], 'one buffer', 'f32')
    const together = both()
    const steps = async (count: number) => {
      for (let i = 0; i < count; i++) {
        await sgd.step(xs, gs, alone)
        await sgd.step(strewn[0]!, strewn[1]!, alone)
        await sgd.step(together.slice(0, 5), together.slice(5), alone)
      }
    }
    await steps(2)
    // A gradient far larger than the residual makes room for a copy of all of it, once.
    const large = draw(9).map((x) => x.map((value) => 1000 * value))
    await compressor.step(layTensors(fresh, large, 'scattered', 'f32'), alone)
    const { buffers, bufferBytes } = counts
    await steps(20)
    assert.is(counts.buffers, buffers)
    assert.is(counts.bufferBytes, bufferBytes)
    reset()
    await compressor.step(gs, alone)
    const { copies } = counts
    reset()
    await sgd.step(xs, gs, alone)
    assert.is(counts.dispatches, 5 + 1, JSON.stringify(counts.passes))
    assert.is(counts.passes.momentum, 1)
    assert.is(counts.readbacks, 2)
    assert.is(counts.copies, copies)
    reset()
    sgd.learningRate = 0.05
    await sgd.apply(xs, gs)
    assert.is(counts.submits, 1)
    assert.is(counts.writes, 1)
    assert.is(counts.dispatches, 1)
    assert.is(counts.readbacks, 0)
    reset()
    await sgd.apply(together.slice(0, 5), together.slice(5))
    assert.is(counts.dispatches, 1)
    assert.is(counts.copies, 5) // the update, through the staging buffer
    compressor.dispose()
    assert.is(counts.buffers, 1 + 1 + 5 + 5 + 1 + 5) // the tensors'
    fresh.destroy()
  })

  test('what does not fit is named, and nothing has been sent or changed', async () => {
    const { sgd, compressor } = await on({}, RATES)
    const cpu = await off(RATES)
    const x = layTensors(device, arrays(1), 'one buffer', 'f32') as GpuTensor[]
    const g = layTensors(device, arrays(2), 'one buffer', 'f32') as GpuTensor[]
    const at = (tensors: readonly GpuTensor[], i: number, entry: object): Tensor[] =>
      tensors.map((tensor, k) => (k === i ? ({ ...tensor, ...entry } as GpuTensor) : tensor))
    const of = (usage: number) => device.createBuffer({ size: 4 * LENGTHS[1]!, usage })
    const bare = of(USAGE.COPY_DST)
    const source = of(USAGE.COPY_SRC)
    const bound = of(USAGE.STORAGE)
    const cases: [readonly Tensor[], readonly Tensor[], string, RegExp][] = [
      [
        at(x, 2, { type: 'f16' }),
        g,
        'RangeError',
        /"parameters\[2\]\.type": expected 'f32', got 'f16'/,
      ],
      [
        x,
        at(g, 3, { type: 'f16' }),
        'RangeError',
        /"(update|gradients)\[3\]\.type": expected 'f32'/,
      ],
      [x.slice(1), g, 'RangeError', /"parameters": expected 7 entries, got 6/],
      [x, at(g, 1, { offset: 2 }), 'RangeError', /"(update|gradients)\[1\]\.offset"/],
      [
        at(x, 5, { buffer: bound }),
        g,
        'RangeError',
        /"parameters\[5\]\.buffer": expected \d+ bytes/,
      ],
      [arrays(1), g, 'TypeError', /"(update|gradients)": expected arrays, as parameters/],
      [x, arrays(2), 'TypeError', /"(update|gradients)": expected GPU buffers, as parameters/],
      [
        at(x, 1, { buffer: bare, offset: 0 }),
        g,
        'TypeError',
        /"parameters\[1\]\.buffer": .*COPY_SRC and/,
      ],
      [at(x, 1, { buffer: source, offset: 0 }), g, 'TypeError', /"parameters\[1\]\.buffer"/],
      [x, at(g, 1, { buffer: bare, offset: 0 }), 'TypeError', /"(update|gradients)\[1\]\.buffer"/],
      [
        at(x, 1, { buffer: bound, offset: 0 }),
        at(g, 1, { buffer: bound, offset: 0 }),
        'TypeError',
        /"(update|gradients)\[1\]\.buffer": .* STORAGE apart from the other tensor/,
      ],
    ]
    const fail = () => assert.unreachable('sent')
    for (const [parameters, update, name, message] of cases) {
      await rejects(async () => sgd.apply(parameters, update), name, message)
      await rejects(() => sgd.step(parameters, update, fail as never), name, message)
      assert.is(compressor.stats.round, null)
    }
    await rejects(async () => cpu.sgd.apply(x, g), 'TypeError', /"parameters\[0\]".*Float32Array/)
    assert.equal(await back(x, g), [arrays(1), arrays(2)])
    // Bound as they are, they need be nothing else.
    await sgd.apply(at(x, 1, { buffer: bound, offset: 0 }), at(g, 1, { buffer: source, offset: 0 }))
    for (const buffer of [bare, source, bound]) buffer.destroy()
    compressor.dispose()
    cpu.compressor.dispose()
  })

  test("another device's buffer is an exception, and momentum and parameters as they were", async () => {
    const other = await another()
    const { sgd, compressor } = await on({}, RATES)
    const cpu = await off(RATES)
    const y = arrays(1)
    const xs = layTensors(device, arrays(1), 'one buffer', 'f32')
    const gs = layTensors(device, arrays(2), 'one buffer', 'f32')
    await sgd.apply(xs, gs)
    cpu.sgd.apply(y, arrays(2))
    for (const laying of ['one buffer', 'scattered'] as const) {
      const strange = layTensors(other, arrays(3), laying, 'f32')
      await rejects(async () => sgd.apply(xs, strange), 'Error', /WebGPU/)
      await rejects(async () => sgd.apply(strange, gs), 'Error', /WebGPU/)
    }
    await sgd.apply(xs, gs)
    cpu.sgd.apply(y, arrays(2))
    for (const [i, got] of (await back(xs, xs))[0].entries()) within(got, y[i]!, () => 1e-5)
    compressor.dispose()
    cpu.compressor.dispose()
    other.destroy()
  })

  test('a frozen parameter and its momentum are left alone, wherever it lies', async () => {
    for (const laying of LAYINGS) {
      const gpu = await on({}, RATES, 1 << 16)
      const cpu = await off(RATES)
      const y = arrays(1)
      let [xs, gs] = lay(y, arrays(2), laying)
      await gpu.sgd.apply(xs, gs)
      cpu.sgd.apply(y, arrays(2))
      const frozen = [0, 4]
      for (const { compressor } of [gpu, cpu]) {
        const { ranks } = compressor.stats
        compressor.setRank(ranks.map((rank, i) => (frozen.includes(i) ? 'frozen' : rank)))
      }
      const still = frozen.map((i) => y[i]!.slice())
      const without = <T>(list: readonly T[]) =>
        list.map((one, i) => (frozen.includes(i) ? null : one))
      for (const leaveOut of [<T>(list: readonly T[]) => list, without]) {
        const [now] = await back(xs, gs)
        ;[xs, gs] = lay(now, arrays(3), laying)
        await gpu.sgd.apply(leaveOut(xs), leaveOut(gs))
        cpu.sgd.apply(leaveOut(y), leaveOut(arrays(3)))
      }
      const [got] = await back(xs, gs)
      for (const [i, values] of got.entries()) within(values, y[i]!, () => 1e-5)
      for (const [k, i] of frozen.entries()) assert.equal(y[i], still[k])
      const [m, want] = [momentumIn(await gpu.sgd.save()), momentumIn(await cpu.sgd.save())]
      for (const [i, values] of m.entries()) within(values, want[i]!, () => 1e-5)
      gpu.compressor.dispose()
      cpu.compressor.dispose()
    }
  })

  test('calls do not overlap', async () => {
    const { sgd, compressor } = await on({}, RATES)
    const xs = layTensors(device, arrays(1), 'one buffer', 'f32')
    const gs = layTensors(device, arrays(2), 'one buffer', 'f32')
    const first = sgd.apply(xs, gs)
    await rejects(async () => sgd.apply(xs, gs), 'RoundError', /still running/)
    await rejects(() => sgd.save(), 'RoundError', /still running/)
    await first
    const saving = sgd.save()
    await rejects(async () => sgd.apply(xs, gs), 'RoundError', /apply: .*still running/)
    await saving
    const running = sgd.step(xs, gs, alone)
    await rejects(async () => sgd.apply(xs, gs), 'RoundError', /apply: .*still running/)
    await running
    compressor.dispose()
  })

  async function on(options: Options, sgd: SgdOptions, bytes = 1 << 28) {
    const backend = await webgpu({ device: small(device, bytes) })
    const compressor = await createCompressor(SHAPES, { ...OPTIONS, backend, ...options })
    return { compressor, sgd: await createSgd(compressor, sgd) }
  }

  /** By `apply`, with the same updates, to the rounding of each step. */
  async function agrees(laying: (typeof LAYINGS)[number], rates: SgdOptions, bytes?: number) {
    const { learningRate, momentum = 0.9, weightDecay = 0 } = rates
    const gpu = await on({}, rates, bytes)
    const cpu = await off(rates)
    const x = arrays(1)
    const size = x.map((array) => Float64Array.from(array, Math.abs))
    const swing = x.map(({ length }) => new Float64Array(length))
    let [there, gs] = lay(x, arrays(10), laying)
    const steps = 3
    for (let step = 0; step < steps; step++) {
      const update = arrays(10 + step)
      if (laying !== 'together') gs = layTensors(device, update, laying[1], 'f32')
      else if (step > 0) [there, gs] = lay((await back(there, gs))[0], update, laying)
      await gpu.sgd.apply(there, gs)
      cpu.sgd.apply(x, update)
      for (const [i, values] of update.entries()) {
        for (const [j, value] of values.entries()) {
          const d = Math.abs(value) + weightDecay * size[i]![j]!
          swing[i]![j] = momentum === 0 ? 0 : momentum * swing[i]![j]! + d
          size[i]![j] = size[i]![j]! + learningRate * (d + swing[i]![j]!)
        }
      }
    }
    // Seven roundings a step on either side, and those of the three constants.
    const bound = gamma(2 * 10 * steps)
    const [got] = await back(there, gs)
    const [m, want] = [momentumIn(await gpu.sgd.save()), momentumIn(await cpu.sgd.save())]
    assert.is(m.length, momentum === 0 ? 0 : LENGTHS.length)
    for (const i of LENGTHS.keys()) {
      within(got[i]!, x[i]!, (j) => bound * size[i]![j]!)
      if (momentum > 0) within(m[i]!, want[i]!, (j) => bound * swing[i]![j]!)
    }
    gpu.compressor.dispose()
    cpu.compressor.dispose()
  }

  function lay(
    x: readonly Float32Array[],
    g: readonly Float32Array[],
    laying: (typeof LAYINGS)[number],
  ): [Tensor[], Tensor[]] {
    if (laying === 'together') {
      const all = layTensors(device, [...x, ...g], 'unaligned', 'f32')
      return [all.slice(0, x.length), all.slice(x.length)]
    }
    return [layTensors(device, x, laying[0], 'f32'), layTensors(device, g, laying[1], 'f32')]
  }

  /** The values of parameters and updates; asserts that nothing beside them has been written. */
  async function back(
    x: readonly Tensor[],
    g: readonly Tensor[],
  ): Promise<[Float32Array[], Float32Array[]]> {
    const lengths = x.map((_, i) => new Float32Array(LENGTHS[i]!))
    const read = (tensors: readonly Tensor[], all: readonly Float32Array[]) =>
      readTensors(device, tensors, all, 'f32')
    const both = await read([...x, ...g], [...lengths, ...lengths])
    return [both.slice(0, x.length), both.slice(x.length)]
  }

  async function another(): Promise<GPUDevice> {
    const fresh = await openDevice()
    assert.not.type(fresh, 'string')
    return fresh as GPUDevice
  }
}
test.run()

const alone = async (frame: Uint8Array) => frame

async function off(sgd: SgdOptions, options: Options = {}) {
  const compressor = await createCompressor(SHAPES, { ...OPTIONS, ...options })
  return { compressor, sgd: await createSgd(compressor, sgd) }
}

function arrays(seed: number): Float32Array[] {
  return LENGTHS.map((length, i) => gaussian(length, 100 * seed + i))
}

function momentumIn(state: Uint8Array): Float32Array[] {
  const { tensors } = decodeSafetensors(state)
  return [...tensors]
    .filter(([name]) => name.startsWith('momentum/'))
    .map(([, one]) => floatsOf(one))
}

async function rejects(call: () => unknown, name: string, message: RegExp): Promise<void> {
  const error = await Promise.resolve()
    .then(call)
    .then(
      () => null,
      (reason) => reason,
    )
  assert.ok(error, `expected ${name}`)
  assert.is(error.name, name, String(error))
  assert.match(error.message, message)
}
