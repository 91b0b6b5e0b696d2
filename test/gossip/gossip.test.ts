// lowrank/gossip: how fast nodes agree, that their mean stays, and the state that both ends of an
// edge share.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { complete, metropolis, ring, torus } from '../../src/gossip/topology.ts'
import {
  choco,
  deepSqueeze,
  type GossipMethod,
  type GossipOptions,
  plain,
  powerGossip,
} from '../../src/gossip.ts'
import { sameFloats, UNIT } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { uniform } from '../support/numbers.ts'
import { readState } from '../support/safetensors.ts'
import { createNet, disagreement, iterate, type Net, sums } from './net.ts'

const SHAPES = [[12, 9], [7], [3, 4, 5], [1, 8]]

const modelsOf = (nodes: number, shapes: readonly (readonly number[])[], seed = 1) =>
  Array.from({ length: nodes }, (_, w) =>
    shapes.map((shape, i) =>
      uniform(
        shape.reduce((a, b) => a * b, 1),
        1000 * seed + 10 * w + i,
      ),
    ),
  )

/** How the nodes of a net see one edge. */
function ends(net: Net, lo: number, hi: number) {
  return [
    [lo, hi],
    [hi, lo],
  ].map(([self, neighbour]) => {
    const { metadata, tensors } = readState(net.nodes[self!]!.save())
    const edges = JSON.parse(metadata.edges!) as {
      neighbour: number
      last: { matrices: number; raws: number }
    }[]
    return { edge: edges.find((edge) => edge.neighbour === neighbour)!, tensors }
  })
}

const test = suite('gossip')

// Σ‖xᵢ − x̄‖² after so many iterations ÷ its first value, by a replica in numpy of the authors'
// program.
const CONSENSUS: readonly [string, GossipMethod, readonly (readonly [number, number])[]][] = [
  [
    'γ = 1',
    powerGossip(),
    [
      [10, 0.897],
      [100, 0.328],
      [500, 2.1e-2],
      [1000, 1.9e-3],
    ],
  ],
  [
    'γ = 1.308',
    powerGossip({ gamma: 1.308 }),
    [
      [10, 0.891],
      [100, 0.303],
      [500, 1.4e-2],
      [1000, 7.5e-4],
    ],
  ],
  [
    'no warm start',
    powerGossip({ warmStart: false }),
    [
      [10, 0.906],
      [100, 0.42],
      [500, 5.7e-2],
      [1000, 8.5e-3],
    ],
  ],
  [
    'two half-steps',
    powerGossip({ iterations: 2 }),
    [
      [10, 0.803],
      [100, 0.127],
      [500, 1.9e-3],
      [1000, 2.4e-5],
    ],
  ],
  [
    'rank 2',
    powerGossip({ rank: 2 }),
    [
      [10, 0.804],
      [100, 0.127],
      [500, 1.9e-3],
      [1000, 2.4e-5],
    ],
  ],
]

for (const [name, method, expected] of CONSENSUS) {
  test(`eight nodes in a ring agree as fast as published: ${name}`, async () => {
    const models = Array.from({ length: 8 }, (_, w) => [gaussian(10_000, w + 1)])
    const net = await createNet(ring(8), [[100, 100]], { method }, models)
    const first = disagreement(models)
    let done = 0
    for (const [iterations, factor] of expected) {
      for (; done < iterations; done++) iterate(net)
      const got = disagreement(models) / first
      assert.ok(Math.abs(got / factor - 1) <= 0.15, `${iterations}: ${got}, expected ${factor}`)
    }
  })
}

for (const [name, options] of [
  ['plain', { method: plain() }],
  ['rank 1', {}],
  [
    'rank 3, two half-steps, γ = 1.2',
    { method: powerGossip({ rank: 3, iterations: 2, gamma: 1.2 }) },
  ],
  ['no warm start', { method: powerGossip({ warmStart: false }) }],
  ['as published', { method: powerGossip({ published: true }) }],
  ['f16', { wire: 'f16' }],
  ['bf16', { wire: 'bf16' }],
  ['int8', { wire: 'int8', method: powerGossip({ rank: 2 }) }],
] as const satisfies readonly (readonly [string, Partial<GossipOptions>])[]) {
  test(`${name}: the sum stays to rounding, and both ends have the same bits`, async () => {
    const models = modelsOf(6, SHAPES)
    const topology = metropolis([[1, 2, 3], [0, 2], [0, 1, 4], [0, 5], [2], [3]])
    const net = await createNet(topology, SHAPES, options, models)
    const [before, first] = [sums(models), disagreement(models)]
    const steps = 30
    for (let t = 0; t < steps; t++) {
      for (const outcomes of iterate(net)) {
        for (const outcome of outcomes.values()) assert.is(outcome, 'exchanged')
      }
      for (const [lo, { neighbours }] of topology.entries()) {
        for (const hi of Object.keys(neighbours).map(Number)) {
          if (hi < lo) continue
          const [one, other] = ends(net, lo, hi)
          const [own, against] = [one!.edge.last, other!.edge.last]
          for (const kind of ['matrices', 'raws'] as const) {
            assert.is(own[kind], 0 - against[kind], 'what one adds the other subtracts')
          }
          const rest = { matrices: 0, raws: 0 }
          assert.equal({ ...own, ...rest }, { ...against, ...rest })
          const mine = [...one!.tensors].filter(([name]) => name.startsWith(`edge${lo}-${hi}/`))
          assert.ok(mine.length > 0)
          for (const [name, { data }] of mine)
            sameFloats(data, other!.tensors.get(name)!.data, name)
        }
      }
    }
    assert.ok(disagreement(models) < 0.6 * first, `${disagreement(models) / first}`)
    // Each node and half-step rounds a sum of x and at most 3 · rank + 1 terms; no number is above
    // 2.
    const off = sums(models).map((sum, j) => Math.abs(sum - before[j]!))
    const bound = steps * 2 * models.length * 16 * UNIT * 2
    assert.ok(Math.max(...off) <= bound, `off by ${Math.max(...off)}, more than ${bound}`)
  })
}

