// lowrank/gossip: frames that get lost, neighbours that come and go, states that are old.
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createLayout } from '../../src/compressor/traffic.ts'
import { Signs } from '../../src/gossip/compression.ts'
import { ChocoCoding } from '../../src/gossip/methods/choco.ts'
import { metropolis, ring } from '../../src/gossip/topology.ts'
import {
  choco,
  createGossip,
  deepSqueeze,
  type EdgeOutcome,
  type Gossip,
  type GossipMethod,
  moniqua,
  plain,
  powerGossip,
} from '../../src/gossip.ts'
import { sameFloats, UNIT } from '../support/close.ts'
import { numbers, uniform } from '../support/numbers.ts'
import { readState } from '../support/safetensors.ts'
import { createNet, disagreement, iterate, type Net, sums } from './net.ts'

// For long hunts: LOWRANK_RUNS=5000 LOWRANK_SEED=7 node --import tsx test/gossip/losses.test.ts
const numRuns = Number(process.env.LOWRANK_RUNS ?? 60)
const seed = Number(process.env.LOWRANK_SEED ?? 1906)

const SHAPES = [[9, 8], [5], [2, 3, 6]]

const METHODS: readonly [string, GossipMethod][] = [
  ['plain', plain({ gamma: 0.8 })],
  ['choco, signs', choco({ compression: 'sign', gamma: 0.4 })],
  ['choco, the largest', choco({ compression: { keep: 0.1 }, gamma: 0.3 })],
  ['deepSqueeze', deepSqueeze({ compression: { keep: 0.2 }, gamma: 0.2 })],
  ['moniqua', moniqua({ theta: 1 })],
  ['moniqua, θ too small', moniqua({ theta: 0.05, gamma: 0.5 })],
  ['rank 1', powerGossip({ minCompressionRate: 1 })],
  ['rank 2, γ = 1.2', powerGossip({ rank: 2, gamma: 1.2, minCompressionRate: 0 })],
  ['two half-steps', powerGossip({ iterations: 2, minCompressionRate: 0 })],
  ['no warm start', powerGossip({ warmStart: false, minCompressionRate: 1 })],
  ['as published', powerGossip({ iterations: 3, published: true, minCompressionRate: 0 })],
]

const modelsOf = (nodes: number, first = 1) =>
  Array.from({ length: nodes }, (_, w) =>
    SHAPES.map((shape, i) =>
      uniform(
        shape.reduce((a, b) => a * b, 1),
        1000 * first + 10 * w + i,
      ),
    ),
  )

const everyone = (outcomes: readonly ReadonlyMap<number, EdgeOutcome>[]) =>
  outcomes.flatMap((of) => [...of.values()])

const largest = (x: Iterable<number>) => [...x].reduce((most, y) => Math.max(most, Math.abs(y)), 0)

/** How far sums have moved ÷ the bound by rounding, with so many additions to each node. */
function moved(net: Net, before: Float64Array, additions: number): number {
  const size = 2 + largest(net.models.flat(2).flatMap((x) => [...x]))
  const off = sums(net.models).map((sum, j) => sum - before[j]!)
  return largest(off) / (additions * net.nodes.length * 16 * UNIT * size)
}

/** Two nodes on an edge with weight 1/2. */
async function pair(method: GossipMethod = powerGossip(), models = modelsOf(2)): Promise<Net> {
  const half = ring(2).map((_, i) => ({ self: 0.5, neighbours: { [1 - i]: 0.5 } }))
  return createNet(half, SHAPES, { method }, models)
}

const test = suite('gossip: losses')

