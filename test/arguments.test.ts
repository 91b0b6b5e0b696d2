// Every function that a door exports, with every argument wrong in every plausible way: an error
// that names the argument, no words of the engine's, and nothing has changed.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import * as baselines from '../src/baselines.ts'
import * as factored from '../src/factored.ts'
import * as frames from '../src/frames.ts'
import * as gossip from '../src/gossip.ts'
import * as lowrank from '../src/index.ts'
import * as kernels from '../src/kernels.ts'
import * as methods from '../src/methods.ts'
import * as threads from '../src/threads.ts'
import * as topology from '../src/topology.ts'
import * as webgpu from '../src/webgpu.ts'

const { aggregate, createCompressor, createSgd, mergeCheckpoints, plan } = lowrank
const { createGossip } = gossip

/** A wrong value, or several; each is given in the place of one good argument. */
interface Argument {
  /** how errors call it: `"name` */
  readonly name: string
  readonly wrong: readonly unknown[]
}

interface Row {
  readonly call: (...args: never[]) => unknown
  /** good arguments, made anew for each call */
  readonly good: () => readonly unknown[]
  /** what is wrong with the argument at each position */
  readonly args: readonly (readonly Argument[])[]
  /** everything that a wrong call might change */
  readonly state?: () => unknown
  /** true: the good call is not made at the end, for it would begin or end something */
  readonly once?: boolean
}

/** Words of engines. No error of this library has them. */
const ENGINE =
  /Cannot |can't |is not iterable|is not a function|undefined is not|null is not|is not defined|not a constructor|Invalid |out of bounds|Reduce of|allocation failed|detached|must be|object is not|BigInt|Unable to|byte length|primitive|symbol to/

const promise = Promise.resolve({})
const bare = Object.create(null)
const foreign = [null, true, 'text', 1n, Symbol('s'), () => 0, promise, new Map(), bare]

const detached = (() => {
  const bytes = new Uint8Array(64)
  structuredClone(bytes, { transfer: [bytes.buffer] })
  return bytes
})()
const NOT_BYTES = [
  undefined,
  ...foreign,
  {},
  [],
  7,
  new Float32Array(4),
  new DataView(new ArrayBuffer(8)),
]

const bytes = (name: string): Argument => ({
  name,
  wrong: [...NOT_BYTES, new Uint8Array(3), detached, detached.buffer, new ArrayBuffer(9)],
})
const listOfBytes = (name: string): Argument => ({
  name,
  wrong: [
    ...[undefined, ...foreign, {}, 7, new Uint8Array(3), new Set([1]), [1].values(), []],
    ...[new Array(2), new Array(2 ** 32 - 1), [null], [[]], ['text'], [Symbol('s')]],
  ],
})
const number = (name: string, ...wrong: unknown[]): Argument => ({
  name,
  wrong: [...foreign, {}, [], [1], '1', new Number(1), Number.NaN, ...wrong],
})
const integer = (name: string, ...wrong: unknown[]): Argument =>
  number(name, undefined, 1.5, -1, 2 ** 53, Number.POSITIVE_INFINITY, ...wrong)