test('plain gossip is multiplication by the mixing matrix', async () => {
  for (const gamma of [1, 0.7]) {
    const models = modelsOf(5, SHAPES)
    const net = await createNet(ring(5), SHAPES, { method: plain({ gamma }) }, models)
    const before = models.map((model) => model.map((x) => x.slice()))
    iterate(net)
    for (const [w, model] of models.entries()) {
      for (const [i, x] of model.entries()) {
        const [left, right] = [before[(w + 4) % 5]![i]!, before[(w + 1) % 5]![i]!]
        for (const [j, value] of x.entries()) {
          const own = before[w]![i]![j]!
          const want = own + (gamma * (left[j]! + right[j]! - 2 * own)) / 3
          assert.ok(Math.abs(value - want) <= 8 * UNIT, `${value}, expected ${want}`)
        }
      }
    }
  }
})

test('Choco and DeepSqueeze that send everything are plain gossip from the first iteration', async () => {
  const options = { compression: { keep: 1 }, gamma: 0.8 }
  for (const method of [choco(options), deepSqueeze(options)]) {
    const [models, like] = [modelsOf(5, SHAPES), modelsOf(5, SHAPES)]
    const net = await createNet(ring(5), SHAPES, { method }, models)
    const whole = await createNet(ring(5), SHAPES, { method: plain({ gamma: 0.8 }) }, like)
    for (let t = 0; t < 6; t++) {
      iterate(net)
      iterate(whole)
      for (const [w, model] of models.entries()) {
        for (const [i, x] of model.entries()) {
          for (const [j, value] of x.entries()) {
            assert.ok(Math.abs(value - like[w]![i]![j]!) <= 32 * UNIT, method.name)
          }
        }
      }
    }
  }
})

test('Choco and DeepSqueeze bring everyone together', async () => {
  for (const [method, steps, most] of [
    [choco({ compression: 'sign', gamma: 0.45 }), 60, 0.01],
    [choco({ compression: { keep: 0.1 }, gamma: 0.1 }), 150, 0.05],
    [deepSqueeze({ compression: { keep: 0.5 }, gamma: 0.2 }), 60, 0.2],
  ] as const) {
    const models = modelsOf(6, SHAPES)
    const net = await createNet(ring(6), SHAPES, { method }, models)
    const [before, first] = [sums(models), disagreement(models)]
    for (let t = 0; t < steps; t++) iterate(net)
    const left = disagreement(models) / first
    assert.ok(left <= most, `${method.name}: ${left} is left`)
    const off = sums(models).map((sum, j) => Math.abs(sum - before[j]!))
    assert.ok(Math.max(...off) <= steps * 6 * 8 * UNIT * 2)
  }
})

test('everyone with everyone, plain: the mean at once', async () => {
  const models = modelsOf(4, SHAPES)
  const mean = sums(models).map((sum) => sum / 4)
  iterate(await createNet(complete(4), SHAPES, { method: plain() }, models))
  for (const model of models) {
    for (const [j, value] of model.flatMap((x) => [...x]).entries()) {
      assert.ok(Math.abs(value - mean[j]!) <= 8 * UNIT)
    }
  }
})