for (const [name, method] of METHODS) {
  test(`${name}: whatever gets lost, the sum is what it was once frames arrive`, () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 5 }),
        fc.integer(),
        fc.double({ min: 0.05, max: 0.8, noNaN: true }),
        fc.integer({ min: 1, max: 12 }),
        async (nodes, luck, rate, steps) => {
          const next = numbers(luck)
          const coin = (part: number) => (next() + 1) / 2 < part
          const lists = Array.from({ length: nodes }, (): number[] => [])
          for (let i = 0; i < nodes; i++) {
            for (let j = i + 1; j < nodes; j++) {
              if (j > i + 1 && coin(0.5)) continue
              lists[i]!.push(j)
              lists[j]!.push(i)
            }
          }
          const models = modelsOf(nodes)
          const net = await createNet(metropolis(lists), SHAPES, { method }, models)
          const before = sums(models)
          for (let t = 0; t < steps; t++) {
            const seen = everyone(iterate(net, () => coin(rate)))
            assert.ok(
              !seen.includes('restarted'),
              'ends never get further apart than by one exchange',
            )
            // Training: what each node adds by itself.
            for (const [w, model] of models.entries()) {
              const step = uniform(5, 7 * t + w, 0.1)
              for (let j = 0; j < 5; j++) {
                const was = model[1]![j]!
                model[1]![j] = was + step[j]!
                before[72 + j] = before[72 + j]! + (model[1]![j]! - was)
              }
            }
          }
          // The first iteration finds the mismatch; after the second, both ends agree again.
          iterate(net)
          const outcomes = iterate(net)
          assert.ok(everyone(outcomes).every((outcome) => outcome === 'exchanged'))
          const part = moved(net, before, 2 * (steps + 2) * method.iterations)
          assert.ok(part <= 1, `${part} of the bound`)
          for (const [lo, list] of lists.entries()) {
            for (const hi of list.filter((j) => j > lo)) {
              const [one, other] = [lo, hi].map((w) => readState(net.nodes[w]!.save()).tensors)
              for (const [key, { data }] of one!) {
                // δ is what one end left over: the ends do not share it.
                if (!key.startsWith(`edge${lo}-${hi}/`) || key.includes('/delta')) continue
                // A state before an exchange that was taken back is not needed any more.
                if (key.includes('-before/')) continue
                sameFloats(data, other!.get(key)!.data, key)
              }
            }
          }
        },
      ),
      { numRuns, seed },
    ))
}

test('a frame lost one way: the end that is ahead takes back what it had added', async () => {
  for (const [name, method] of METHODS.filter(([, { iterations }]) => iterations === 1)) {
    const net = await pair(method)
    const before = sums(net.models)
    assert.equal(everyone(iterate(net)), ['exchanged', 'exchanged'], name)
    const then = net.models.map((model) => model.map((x) => x.slice()))
    const state = readState(net.nodes[1]!.save())
    assert.equal(everyone(iterate(net, (from) => from === 1)), ['missed', 'exchanged'])
    assert.ok(moved(net, before, 2) > 100, `${name}: one end alone has moved`)
    assert.equal(everyone(iterate(net)), ['waited', 'retracted'])
    assert.ok(moved(net, before, 4) <= 1, name)
    for (const [w, model] of net.models.entries()) {
      for (const [i, x] of model.entries()) {
        assert.ok(largest(x.map((value, j) => value - then[w]![i]![j]!)) <= 64 * UNIT)
      }
    }
    // All state that is kept has the same bits as before.
    const after = readState(net.nodes[1]!.save())
    const edge = ({ metadata }: typeof after) => JSON.parse(metadata.edges!)[0]
    assert.is(edge(after).parent, edge(state).parent)
    assert.is(edge(after).turns, edge(state).turns)
    assert.equal(everyone(iterate(net)), ['exchanged', 'exchanged'])
    assert.ok(moved(net, before, 5) <= 1, name)
  }
})

test('both frames lost, or many in a row: nothing has happened, or one exchange is taken back', async () => {
  const net = await pair()
  const before = sums(net.models)
  assert.equal(everyone(iterate(net, () => true)), ['missed', 'missed'])
  assert.ok(moved(net, before, 1) === 0)
  iterate(net, (from) => from === 0)
  for (let t = 0; t < 5; t++) {
    assert.equal(
      everyone(iterate(net, (from) => from === 1)),
      ['missed', 'waited'].reverse().sort(),
    )
  }
  assert.equal(everyone(iterate(net)), ['retracted', 'waited'])
  assert.ok(moved(net, before, 3) <= 1)
})

