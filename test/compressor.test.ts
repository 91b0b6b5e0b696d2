// The facade's contract: which call is allowed when, what is refused and how, and the forms that
// one call has. What a step computes: step.test.ts; over many steps: books.test.ts.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  aggregate,
  type Backend,
  type Compressor,
  createCompressor,
  FrameError,
  type Options,
  type Random,
  RoundError,
  UnsupportedError,
  wasm,
} from '../src/index.ts'
import type { Session } from '../src/seam.ts'
import {
  gradientsOf,
  open,
  residualsOf,
  sameBytes,
  sameFloats,
  stepTogether,
  UNIT,
  within,
} from './support/fleet.ts'

const test = suite('compressor')

const SHAPES = [[6, 8], [5], [3, 4, 2]]
const OPTIONS: Options = { rank: 2, minCompressionRate: 0 }
const make = (options: Options = {}) => createCompressor(SHAPES, { ...OPTIONS, ...options })
const gradients = (seed = 1) => gradientsOf(SHAPES, seed)
const zeros = () => gradients().map(({ length }) => new Float32Array(length))

/** The error that a call throws or rejects with. */
async function errorOf(call: () => unknown): Promise<Error> {
  try {
    await call()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}

// Order of calls

const PHASES: Record<string, (worker: Compressor) => Promise<unknown>> = {
  idle: async () => {},
  'round 0': (worker) => worker.compress(gradients()),
  'round 1': async (worker) => worker.receive(aggregate([await worker.compress(gradients())])),
  received: async (worker) => {
    let frame: Uint8Array | null = await worker.compress(gradients())
    while (frame) frame = await worker.receive(aggregate([frame]))
  },
  disposed: async (worker) => worker.dispose(),
}

const CALLS: Record<string, (worker: Compressor, state: Uint8Array) => unknown> = {
  compress: (worker) => worker.compress(gradients()),
  compressSync: (worker) => worker.compressSync(gradients()),
  receive: (worker) => worker.receive(new Uint8Array(64)),
  receiveSync: (worker) => worker.receiveSync(new Uint8Array(64)),
  decompress: (worker) => worker.decompress(null),
  decompressSync: (worker) => worker.decompressSync(null),
  step: (worker) => worker.step(gradients(), (frame) => aggregate([frame])),
  abort: (worker) => worker.abort(),
  save: (worker) => worker.save(),
  join: (worker, state) => worker.join(state),
  adopt: (worker, state) => worker.adopt(state),
  setRank: (worker) => worker.setRank(1),
  rescaleResidual: (worker) => worker.rescaleResidual(2),
}

const BETWEEN = ['compress', 'compressSync', 'step', 'save', 'join', 'adopt', 'setRank']
const ALLOWED: Record<string, readonly string[]> = {
  idle: [...BETWEEN, 'rescaleResidual'],
  'round 0': ['receive', 'receiveSync', 'abort'],
  'round 1': ['receive', 'receiveSync', 'abort'],
  received: ['decompress', 'decompressSync'],
  disposed: [],
}

for (const [phase, reach] of Object.entries(PHASES)) {
  test(`order of calls: ${phase}`, async () => {
    const state = await (await make()).save()
    for (const [name, call] of Object.entries(CALLS)) {
      const worker = await make()
      await reach(worker)
      const before = worker.stats
      if (ALLOWED[phase]!.includes(name)) {
        // The zeros that receive is given are no frame, but its turn it is.
        if (name.startsWith('receive')) {
          assert.instance(await errorOf(() => call(worker, state)), FrameError)
        } else await call(worker, state)
        continue
      }
      const error = await errorOf(() => call(worker, state))
      assert.instance(error, RoundError, `${name}: ${error}`)
      assert.match(error.message, name === 'step' ? 'compress' : name.replace('Sync', ''))
      assert.equal(worker.stats, before, name)
    }
  })
}

test('refused calls leave the step as it was', async () => {
  const [plain, pestered] = [await make(), await make()]
  const state = await plain.save()
  const finished: Float32Array[][] = []
  for (const worker of [plain, pestered]) {
    const pester = async (phase: string) => {
      if (worker === plain) return
      for (const [name, call] of Object.entries(CALLS)) {
        const fits = ALLOWED[phase]!.includes(name) && !name.startsWith('receive')
        if (!fits) await errorOf(() => call(worker, state))
      }
    }
    let frame: Uint8Array | null = await worker.compress(gradients())
    while (frame) {
      await pester('round 0')
      frame = await worker.receive(aggregate([frame]))
    }
    await pester('received')
    const into = zeros()
    await worker.decompress(into)
    finished.push(into)
  }
  for (const [i, want] of finished[0]!.entries()) sameFloats(finished[1]![i]!, want, 'update')
  sameBytes(await pestered.save(), await plain.save(), 'state')
})

// Bad arguments

type Refusal = [what: string, call: () => unknown, kind: ErrorConstructor, message: RegExp]

async function refuses(
  refusals: readonly Refusal[],
  after: (what: string) => Promise<void> = async () => {},
): Promise<void> {
  for (const [what, call, kind, message] of refusals) {
    const error = await errorOf(call)
    assert.instance(error, kind, `${what}: ${error}`)
    assert.match(error.message, message, what)
    await after(what)
  }
}

test('createCompressor refuses bad shapes and options by name', async () => {
  const shaped = (shapes: unknown) => () => createCompressor(shapes as number[][])
  const with_ = (options: unknown) => () => createCompressor([[2, 2]], options as Options)
  const refusals: Refusal[] = [
    ['no array', shaped('shapes'), TypeError, /"shapes": .*got "shapes"/],
    ['no shape', shaped([]), RangeError, /"shapes": expected at least one/],
    ['null', shaped([[2], null]), TypeError, /"shapes\[1\]": .*got null/],
    ['no numbers', shaped([['2']]), TypeError, /"shapes\[0\]": .*got "2"/],
    ['zero', shaped([[2], [3, 0]]), RangeError, /"shapes\[1\]": .*got 0/],
    ['fraction', shaped([[1.5]]), RangeError, /"shapes\[0\]": .*got 1.5/],
    ['too many', shaped([[2 ** 33]]), RangeError, /"shapes\[0\]"/],
    ['no shape in it', shaped([{ rank: 1 }]), TypeError, /"shapes\[0\]\.shape"/],
    ['rows', shaped([{ shape: [6], rows: 4 }]), RangeError, /"shapes\[0\]\.rows": .*6, got 4/],
    ['own rank', shaped([{ shape: [6, 6], rank: 0 }]), RangeError, /"shapes\[0\]\.rank": .*got 0/],
    ['compress', shaped([{ shape: [6], compress: 1 }]), TypeError, /"shapes\[0\]\.compress"/],
    ['too large for wasm', shaped([[40000, 40000]]), RangeError, /"shapes": .*4 GiB/],
    ['options', with_(3), TypeError, /"options": .*got 3/],
    ['unknown', with_({ ranks: 3 }), TypeError, /"ranks": no such option/],
    ['rank', with_({ rank: 0 }), RangeError, /"rank": .*got 0/],
    ['rank', with_({ rank: '4' }), TypeError, /"rank": .*got "4"/],
    ['seed', with_({ seed: -1 }), RangeError, /"seed": .*got -1/],
    ['iterations', with_({ iterations: 0.5 }), RangeError, /"iterations": .*got 0.5/],
    ['rate', with_({ minCompressionRate: -1 }), RangeError, /"minCompressionRate": .*got -1/],
    ['rate', with_({ minCompressionRate: NaN }), RangeError, /"minCompressionRate": .*got NaN/],
    ['start', with_({ startCompressingAfter: 1.5 }), RangeError, /"startCompressingAfter"/],
    ['warm', with_({ warmStart: 'hot' }), RangeError, /"warmStart": .*got "hot"/],
    ['feedback', with_({ errorFeedback: true }), RangeError, /"errorFeedback": .*got true/],
    ['wire', with_({ wire: 'f64' }), RangeError, /"wire": .*got "f64"/],
    ['sender', with_({ sender: 2 ** 32 }), RangeError, /"sender": .*got 4294967296/],
    ['restore', with_({ restore: 'file' }), TypeError, /"state": .*got "file"/],
    ['restore', with_({ restore: new Uint8Array(3) }), RangeError, /./],
  ]
  await refuses(refusals)
})

test('bad arguments of calls are refused by name, and nothing changes', async () => {
  const worker = await make()
  await stepTogether([worker], [gradients()])
  const before = await worker.save()
  const any = (value: unknown) => value as never
  const with_ = (i: number, array: unknown) =>
    gradients().map((own, k) => (k === i ? any(array) : own)) as Float32Array[]
  const wrong = with_(1, new Float32Array(4))
  const idle: Refusal[] = [
    ['no array', () => worker.compress(any(5)), TypeError, /"gradients": .*got 5/],
    ['undefined', () => worker.compress(any(undefined)), TypeError, /"gradients": .*undefined/],
    ['too few', () => worker.compress(gradients().slice(1)), RangeError, /"gradients": .*3.*got 2/],
    ['length', () => worker.compress(wrong), RangeError, /"gradients\[1\]": .*5.*\[5\].*got 4/],
    [
      'float64',
      () => worker.compress(with_(2, new Float64Array(24))),
      TypeError,
      /"gradients\[2\]": .*got Float64Array/,
    ],
    [
      'weight',
      () => worker.compress(gradients(), { weight: -1 }),
      RangeError,
      /"weight": .*got -1/,
    ],
    ['weight', () => worker.compress(gradients(), { weight: NaN }), RangeError, /"weight": .*NaN/],
    [
      'weight',
      () => worker.compress(gradients(), { weight: 1e39 }),
      RangeError,
      /"weight": .*1e\+39/,
    ],
    [
      'weight',
      () => worker.compress(gradients(), { weight: 1e-50 }),
      RangeError,
      /"weight": .*1e-50/,
    ],
    ['weight', () => worker.compress(null, { weight: any('1') }), RangeError, /"weight": .*"1"/],
    ['into', () => worker.step(gradients(), any(null), { into: wrong }), RangeError, /"into\[1\]"/],
    ['rank', () => worker.setRank(0), RangeError, /"rank": .*got 0/],
    ['rank', () => worker.setRank(1.5), RangeError, /"rank": .*got 1.5/],
    ['ranks', () => worker.setRank([1, 2]), RangeError, /"rank": .*3 of them.*of 2/],
    ['ranks', () => worker.setRank([1, 2, -1]), RangeError, /"rank\[2\]": .*got -1/],
    ['ranks', () => worker.setRank(any('2')), RangeError, /"rank": .*got "2"/],
    ['factor', () => worker.rescaleResidual(Infinity), RangeError, /"factor": .*got Infinity/],
    ['factor', () => worker.rescaleResidual(1e39), RangeError, /"factor": .*got 1e\+39/],
    ['factor', () => worker.rescaleResidual(any('2')), RangeError, /"factor": .*got "2"/],
    ['join', () => worker.join(any({})), TypeError, /"state": .*got Object/],
    ['adopt', () => worker.adopt(new Uint8Array(9)), RangeError, /./],
  ]
  const stats = worker.stats
  await refuses(idle, async (what) => {
    assert.equal(worker.stats, stats, what)
    sameBytes(await worker.save(), before, `state after a bad ${what}`)
  })
  await PHASES.received!(worker)
  const received: Refusal[] = [
    ['into', () => worker.decompress(wrong), RangeError, /"into\[1\]"/],
    ['into', () => worker.decompress(any(undefined)), TypeError, /"into"/],
    ['scale', () => worker.decompress(null, { scale: NaN }), RangeError, /"scale": .*got NaN/],
    ['scale', () => worker.decompress(null, { scale: 1e39 }), RangeError, /"scale": .*got 1e\+39/],
  ]
  await refuses(received)
  assert.ok((await worker.decompress(zeros())).counted)
})

// Means

test('a mean that is not the awaited one is refused, with the byte', async () => {
  const [worker, other] = [await make({ sender: 1 }), await make({ sender: 2, seed: 9 })]
  const first = await worker.compress(gradients())
  const mean = aggregate([first])
  const foreign = aggregate([await other.compress(gradients())])
  const stats = worker.stats
  const spoilt = mean.slice()
  spoilt[100]! ^= 1
  for (const [bytes, message] of [
    [spoilt, /checksum/],
    [mean.subarray(0, 40), /at least 64 bytes/],
    [mean.subarray(0, mean.length - 4), /length/],
    [foreign, /layout/],
  ] as const) {
    const error = await errorOf(() => worker.receive(bytes))
    assert.instance(error, FrameError)
    assert.match(error.message, message)
    assert.type((error as FrameError).byte, 'number')
    assert.equal(worker.stats, stats)
  }
  const second = await worker.receive(mean)
  const again = await errorOf(() => worker.receive(mean))
  assert.match(again.message, /round: expected 1, got 0/)
  await worker.receive(aggregate([second!]))
  await worker.decompress(null)
  await worker.compress(gradients())
  assert.match((await errorOf(() => worker.receive(mean))).message, /step: expected 1, got 0/)
})

test('two workers with one number are told so', async () => {
  const workers = [await make(), await make()]
  const frames = await Promise.all(workers.map((worker, i) => worker.compress(gradients(i + 1))))
  const clash = await errorOf(() => aggregate(frames))
  assert.instance(clash, FrameError)
  assert.match(clash.message, /sender 0 occurs twice.*`sender`/)
  // One that sent nothing finds its number in the mean: somebody else has it.
  const silent = await make()
  await silent.compress(null)
  const told = await errorOf(() => silent.receive(aggregate([frames[0]!])))
  assert.instance(told, FrameError)
  assert.match(told.message, /sender 0.*number of its own/)
})

test('workers that disagree on shapes, options or history find out', async () => {
  const frame = async (options: Options, shapes = SHAPES) => {
    const worker = await createCompressor(shapes, { ...OPTIONS, ...options, sender: 1 })
    return worker.compress(gradientsOf(shapes, 1))
  }
  const random: Random = (_use, _parameter, column, _step, length) =>
    Float32Array.from({ length }, (_, i) => (i === column ? 1 : 0))
  const own = await (await make()).compress(gradients())
  for (const [other, message] of [
    [await frame({ seed: 1 }), /layout/],
    [await frame({ iterations: 2 }), /layout/],
    [await frame({ warmStart: false }), /layout/],
    [await frame({}, [[8, 6], [5], [3, 4, 2]]), /layout/],
    [await frame({ rank: 1 }), /parent|rank/],
    [await frame({ random }), /parent/],
  ] as const) {
    const error = await errorOf(() => aggregate([own, other]))
    assert.instance(error, FrameError)
    assert.match(error.message, message)
  }
  aggregate([own, await frame({ wire: 'int8' })]) // each worker's own affair
})

test('weights are rounded to float32, and their sum is in the outcome', async () => {
  const workers = [await make({ sender: 7 }), await make({ sender: 3 })]
  const { frames, outcomes } = await stepTogether(workers, [gradients(1), gradients(2)], [0.1, 0.2])
  assert.is(open(frames[0]![0]!).weight, Math.fround(0.1))
  const weight = Math.fround(0.1) + Math.fround(0.2)
  for (const outcome of outcomes) assert.equal(outcome, { counted: true, senders: [3, 7], weight })
})

// The forms of a call

test('the synchronous calls give the same bytes', async () => {
  const [one, two] = [await make({ wire: 'f16' }), await make({ wire: 'f16' })]
  for (let step = 0; step < 3; step++) {
    let a: Uint8Array | null = await one.compress(gradients(step + 1), { weight: 3 })
    let b: Uint8Array | null = two.compressSync(gradients(step + 1), { weight: 3 })
    while (a && b) {
      sameBytes(b, a, 'frame')
      const mean = aggregate([a])
      a = await one.receive(mean)
      b = two.receiveSync(mean)
    }
    const [x, y] = [zeros(), zeros()]
    assert.equal(two.decompressSync(y), await one.decompress(x))
    for (const [i, want] of x.entries()) sameFloats(y[i]!, want, 'update')
  }
  sameBytes(await two.save(), await one.save(), 'state')
})

test('step is the loop, over the gradients or elsewhere', async () => {
  const [loop, one, two] = [await make(), await make(), await make()]
  const want = (await stepTogether([loop], [gradients()], [2])).updates[0]!
  const exchange = (frame: Uint8Array) => aggregate([frame])
  const g = gradients()
  const outcome = await one.step(g, async (frame) => exchange(frame), { weight: 2 })
  assert.equal(outcome, { counted: true, senders: [0], weight: 2 })
  for (const [i, update] of want.entries()) sameFloats(g[i]!, update, 'update')
  const into = zeros()
  const kept = gradients()
  await two.step(kept, exchange, { weight: 2, into, scale: -0.5, accumulate: true })
  for (const [i, update] of want.entries()) {
    sameFloats(
      into[i]!,
      update.map((x) => -0.5 * x),
      'update',
    )
    sameFloats(kept[i]!, gradients()[i]!, 'gradient')
  }
})

test('an exchange that fails leaves the step open, to go on with or to abort', async () => {
  const fail = () => Promise.reject(new Error('the line is dead'))
  const [late, given, plain] = [await make(), await make(), await make()]
  let sent: Uint8Array | undefined
  const error = await errorOf(() =>
    late.step(gradients(), (frame) => {
      sent = frame
      return fail()
    }),
  )
  assert.is(error.message, 'the line is dead')
  assert.is(late.stats.round, 0)
  const next = await late.receive(aggregate([sent!]))
  assert.is(await late.receive(aggregate([next!])), null)
  await late.decompress(null)
  await stepTogether([plain], [gradients()])
  sameBytes(await late.save(), await plain.save(), 'state')

  await errorOf(() => given.step(gradients(), fail))
  given.abort()
  for (const [i, e] of (await residualsOf(given)).entries()) {
    sameFloats(e, gradients()[i]!, 'residual of an aborted step')
  }
  assert.equal([given.stats.step, given.stats.aborted], [1, 1])
})

test('decompress writes, scales, adds, or does without', async () => {
  const workers = await Promise.all([make(), make(), make(), make()])
  const plain = (await stepTogether([workers[0]!], [gradients()])).updates[0]!
  const start = gradients(9)
  const intos = [zeros(), gradients(9), null]
  const ways = [{ scale: -3 }, { scale: 0.1, accumulate: true }, {}]
  for (const [i, way] of ways.entries()) {
    const worker = workers[i + 1]!
    await PHASES.received!(worker)
    assert.ok(worker.updateNorm! > 0)
    const outcome = await worker.decompress(intos[i]!, way)
    assert.equal(outcome, { counted: true, senders: [0], weight: 1 })
    for (const [p, e] of (await residualsOf(workers[0]!)).entries()) {
      sameFloats((await residualsOf(worker))[p]!, e, 'residual')
    }
  }
  for (const [p, update] of plain.entries()) {
    const size = (j: number) => 3 * Math.abs(update[j]!) + Math.abs(start[p]![j]!)
    // The update before and after scaling is rounded 2r + 2 times at most, from Σ|p||q| ≤ 8.
    const bound = (j: number) => 6 * UNIT * (size(j) + 8)
    within(
      intos[0]![p]!,
      update.map((x) => -3 * x),
      bound,
      'scaled',
    )
    within(
      intos[1]![p]!,
      update.map((x, j) => start[p]![j]! + 0.1 * x),
      bound,
      'added',
    )
  }
})

test('updateNorm is there from the last mean to the next step', async () => {
  const worker = await make()
  assert.is(worker.updateNorm, null)
  const { updates } = await stepTogether([worker], [gradients()])
  const norm = Math.hypot(...updates[0]!.flatMap((x) => [...x]))
  assert.ok(Math.abs(worker.updateNorm! - norm) <= 1e-6 * norm)
  await worker.compress(gradients(2))
  assert.is(worker.updateNorm, null)
})

test('the caller may use its frames and means as it likes', async () => {
  const [worker, plain] = [await make(), await make()]
  const frame = await worker.compress(gradients())
  const mean = aggregate([frame])
  frame.fill(7)
  // At any alignment, and overwritten once it has been received.
  const odd = new Uint8Array(mean.length + 3).subarray(3)
  odd.set(mean)
  const second = await worker.receive(odd)
  odd.fill(7)
  const last = aggregate([second!])
  second!.fill(7)
  await worker.receive(last)
  const into = zeros()
  await worker.decompress(into)
  const { updates } = await stepTogether([plain], [gradients()])
  for (const [i, want] of updates[0]!.entries()) sameFloats(into[i]!, want, 'update')
})

// Backends

/** The wasm backend as one that has to be waited for. */
function later(): Backend {
  return {
    name: 'later',
    async open(plan) {
      const session = await wasm().open(plan)
      const slowly = async <T>(value: T): Promise<T> => {
        await new Promise((resolve) => setTimeout(resolve, 1))
        return value
      }
      const slow: Session = {
        accumulateProject: async (g) => slowly(await session.accumulateProject(g)),
        withdraw: async (g) => slowly(await session.withdraw(g)),
        project: async () => slowly(await session.project()),
        backproject: async () => slowly(await session.backproject()),
        settle: async (...args) => slowly(await session.settle(...args)),
        read: async (slots, into) => slowly(await session.read(slots, into)),
        write: (slot, values) => session.write(slot, values),
        scale: (slot, factor) => session.scale(slot, factor),
        replan: (plan) => session.replan(plan),
        dispose: () => session.dispose(),
      }
      return slow
    },
  }
}

test('a backend that takes its time gives the same bytes', async () => {
  const [fast, slow] = [await make(), await make({ backend: later() })]
  for (let step = 0; step < 2; step++) {
    const a = await stepTogether([fast], [gradients(step)])
    const b = await stepTogether([slow], [gradients(step)])
    for (const [i, [frame]] of a.frames.entries()) sameBytes(b.frames[i]![0]!, frame!, 'frame')
    for (const [i, want] of a.updates[0]!.entries()) sameFloats(b.updates[0]![i]!, want, 'update')
  }
  sameBytes(await slow.save(), await fast.save(), 'state')
})

test('a second call while one is running is refused; the first goes on', async () => {
  const [worker, plain] = [await make({ backend: later() }), await make()]
  const state = await plain.save()
  const running = worker.compress(gradients())
  for (const [name, call] of Object.entries(CALLS)) {
    const error = await errorOf(() => call(worker, state))
    assert.instance(error, RoundError, name)
    assert.match(error.message, /still running/, name)
  }
  sameBytes(await running, await plain.compress(gradients()), 'frame')
})

test('synchronous calls need a backend that is synchronous', async () => {
  const worker = await make({ backend: later() })
  const before = await worker.save()
  assert.instance(await errorOf(() => worker.compressSync(gradients())), UnsupportedError)
  sameBytes(await worker.save(), before, 'state')
  const frame = await worker.compress(gradients())
  const mean = aggregate([frame])
  const stats = worker.stats
  assert.instance(await errorOf(() => worker.receiveSync(mean)), UnsupportedError)
  assert.equal(worker.stats, stats)
  const next = aggregate([(await worker.receive(mean))!])
  await worker.receive(next)
  assert.instance(await errorOf(() => worker.decompressSync(null)), UnsupportedError)
  assert.ok((await worker.decompress(null)).counted)
})

test('two compressors on one backend do not meet', async () => {
  const backend = wasm()
  const [a, b] = [await make({ backend }), await make({ backend, seed: 5 })]
  const [c, d] = [await make(), await make({ seed: 5 })]
  for (let step = 0; step < 2; step++) {
    const [x, y] = [await a.compress(gradients(1)), await b.compress(gradients(2))]
    sameBytes(x, await c.compress(gradients(1)), 'frame')
    sameBytes(y, await d.compress(gradients(2)), 'frame')
    for (const worker of [a, b, c, d]) worker.abort()
  }
  a.dispose()
  await b.compress(gradients())
})

test('dispose may come at any time, and more than once', async () => {
  for (const reach of Object.values(PHASES)) {
    const worker = await make()
    await reach(worker)
    worker.dispose()
    worker[Symbol.dispose]()
    assert.instance(await errorOf(() => worker.compress(gradients())), RoundError)
  }
  let seen: Compressor | undefined
  {
    using worker = await make()
    seen = worker
  }
  assert.match((await errorOf(() => seen!.save())).message, /disposed/)
})

test('stats count what happened', async () => {
  const worker = await make()
  const { frames, means } = await stepTogether([worker], [gradients()])
  await stepTogether([worker], [gradients()], [0])
  const last = worker.stats
  const bytes = (list: Uint8Array[]) => list.reduce((sum, { length }) => sum + length, 0)
  // A frame of weight 0 is shorter by its sender, and its mean too.
  assert.is(last.bytesSent, 2 * bytes(frames.flat()) - 8)
  assert.is(last.bytesReceived, 2 * bytes(means) - 8)
  await worker.compress(gradients())
  assert.is(worker.stats.round, 0)
  worker.abort()
  assert.equal(
    { ...worker.stats, bytesSent: 0, bytesReceived: 0 },
    {
      step: 3,
      round: null,
      ranks: [2, 0, 2],
      counted: 1,
      missed: 0,
      absent: { null: 0, weight: 1, gradient: 0, factors: 0 },
      aborted: 1,
      bytesSent: 0,
      bytesReceived: 0,
    },
  )
})

test.run()