const aFunction = (name: string): Argument => ({
  name,
  wrong: [undefined, ...foreign.filter((value) => typeof value !== 'function'), {}, [], 7],
})
const object = (name: string, ...wrong: unknown[]): Argument => ({
  name,
  wrong: [
    ...foreign.filter((value) => value !== bare),
    7,
    [],
    [1],
    new Date(),
    new Uint8Array(3),
    ...wrong,
  ],
})
/** One row for each option, beside the object itself. */
function options(good: object, wrong: Record<string, readonly unknown[]>, required = false) {
  const all = [object('options', ...(required ? [undefined] : []))]
  all.push({ name: 'nonsense', wrong: [{ ...good, nonsense: 1 }] })
  for (const [name, values] of Object.entries(wrong)) {
    all.push({ name, wrong: values.map((value) => ({ ...good, [name]: value })) })
  }
  return all
}
const numbers = number('').wrong
const integers = integer('').wrong.filter((value) => value !== undefined)
const flags = [...foreign.filter((value) => value !== true), 1, 0, '', {}, []]
const functions = aFunction('').wrong.filter((value) => value !== undefined)
const modules = [...foreign, {}, [], 7, new Uint8Array(8)]
const restores = [
  ...NOT_BYTES.filter((value) => value !== undefined),
  false,
  0,
  '',
  new Uint8Array(3),
]
const backends = [...foreign, {}, [], 7]
/** @param lacking  true: entries may be null */
const gradients = (name: string, lacking = false): Argument => ({
  name,
  wrong: [
    ...[undefined, ...foreign.filter((value) => value !== null), {}, 7, new Float32Array(48)],
    ...[[], new Array(2), [M(), V(), V()], [M(), undefined], [M(), new Float64Array(5)]],
    ...[
      [M(), [1, 2, 3, 4, 5]],
      [M(), new Float32Array(4)],
      [M(), Symbol('s')],
      [M(), 1n],
    ],
    ...[
      [M(), bare],
      [M(), {}],
      [M(), { buffer: new ArrayBuffer(20) }],
      [M(), { activations: 1 }],
    ],
    ...(lacking ? [] : [[M(), null]]),
  ],
})
const shapes: Argument = {
  name: 'shapes',
  wrong: [
    ...[undefined, ...foreign, {}, 7, [], new Set([[3]]), new Array(3), new Array(2 ** 32 - 1)],
    ...[
      [null],
      [7],
      ['6,8'],
      [Object.assign(new Array(2), { 0: 6 })],
      [new Int32Array([6, 8])],
      [[6, 8], undefined],
    ],
    ...[[['6']], [[6n]], [[Symbol('s')]], [[0]], [[-1]], [[1.5]], [[Number.NaN]], [[2 ** 33]]],
    ...[[[2 ** 32, 2 ** 32]], [{}], [{ shape: 6 }], [{ shape: [6], row: 2 }], [new Map()]],
    ...[
      [{ shape: [6], rows: 4 }],
      [{ shape: [6], rows: '2' }],
      [{ shape: [6], rank: 0 }],
      [{ shape: [6], rank: 'thawed' }],
    ],
    ...[[{ shape: [6], name: 1 }], [{ shape: [6], name: '' }], [{ shape: [6], name: null }]],
    ...[
      [
        { shape: [6], name: 'a' },
        { shape: [6], name: 'a' },
      ],
    ],
    ...[[{ shape: [6], compress: 1 }], [{ shape: new Int32Array([6]) }], [promise]],
  ],
}

const SHAPES = [[6, 8], [5]]
const M = () => Float32Array.from({ length: 48 }, (_, i) => Math.sin(i))
const V = () => Float32Array.of(1, 2, 3, 4, 5)
const model = () => [M(), V()]
const own = (frame: Uint8Array) => frame
const topologyOf = {
  name: 'topology',
  wrong: [
    ...[undefined, ...foreign, {}, 7, [], new Set(), new Array(2), [null], [{}], [7]],
    ...[[{ self: '1', neighbours: {} }], [{ self: 1 }], [{ self: 1, neighbours: null }]],
    ...[
      [{ self: 1, neighbours: new Map() }],
      [{ self: 1, neighbours: { 7: 1 } }],
      [{ self: 1n, neighbours: {} }],
    ],
    ...[[{ self: 1, neighbours: { x: 1 } }], [{ self: 1, neighbours: {}, nonsense: 1 }]],
  ],
}

const compressor = await createCompressor(SHAPES, { rank: 2, minCompressionRate: 0 })
await compressor.step(model(), own)
const frame = await (await createCompressor(SHAPES, { rank: 2, minCompressionRate: 0 })).compress(
  model(),
)
const checkpoint = await compressor.save()
const open = await createCompressor(SHAPES, { rank: 2, minCompressionRate: 0 })
await open.compress(model())
const received = await createCompressor([[5]])
await received.compress([V()])
await received.receive(aggregate([await (await createCompressor([[5]])).compress([V()])]))
const optimizer = await createCompressor(SHAPES, { rank: 2, minCompressionRate: 0 })
const sgd = await createSgd(optimizer, { learningRate: 0.1 })
const node = await createGossip(SHAPES, { self: 0, neighbours: { 1: 0.5 } })
const other = await createGossip(SHAPES, { self: 1, neighbours: { 0: 0.5 } })
const toNode = (await other.begin(model())).get(0)!
const opened = await createGossip(SHAPES, { self: 0, neighbours: { 1: 0.5 } })
await opened.begin(model())
opened.giveUp(1)
const sum = frames.createAggregate()
const wasmKernels = await kernels.createWasmKernels({ floats: 64 })