test('a node that is left behind goes on with the step of the others', async () => {
  const { nodes, models } = await pair()
  const [a, b] = nodes as [Gossip, Gossip]
  for (let t = 0; t < 3; t++) {
    a.beginSync(models[0]!)
    a.giveUp(1)
    a.applySync(models[0]!)
  }
  const [fromA, fromB] = [a.beginSync(models[0]!).get(1)!, b.beginSync(models[1]!).get(0)!]
  assert.is(a.receive(1, fromB), 'late')
  assert.is(b.receive(0, fromA), 'early')
  b.giveUp(0)
  b.applySync(models[1]!)
  assert.is(b.receive(0, fromA), 'early')
  assert.throws(() => b.beginSync(models[1]!, { step: 0 }), RangeError)
  const later = b.beginSync(models[1]!, { step: 3 }).get(0)!
  assert.is(b.receive(0, fromA), 'taken')
  assert.is(a.receive(1, later), 'taken')
  assert.is(a.applySync(models[0]!).outcomes.get(1), 'exchanged')
  assert.is(b.applySync(models[1]!).outcomes.get(0), 'exchanged')
  assert.equal([a.step, b.step], [4, 4])
})

test('the answer of one that was given up is taken before apply', async () => {
  const { nodes, models } = await pair()
  const [a, b] = nodes as [Gossip, Gossip]
  const [fromA, fromB] = [a.beginSync(models[0]!).get(1)!, b.beginSync(models[1]!).get(0)!]
  assert.equal(a.waiting, [1])
  a.giveUp(1)
  assert.equal(a.waiting, [])
  assert.is(a.receive(1, fromB), 'taken')
  b.receive(0, fromA)
  assert.is(a.applySync(models[0]!).outcomes.get(1), 'exchanged')
  assert.is(b.applySync(models[1]!).outcomes.get(0), 'exchanged')
})

test('neighbours come and go: the sum stays, and the new one is brought along', async () => {
  const models = modelsOf(4)
  const triangle = metropolis([
    [1, 2],
    [0, 2],
    [0, 1],
  ])
  const net = await createNet(triangle, SHAPES, {}, models.slice(0, 3))
  for (let t = 0; t < 3; t++) iterate(net)
  const step = net.nodes[0]!.step
  net.nodes.push(await createGossip(SHAPES, { self: 9, neighbours: {} }))
  net.models.push(models[3]!)
  const [before, first] = [sums(net.models), disagreement(net.models)]
  net.nodes[2]!.addNeighbour(9, 1 / 4)
  net.nodes[3]!.addNeighbour(2, 1 / 2)
  net.nodes[2]!.addNeighbour(0, 1 / 4) // it has three now; the others need not know
  net.nodes[2]!.addNeighbour(1, 1 / 4)
  assert.equal(net.nodes[2]!.neighbours, [0, 1, 9])
  for (let t = 0; t < 40; t++) {
    const frames = net.nodes.map((node, w) => node.beginSync(net.models[w]!, { step: step + t }))
    for (const [w, all] of frames.entries()) {
      const self = w === 3 ? 9 : w
      for (const [to, frame] of all) net.nodes[to === 9 ? 3 : to]!.receive(self, frame)
    }
    for (const [w, node] of net.nodes.entries()) {
      for (const outcome of node.applySync(net.models[w]!).outcomes.values()) {
        assert.is(outcome, 'exchanged')
      }
    }
  }
  assert.ok(moved(net, before, 40) <= 1)
  assert.ok(disagreement(net.models) < 0.05 * first)
  net.nodes[2]!.removeNeighbour(9)
  net.nodes[3]!.removeNeighbour(2)
  assert.equal([net.nodes[2]!.neighbours, net.nodes[3]!.neighbours], [[0, 1], []])
  assert.is(net.nodes[3]!.beginSync(net.models[3]!, { step: step + 40 }).size, 0)
  assert.is(net.nodes[3]!.applySync(net.models[3]!).frames, null)
})

test('a node that has lost what it kept begins anew with its neighbours', async () => {
  for (const way of ['both', 'one', 'other'] as const) {
    const net = await pair()
    for (let t = 0; t < 3; t++) iterate(net)
    net.nodes[1]!.removeNeighbour(0)
    net.nodes[1]!.addNeighbour(0, 0.5)
    const before = sums(net.models)
    // If one frame alone arrives, the other end follows when the next does.
    if (way !== 'both') iterate(net, (from) => (way === 'one') === (from === 1))
    assert.ok(everyone(iterate(net)).includes('restarted'))
    for (let t = 0; t < 3; t++) {
      assert.equal(everyone(iterate(net)), ['exchanged', 'exchanged'], way)
    }
    assert.ok(moved(net, before, 6) <= 1)
  }
})