test('a difference of at most rank dimensions is known after two half-steps', async () => {
  for (const rank of [1, 2, 4]) {
    const [rows, cols] = [11, 14]
    const models = modelsOf(2, [[rows, cols]])
    const [u, v] = [gaussian(rows * rank, 5), gaussian(cols * rank, 6)]
    for (let i = 0; i < rows * cols; i++) {
      let sum = models[0]![0]![i]!
      for (let k = 0; k < rank; k++) {
        sum += u[k * rows + Math.floor(i / cols)]! * v[k * cols + (i % cols)]!
      }
      models[1]![0]![i] = sum
    }
    const shapes = [{ shape: [rows, cols], compress: true }]
    const net = await createNet(ring(2), shapes, { method: powerGossip({ rank }) }, models)
    iterate(net)
    const left = models[1]![0]!.map((x, i) => x - models[0]![0]![i]!)
    iterate(net)
    const [{ tensors }] = ends(net, 0, 1) as [ReturnType<typeof ends>[0]]
    const [p, q] = ['p', 'q'].map((name) => tensors.get(`edge0-1/${name}/0`)!.data)
    const size = Math.hypot(...left)
    assert.ok(size > 0.1)
    for (let i = 0; i < rows * cols; i++) {
      let product = 0
      for (let k = 0; k < rank; k++) {
        product += p![k * rows + Math.floor(i / cols)]! * q![k * cols + (i % cols)]!
      }
      assert.ok(Math.abs(product - left[i]!) <= 2e-6 * size, `rank ${rank}: ${product}, ${left[i]}`)
    }
  }
})

test('the smaller of two weights counts, at both ends', async () => {
  const models = modelsOf(2, [[5]])
  const topology = [
    { self: 0.5, neighbours: { 1: 0.5 } },
    { self: 0.75, neighbours: { 0: 0.25 } },
  ]
  const net = await createNet(topology, [[5]], { method: plain() }, models)
  const [x, y] = models.map(([x]) => x!.slice())
  iterate(net)
  for (let j = 0; j < 5; j++) {
    const step = 0.25 * (y![j]! - x![j]!)
    assert.ok(Math.abs(models[0]![0]![j]! - (x![j]! + step)) <= 4 * UNIT)
    assert.ok(Math.abs(models[1]![0]![j]! - (y![j]! - step)) <= 4 * UNIT)
  }
})

test('what is trained between begin and apply is kept', async () => {
  const models = modelsOf(4, SHAPES)
  const trained = modelsOf(4, SHAPES, 2)
  const [one, other] = await Promise.all(
    [models, models.map((model) => model.map((x) => x.slice()))].map((m) =>
      createNet(torus(2, 2), SHAPES, {}, m),
    ),
  )
  const frames = one!.nodes.map((node, w) => node.beginSync(one!.models[w]!))
  for (const [w, model] of models.entries()) {
    for (const [i, x] of model.entries()) for (const j of x.keys()) x[j]! += trained[w]![i]![j]!
  }
  for (const [from, all] of frames.entries()) {
    for (const [to, frame] of all) one!.nodes[to]!.receive(from, frame)
  }
  for (const [w, node] of one!.nodes.entries()) node.applySync(models[w]!)
  iterate(other!)
  for (const [w, model] of models.entries()) {
    for (const [i, x] of model.entries()) {
      for (const [j, value] of x.entries()) {
        const want = other!.models[w]![i]![j]! + trained[w]![i]![j]!
        assert.ok(Math.abs(value - want) <= 16 * UNIT)
      }
    }
  }
})

test('begin and apply may be awaited', async () => {
  const [one, other] = [modelsOf(2, SHAPES), modelsOf(2, SHAPES)]
  const waiting = await createNet(ring(2), SHAPES, {}, one)
  const [a, b] = waiting.nodes as [(typeof waiting.nodes)[0], (typeof waiting.nodes)[0]]
  b.receive(0, (await Promise.all([a.begin(one[0]!), b.begin(one[1]!)]))[0].get(1)!)
  a.giveUp(1)
  const applied = await Promise.all([a.apply(one[0]!), b.apply(one[1]!)])
  assert.equal(
    applied.map(({ frames, outcomes }) => [frames, [...outcomes.values()]]),
    [
      [null, ['missed']],
      [null, ['exchanged']],
    ],
  )
  const net = await createNet(ring(2), SHAPES, {}, other)
  iterate(net, (from) => from === 1)
  for (const w of [0, 1]) {
    for (const [i, x] of one[w]!.entries()) sameFloats(x, other[w]![i]!, `${w}, ${i}`)
  }
})

test('some nodes are on a wire of their own', async () => {
  const models = modelsOf(4, SHAPES)
  const net = await createNet(ring(4), SHAPES, {}, models)
  const half = await createNet(ring(4), SHAPES, { wire: 'f16' }, models)
  const mixed = { models, nodes: net.nodes.map((node, w) => (w % 2 ? half.nodes[w]! : node)) }
  const before = sums(models)
  for (let t = 0; t < 10; t++) iterate(mixed)
  const off = sums(models).map((sum, j) => Math.abs(sum - before[j]!))
  assert.ok(Math.max(...off) <= 10 * 4 * 16 * UNIT * 2)
})

test.run()