const stateOf = (one: lowrank.Compressor) => async () => {
  const { phase } = { phase: JSON.stringify(one.stats) }
  return one.stats.round === null && one !== received ? [phase, String(await one.save())] : phase
}
const WEIGHTS = [...numbers, -1, Number.POSITIVE_INFINITY, 1e39, 1e-50]
const SCALES = [...numbers, Number.POSITIVE_INFINITY, 1e39]
const DECOMPRESS = { scale: SCALES, accumulate: flags }
const CREATE = {
  rank: [...integers, 0, 65536],
  seed: integers,
  iterations: [...integers, 0, 128],
  minCompressionRate: [...numbers, -1],
  startCompressingAfter: [...numbers, 1.5, -1],
  warmStart: [...flags.slice(1), 'hot'],
  refresh: integers,
  errorFeedback: [...foreign, 1, {}],
  orthonormalize: [...foreign, 1, {}],
  method: [...foreign, {}, 7, [], methods.halfSteps],
  wire: [...foreign, 1, {}, 'f64'],
  sender: integers,
  backend: backends,
  resident: flags,
  random: functions,
}
/** @param restores  of `restore` */
const created = (restores: readonly unknown[]) => ({
  good: () => [SHAPES, {}],
  args: [[shapes], options({}, { ...CREATE, restore: restores })],
})
const none = { good: () => [], args: [options({}, {})] }
const count = one(integer('nodes', 0, 2 ** 17), () => 3)
const matrix: Argument = {
  name: 'a',
  wrong: [undefined, ...foreign, {}, [1], new Float64Array(6), new Float32Array(5)],
}
const A = () => Float32Array.of(1, 2, 3, 4, 5, 7)
const iteration = { iterations: [...integers, 0], tolerance: [...numbers, -1], seed: integers }
const kernel: Argument = { name: 'kernels', wrong: [undefined, ...foreign, {}, [], 7] }
const decomposed = [[kernel], [matrix], [integer('rows', 0)], [integer('cols', 0)]]
const K = kernels.reference
const gammas = [...numbers, 0, -1, 3]