test('saved and restored in the middle: the same bits as without', async () => {
  for (const [name, method] of METHODS) {
    const [one, other] = [await pair(method), await pair(method)]
    const lost = (t: number) => (from: number) => t % 3 === 2 && from === t % 2
    for (let t = 0; t < 9; t++) {
      iterate(one, lost(t))
      iterate(other, lost(t))
      for (const self of [0, 1]) {
        const restore = other.nodes[self]!.save()
        other.nodes[self] = await createGossip(SHAPES, { self, method, restore })
        assert.equal(other.nodes[self]!.save(), restore)
      }
      for (const self of [0, 1]) {
        for (const [i, x] of one.models[self]!.entries()) {
          sameFloats(other.models[self]![i]!, x, `${name}, step ${t}, parameter ${i}`)
        }
      }
    }
  }
})

test('a node that comes back from before its last exchange: the other takes its part back', async () => {
  const net = await pair()
  for (let t = 0; t < 2; t++) iterate(net)
  const before = sums(net.models)
  const [state, model] = [net.nodes[1]!.save(), net.models[1]!.map((x) => x.slice())]
  iterate(net)
  net.nodes[1] = await createGossip(SHAPES, { self: 1, restore: state })
  net.models[1] = model
  net.nodes[1]!.beginSync(model)
  net.nodes[1]!.giveUp(0)
  net.nodes[1]!.applySync(model)
  assert.equal(everyone(iterate(net)), ['retracted', 'waited'])
  assert.ok(moved(net, before, 3) <= 1)
  assert.equal(everyone(iterate(net)), ['exchanged', 'exchanged'])
})

test('a node that answers twice, with other numbers: both ends take their parts back', async () => {
  const net = await pair()
  iterate(net)
  const before = sums(net.models)
  const [a, b] = net.nodes as [Gossip, Gossip]
  const [x, y] = net.models as [Float32Array[], Float32Array[]]
  const state = b.save()
  const fromA = a.beginSync(x).get(1)!
  a.receive(1, b.beginSync(y).get(0)!)
  a.applySync(x)
  // b dies before it takes the answer, and repeats the iteration after some training.
  y[0]![0]! += 0.25
  before[0]! += 0.25
  net.nodes[1] = await createGossip(SHAPES, { self: 1, restore: state })
  net.nodes[1].beginSync(y)
  net.nodes[1].receive(0, fromA)
  assert.is(net.nodes[1].applySync(y).outcomes.get(0), 'exchanged')
  assert.equal(everyone(iterate(net)), ['retracted', 'retracted'])
  assert.ok(moved(net, before, 4) <= 1)
  assert.equal(everyone(iterate(net)), ['exchanged', 'exchanged'])
})

test('numbers that frames cannot carry are refused before anything changes', async () => {
  const net = await pair()
  const [a, b] = net.nodes as [Gossip, Gossip]
  for (const i of [0, 1, 2]) {
    const value = net.models[0]![i]![3]!
    net.models[0]![i]![3] = 1.2e30
    const state = a.save()
    assert.throws(() => a.beginSync(net.models[0]!), /"parameters": expected .* below 2⁶⁴/)
    assert.equal(a.save(), state)
    net.models[0]![i]![3] = value
  }
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 3e38]) {
    for (const i of [0, 1, 2]) {
      const value = net.models[0]![i]![3]!
      net.models[0]![i]![3] = bad
      const state = a.save()
      assert.throws(() => a.beginSync(net.models[0]!), /"parameters": expected finite/)
      assert.equal(a.save(), state)
      net.models[0]![i]![3] = value
    }
  }
  assert.equal([a.step, b.step], [0, 0])
  assert.equal(everyone(iterate(net)), ['exchanged', 'exchanged'])
})

test('estimates that are too far apart are left as they were, by both ends alike', () => {
  const layout = createLayout([[3]])
  for (const isHi of [false, true]) {
    const coding = new ChocoCoding(layout, new Signs(layout), isHi)
    coding.kept['xhat-lo']!.fill(2 ** 100)
    const sent = { words: Uint32Array.of(0), floats: Float32Array.of(1) }
    const before = Object.values(coding.kept).map((x) => x.slice())
    assert.is(coding.commit(sent, sent), false)
    sameFloats(coding.kept['xhat-lo']!, before[1]!, 'lo')
    sameFloats(coding.kept['xhat-hi']!, before[2]!, 'hi')
  }
})

test.run()