function one(argument: Argument, good: () => unknown) {
  return { good: () => [good()], args: [[argument]] }
}
function optionsOnly(good: object, wrong: Record<string, readonly unknown[]>) {
  return { good: () => [good], args: [options(good, wrong, true)] }
}
/** By door or class, and by name. */
const TABLE: Record<string, Record<string, Row>> = {
  lowrank: {
    aggregate: { call: aggregate, ...one(listOfBytes('frames'), () => [frame]) },
    createAggregate: { call: lowrank.createAggregate, ...none },
    createCompressor: { call: createCompressor, ...created(restores) },
    createSgd: {
      call: createSgd,
      good: () => [compressor, { learningRate: 0 }],
      args: [
        [{ name: 'compressor', wrong: [undefined, ...foreign, {}, 7, createCompressor([[3]])] }],
        options(
          { learningRate: 0.1 },
          {
            learningRate: [...numbers, undefined, -1, Number.POSITIVE_INFINITY, 1e39],
            momentum: [...numbers, -1, 1],
            weightDecay: [...numbers, -1],
            restore: restores,
          },
          true,
        ),
      ],
    },
    mergeCheckpoints: {
      call: mergeCheckpoints,
      ...one(listOfBytes('checkpoints'), () => [checkpoint]),
    },
    plan: { call: plan, ...created(restores.slice(0, -1)) },
    wasm: {
      call: lowrank.wasm,
      good: () => [{}],
      args: [options({}, { relaxed: flags, module: modules, threads: [2] })],
    },
  },
  frames: {
    aggregate: { call: frames.aggregate, ...one(listOfBytes('frames'), () => [frame]) },
    createAggregate: { call: frames.createAggregate, ...none },
    inspect: { call: frames.inspect, ...one(bytes('frame'), () => frame) },
    joinSlices: { call: frames.joinSlices, ...one(listOfBytes('frames'), () => [frame]) },
    payload: { call: frames.payload, ...one(bytes('frame'), () => frame) },
    fromPayload: {
      call: frames.fromPayload,
      good: () => [frames.payload(frame), frame, 1],
      args: [
        [
          {
            name: 'sum',
            wrong: [undefined, ...foreign, {}, 7, [1], new Float64Array(14), new Float32Array(3)],
          },
        ],
        [bytes('frame')],
        [integer('workers', 0, 4097)],
      ],
    },
    splitFrame: {
      call: frames.splitFrame,
      good: () => [frame, 100],
      args: [[bytes('frame')], [integer('maxBytes', 0, 3)]],
    },
  },
  methods: {
    accordion: {
      call: methods.accordion,
      ...optionsOnly(
        { low: 1, high: 2, window: 3 },
        {
          low: [...integers, 0, 2],
          high: [...integers, 0, 65536],
          window: [...integers, 0],
          every: [...integers, 0],
          threshold: [...numbers, 0, Number.POSITIVE_INFINITY],
          scope: [...foreign, 1, 'model'],
          learningRate: functions,
        },
      ),
    },
    accordionDecision: {
      call: methods.accordionDecision,
      good: () => [null, 1, { low: 1, high: 2 }],
      args: [
        [{ name: 'previous', wrong: [undefined, ...foreign.slice(1), {}, '1'] }],
        [{ name: 'current', wrong: [undefined, ...foreign, {}, '1'] }],
        [
          object('rule', undefined),
          ...options(
            { low: 1, high: 2 },
            { low: integers, high: integers, threshold: [...numbers, 0] },
          ).slice(2),
        ],
      ],
    },
    byEnergy: {
      call: methods.byEnergy,
      ...optionsOnly(
        { most: 4, every: 2 },
        {
          fraction: [...numbers, 0, 1],
          least: [...integers, 0],
          most: [...integers, 0, undefined],
          every: [...integers, 0, undefined],
        },
      ),
    },
    dion: {
      call: methods.dion,
      good: () => [{}],
      args: [options({}, { momentum: [...numbers, -1, 1] })],
    },
    energyDecision: {
      call: methods.energyDecision,
      good: () => [[3, 2, 1], 4],
      args: [
        [{ name: 'eigenvalues', wrong: [undefined, null, 7, {}, bare, promise, new Map(), 1n] }],
        [{ name: 'wanted', wrong: [undefined, ...foreign, {}, '1'] }],
      ],
    },
    epfml: { call: methods.epfml, ...none },
    halfSteps: { call: methods.halfSteps, ...none },
    paper: { call: methods.paper, ...none },
    pytorch: { call: methods.pytorch, ...none },
  },
  baselines: {
    bestRank: { call: baselines.bestRank, ...none },
    randomBlock: {
      call: baselines.randomBlock,
      ...optionsOnly({ rank: 1 }, { rank: [...integers, 0, undefined], choose: functions }),
    },
    randomK: {
      call: baselines.randomK,
      ...optionsOnly({ rank: 1 }, { rank: [...integers, 0, undefined], choose: functions }),
    },
    signNorm: {
      call: baselines.signNorm,
      good: () => [{}],
      args: [options({}, { published: flags })],
    },
    topK: {
      call: baselines.topK,
      ...optionsOnly({ ratio: 1 }, { ratio: [...numbers, 0, 2, undefined] }),
    },
    uncompressed: { call: baselines.uncompressed, ...none },
  },
  factored: {
    dad: {
      call: factored.dad,
      ...optionsOnly(
        { samples: 2 },
        {
          samples: [
            ...integers.filter((value) => !Array.isArray(value)),
            0,
            [0],
            ['1'],
            [null],
            new Array(2),
            new Int32Array([1]),
          ],
        },
      ),
    },
    factored: { call: factored.factored, ...none },
    rankDad: {
      call: factored.rankDad,
      good: () => [{}],
      args: [options({}, { iterations: [...integers, 0, 128], threshold: [...numbers, -1, 2] })],
    },
  },
  gossip: {
    choco: {
      call: gossip.choco,
      ...optionsOnly(
        { compression: 'sign', gamma: 1 },
        {
          compression: [
            ...foreign,
            7,
            {},
            [],
            { keep: 0 },
            { keep: '1' },
            { keep: 1, nonsense: 1 },
          ],
          gamma: gammas,
        },
      ),
    },
    createGossip: {
      call: createGossip,
      good: () => [SHAPES, { self: 0 }],
      args: [
        [shapes],
        options(
          { self: 0 },
          {
            self: [...integers, undefined],
            neighbours: [
              ...foreign.filter((value) => value !== bare),
              7,
              [],
              [1],
              { 0: 1 },
              { 1: 0 },
              { 1: '1' },
              { 1: 2 },
              { x: 1 },
              { '-1': 1 },
              { 1: 1n },
            ],
            method: [...foreign, {}, 7, [], methods.halfSteps(), gossip.powerGossip],
            seed: integers,
            wire: [...foreign, 1, {}, 'f64'],
            backend: backends,
            restore: restores,
            random: functions,
          },
          true,
        ),
      ],
    },
    deepSqueeze: {
      call: gossip.deepSqueeze,
      ...optionsOnly(
        { compression: { keep: 0.5 }, gamma: 1 },
        {
          compression: [...foreign, 7, {}, [], { keep: 0 }, { keep: '1' }],
          gamma: gammas,
        },
      ),
    },
    moniqua: {
      call: gossip.moniqua,
      ...optionsOnly(
        { theta: 1 },
        { theta: [...numbers, 0, undefined], gamma: gammas, published: flags },
      ),
    },
    plain: { call: gossip.plain, good: () => [{}], args: [options({}, { gamma: gammas })] },
    planGossip: {
      call: gossip.planGossip,
      good: () => [SHAPES, {}],
      args: [
        [shapes],
        options(
          {},
          {
            method: [...foreign, {}, 7, methods.halfSteps(), gossip.powerGossip],
            neighbours: integers,
            wire: [...foreign, 1, {}, 'f64'],
          },
        ),
      ],
    },
    powerGossip: {
      call: gossip.powerGossip,
      good: () => [{}],
      args: [
        options(
          {},
          {
            rank: [...integers, 0],
            iterations: [...integers, 0, 128],
            gamma: gammas,
            warmStart: flags,
            minCompressionRate: [...numbers, -1],
            published: flags,
          },
        ),
      ],
    },
  },
  topology: {
    complete: { call: topology.complete, ...count },
    ring: { call: topology.ring, ...count },
    star: { call: topology.star, ...count },
    torus: {
      call: topology.torus,
      good: () => [2, 3],
      args: [[integer('rows', 0)], [integer('cols', 0)]],
    },
    metropolis: {
      call: topology.metropolis,
      ...one(
        {
          name: 'adjacency',
          wrong: [
            undefined,
            ...foreign,
            {},
            7,
            [],
            new Set(),
            new Array(2),
            [null],
            [1],
            [new Set()],
            [[1]],
            [['0']],
            [[0]],
            [new Array(2)],
            [[1n]],
          ],
        },
        () => [[1], [0]],
      ),
    },
    isDoublyStochastic: {
      call: topology.isDoublyStochastic,
      ...one(topologyOf, () => topology.ring(3)),
    },
    isSymmetric: { call: topology.isSymmetric, ...one(topologyOf, () => topology.ring(3)) },
    optimalGamma: { call: topology.optimalGamma, ...one(topologyOf, () => topology.ring(3)) },
    spectralGap: { call: topology.spectralGap, ...one(topologyOf, () => topology.ring(3)) },
  },
  kernels: {
    createLayout: { call: kernels.createLayout, ...created(restores.slice(0, -1)) },
    createWasmKernels: {
      call: kernels.createWasmKernels,
      good: () => [{}],
      args: [options({}, { floats: [...integers, 2 ** 31], relaxed: flags })],
    },
    wasm: {
      call: kernels.wasm,
      good: () => [{}],
      args: [options({}, { relaxed: flags, module: modules })],
    },
    qr: {
      call: kernels.qr,
      good: () => [K, A(), 3, 2, {}],
      args: [...decomposed, options({}, { seed: integers })],
    },
    powerIteration: {
      call: kernels.powerIteration,
      good: () => [K, A(), 3, 2, {}],
      args: [...decomposed, options({}, { components: [...integers, 0, 3], ...iteration })],
    },
    orthogonalIteration: {
      call: kernels.orthogonalIteration,
      good: () => [K, A(), 3, 2, 1, {}],
      args: [
        ...decomposed,
        [integer('rank', 0, 3)],
        options(
          {},
          { start: [...matrix.wrong.slice(1), Float32Array.of(Number.NaN, 1)], ...iteration },
        ),
      ],
    },
    svd: {
      call: kernels.svd,
      good: () => [K, A(), 3, 2, 1, {}],
      args: [
        ...decomposed,
        [integer('rank', 0, 3)],
        options({}, { oversampling: integers, ...iteration }),
      ],
    },
  },
  threads: {
    wasm: {
      call: threads.wasm,
      ...optionsOnly(
        { threads: 1 },
        { threads: [...integers, 0, 65, undefined], relaxed: flags, module: modules },
      ),
    },
  },
  webgpu: {
    best: { call: webgpu.best, ...none },
    createWebgpuKernels: {
      call: webgpu.createWebgpuKernels,
      ...one({ name: 'backend', wrong: [undefined, ...backends] }, () => kernels.wasm()),
    },
    webgpu: {
      call: webgpu.webgpu,
      good: () => [{}],
      args: [options({}, { device: [...foreign, {}, 7, []], software: flags })],
      once: true, // there may be no GPU here
    },
  },
  Compressor: {
    abort: { call: () => compressor.stats, good: () => [], args: [] },
    adopt: {
      call: (x) => compressor.adopt(x),
      ...one(bytes('checkpoint'), () => checkpoint),
      state: stateOf(compressor),
      once: true,
    },
    compress: {
      call: (...args) => compressor.compress(...(args as [never])),
      good: () => [model(), {}],
      args: [[gradients('gradients', true)], options({}, { weight: WEIGHTS })],
      state: stateOf(compressor),
      once: true,
    },
    compressSync: {
      call: (...args) => compressor.compressSync(...(args as [never])),
      good: () => [model(), {}],
      args: [[gradients('gradients', true)], options({}, { weight: WEIGHTS })],
      state: stateOf(compressor),
      once: true,
    },
    decompress: {
      call: (...args) => received.decompress(...(args as [never])),
      good: () => [[V()], {}],
      args: [
        [{ name: 'into', wrong: [undefined, ...foreign.slice(1), [], [M()], [[1]], [bare]] }],
        options({}, DECOMPRESS),
      ],
      state: stateOf(received),
      once: true,
    },
    decompressSync: {
      call: (...args) => received.decompressSync(...(args as [never])),
      good: () => [[V()], {}],
      args: [
        [{ name: 'into', wrong: [undefined, ...foreign.slice(1), [], [M()], [[1]], [bare]] }],
        options({}, DECOMPRESS),
      ],
      state: stateOf(received),
      once: true,
    },
    dispose: { call: () => 0, good: () => [], args: [] },
    join: {
      call: (x) => compressor.join(x as never),
      ...one(bytes('checkpoint'), () => checkpoint),
      state: stateOf(compressor),
    },
    receive: {
      call: (x) => open.receive(x as never),
      ...one(bytes('mean'), () => frame),
      state: stateOf(open),
      once: true,
    },
    receiveSync: {
      call: (x) => open.receiveSync(x as never),
      ...one(bytes('mean'), () => frame),
      state: stateOf(open),
      once: true,
    },
    rescaleResidual: {
      call: (x) => compressor.rescaleResidual(x as never),
      ...one(number('factor', undefined, Number.POSITIVE_INFINITY, 1e39), () => 1),
      state: stateOf(compressor),
    },
    residualNorm: { call: () => compressor.residualNorm(), good: () => [], args: [] },
    save: {
      call: (x) => compressor.save(x as never),
      good: () => [{}],
      args: [options({}, { residual: flags })],
      state: stateOf(compressor),
    },
    setRank: {
      call: (x) => compressor.setRank(x as never),
      ...one(
        {
          name: 'rank',
          wrong: [
            undefined,
            ...foreign,
            {},
            '2',
            0,
            -1,
            1.5,
            65536,
            [],
            [1],
            ['1', 1],
            new Array(2),
            [1n, 1],
            new Uint8Array(2),
          ],
        },
        () => [2, 0],
      ),
      state: stateOf(compressor),
    },
    step: {
      call: (...args) => compressor.step(...(args as [never, never])),
      good: () => [model(), own, {}],
      args: [
        [gradients('(into|gradients)')],
        [aFunction('exchange')],
        options(
          {},
          { weight: WEIGHTS, ...DECOMPRESS, into: gradients('into', true).wrong.slice(1) },
        ),
      ],
      state: stateOf(compressor),
    },
  },
  Sgd: {
    apply: {
      call: (...args) => sgd.apply(...(args as [never, never])),
      good: () => [model(), model()],
      args: [
        [gradients('parameters'), { name: 'parameters', wrong: [null] }],
        [gradients('update'), { name: 'update', wrong: [null] }],
      ],
    },
    save: {
      call: (x) => sgd.save(x as never),
      good: () => [{}],
      args: [options({}, { residual: flags })],
    },
    step: {
      call: (...args) => sgd.step(...(args as [never, never, never])),
      good: () => [model(), model(), own, {}],
      args: [
        [gradients('parameters'), { name: 'parameters', wrong: [null] }],
        [gradients('gradients'), { name: 'gradients', wrong: [null] }],
        [aFunction('exchange')],
        options({}, { weight: WEIGHTS }),
      ],
      state: stateOf(optimizer),
    },
  },
  Gossip: {
    addNeighbour: {
      call: (...args) => node.addNeighbour(...(args as [never, never])),
      good: () => [1, 0.5],
      args: [
        [{ name: 'neighbour', wrong: [undefined, ...integers] }],
        [{ name: 'neighbours', wrong: [undefined, ...numbers, 0, -1, 2] }],
      ],
      state: () => String(node.save()),
    },
    apply: {
      call: (x) => opened.apply(x as never),
      good: () => [model()],
      args: [[gradients('parameters'), { name: 'parameters', wrong: [null] }]],
      once: true,
    },
    applySync: {
      call: (x) => opened.applySync(x as never),
      good: () => [model()],
      args: [[gradients('parameters'), { name: 'parameters', wrong: [null] }]],
      once: true,
    },
    begin: {
      call: (...args) => node.begin(...(args as [never])),
      good: () => [model(), {}],
      args: [
        [gradients('parameters'), { name: 'parameters', wrong: [null] }],
        options({}, { step: [...integers, 2 ** 32] }),
      ],
      state: () => String(node.save()),
      once: true,
    },
    beginSync: {
      call: (...args) => node.beginSync(...(args as [never])),
      good: () => [model(), {}],
      args: [
        [gradients('parameters'), { name: 'parameters', wrong: [null] }],
        options({}, { step: [...integers, 2 ** 32] }),
      ],
      state: () => String(node.save()),
      once: true,
    },
    dispose: { call: () => 0, good: () => [], args: [] },
    giveUp: {
      call: (x) => opened.giveUp(x as never),
      ...one({ name: 'neighbour', wrong: [undefined, ...integers, 7] }, () => 1),
    },
    receive: {
      call: (...args) => opened.receive(...(args as [never, never])),
      good: () => [1, toNode],
      args: [[{ name: 'neighbour', wrong: [undefined, ...integers, 7] }], [bytes('frame')]],
      state: () => String(opened.waiting),
    },
    removeNeighbour: {
      call: (x) => node.removeNeighbour(x as never),
      ...one({ name: 'neighbour', wrong: [undefined, ...integers, 7] }, () => 1),
      state: () => String(node.save()),
      once: true,
    },
    save: { call: () => node.save(), good: () => [], args: [] },
  },
  objects: {
    'Aggregate.add': {
      call: sum.add,
      ...one(bytes('frame'), () => frame),
      state: () => sum.weight,
      once: true,
    },
    'Backend.open': {
      call: (x) => kernels.wasm().open(x as never),
      ...one({ name: 'layout', wrong: [undefined, ...foreign, {}, 7, [], SHAPES] }, () =>
        kernels.createLayout(SHAPES),
      ),
    },
    'Plan.received': { call: plan(SHAPES).received, ...one(integer('workers', 0), () => 2) },
    'Sgd.learningRate': {
      call: (x) => {
        sgd.learningRate = x
      },
      ...one(number('learningRate', undefined, -1, Number.POSITIVE_INFINITY, 1e39), () => 0),
      state: () => sgd.learningRate,
    },
    'WasmKernels.alloc': { call: wasmKernels.alloc, ...one(integer('floats', 65), () => 8) },
    'WasmKernels.reserve': {
      call: wasmKernels.reserve,
      ...one(integer('floats', 2 ** 31), () => 8),
    },
  },
}

/** Methods that are no user's. */
const INTERNAL = ['constructor', 'runExclusive']

const test = suite('arguments of all doors')

test('the table has every function that a door exports, and every method of its classes', () => {
  const doors = {
    lowrank,
    frames,
    methods,
    baselines,
    factored,
    gossip,
    topology,
    kernels,
    threads,
    webgpu,
  }
  for (const [door, exported] of Object.entries(doors)) {
    const functions = Object.entries(exported).filter(
      // Errors are made by the library.
      ([, value]) => typeof value === 'function' && !(value.prototype instanceof Error),
    )
    assert.equal(Object.keys(TABLE[door]!).sort(), functions.map(([name]) => name).sort(), door)
  }
  for (const [name, one] of Object.entries({ Compressor: compressor, Sgd: sgd, Gossip: node })) {
    const { prototype } = one.constructor
    const methods = Object.getOwnPropertyNames(prototype).filter((method) => {
      const { value } = Object.getOwnPropertyDescriptor(prototype, method)!
      return typeof value === 'function' && !INTERNAL.includes(method)
    })
    assert.equal(Object.keys(TABLE[name]!).sort(), methods.sort(), name)
  }
})

for (const [group, rows] of Object.entries(TABLE)) {
  for (const [name, row] of Object.entries(rows)) {
    test(`${group}: ${name}`, async () => {
      const before = await row.state?.()
      for (const [at, kinds] of row.args.entries()) {
        for (const { name: argument, wrong } of kinds) {
          for (const value of wrong) {
            const args = [...row.good()]
            args[at] = value
            await refuses(row.call, args, argument)
          }
        }
      }
      assert.equal(await row.state?.(), before, 'the state')
      if (!row.once) await row.call(...(row.good() as never[]))
    })
  }
}

test.run()

/** Checks the error of a call with a wrong argument. */
async function refuses(call: Row['call'], args: unknown[], name: string): Promise<void> {
  let error: unknown
  try {
    const result = await call(...(args as never[]))
    assert.unreachable(`${name}: ${text(args)}: accepted, and returned ${text(result)}`)
  } catch (thrown) {
    error = thrown
  }
  if (error instanceof assert.Assertion) throw error
  const { message } = error as Error
  const what = `${name}: ${text(args)}: ${error}`
  const kinds = [TypeError, RangeError, lowrank.FrameError]
  assert.ok(
    kinds.some((kind) => error instanceof kind),
    what,
  )
  assert.not.match(message, ENGINE, what)
  // Bytes that are no frame or no checkpoint are named by what is wrong in them.
  if (error instanceof lowrank.FrameError || message.startsWith('safetensors: ')) return
  assert.match(message, new RegExp(`"${name}\\b`), what)
}

function text(value: unknown): string {
  if (Array.isArray(value)) return `[${Array.from(value.slice(0, 4), text).join(', ')}]`
  if (
    typeof value === 'object' &&
    value !== null &&
    Object.getPrototypeOf(value) === Object.prototype
  ) {
    return `{ ${Object.entries(value)
      .map(([key, one]) => `${key}: ${text(one)}`)
      .join(', ')
      .slice(0, 200)} }`
  }
  return typeof value === 'object' && value !== null
    ? Object.prototype.toString.call(value)
    : String(value)
}
