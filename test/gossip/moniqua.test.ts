// Moniqua: reconstruction from two bits modulo 6θ, conservation of the mean, and how far nodes
// agree.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { metropolis, ring } from '../../src/gossip/topology.ts'
import { createGossip, type EdgeRandom, type GossipMethod, moniqua } from '../../src/gossip.ts'
import { sameFloats, UNIT } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { uniform } from '../support/numbers.ts'
import { readState } from '../support/safetensors.ts'
import { createNet, iterate, type Net, sums } from './net.ts'

const SHAPES = [[12, 9], [7], [3, 4, 5]]
const lengthOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)
const modelsOf = (nodes: number, shapes: readonly (readonly number[])[] = SHAPES, scale = 1) =>
  Array.from({ length: nodes }, (_, w) =>
    shapes.map((shape, i) => uniform(lengthOf(shape), 10 * w + i, scale)),
  )
const copyOf = (models: readonly Float32Array[][]) =>
  models.map((model) => model.map((x) => x.slice()))
const largest = (x: Iterable<number>) => [...x].reduce((most, y) => Math.max(most, Math.abs(y)), 0)

/**
 * Two nodes on an edge with weight 1/2: with γ = 1 both move by half of the difference they find.
 */
const halves = [
  { self: 0.5, neighbours: { 1: 0.5 } },
  { self: 0.5, neighbours: { 0: 0.5 } },
]

/** A node's last exchange with another, as saved: its difference, by parameter, and how far. */
function lastOf(net: Net, self: number, other: number) {
  const { metadata, tensors } = readState(net.nodes[self]!.save())
  const edges = JSON.parse(metadata.edges!) as { neighbour: number; last: { raws: number } }[]
  const name = `edge${Math.min(self, other)}-${Math.max(self, other)}/difference`
  const difference = net.models[self]!.map((_, i) => tensors.get(`${name}/${i}`)!.data)
  return { difference, raws: edges.find(({ neighbour }) => neighbour === other)!.last.raws }
}

/**
 * The published rule in float64: the rounded q, and x̂ of both as the end with x reconstructs them.
 */
function modulo(x: number, a: number): number {
  const half = (Math.sign(x) * a) / 2
  return ((x + half) % a) - half
}
const rounded = (x: number, u: number, theta: number) =>
  Math.floor((modulo(x / (6 * theta), 1) + 0.5) * 3 + u) / 3 - 0.5
const ownOf = (x: number, q: number, theta: number) => q * 6 * theta - modulo(x, 6 * theta) + x
const otherOf = (x: number, q: number, theta: number) => modulo(q * 6 * theta - x, 6 * theta) + x

const test = suite('gossip: moniqua')

test('differences below θ: what both ends find is what the rule gives each of them', async () => {
  for (const theta of [0.35, 2, 2 ** -90]) {
    // Up to 30 θ away from zero, so over many moduli; ends differ by less than θ.
    const x = uniform(2000, 1, 30 * theta)
    const y = x.map((value, i) => value + 0.999 * theta * uniform(2000, 2)[i]!)
    const noise = uniform(2000, 3).map((u) => (u + 1) / 2)
    const random: EdgeRandom = (lo, hi, use, parameter, column, step, length) => {
      assert.equal([lo, hi, use, parameter, column, step, length], [0, 1, 64, 0, 0, 0, 2000])
      return noise
    }
    const net = await createNet(halves, [[2000]], { method: moniqua({ theta }), random }, [
      [x.slice()],
      [y.slice()],
    ])
    iterate(net)
    const [found] = lastOf(net, 0, 1).difference
    sameFloats(found!, lastOf(net, 1, 0).difference[0]!, 'the same at both ends')
    const seen = new Set<number>()
    for (const [i, u] of noise.entries()) {
      const [a, b] = [x[i]!, y[i]!]
      const [p, q] = [rounded(a, u, theta), rounded(b, u, theta)]
      const atLo = otherOf(a, q, theta) - ownOf(a, p, theta)
      const atHi = ownOf(b, q, theta) - otherOf(b, p, theta)
      for (const want of [atLo, atHi]) {
        assert.ok(Math.abs(found![i]! - want) <= 1e-6 * theta, `${found![i]}, expected ${want}`)
      }
      // Neither reconstruction is off by more than a step.
      assert.ok(Math.abs(otherOf(a, q, theta) - b) <= 2 * theta * (1 + 1e-6))
      assert.ok(Math.abs(ownOf(a, p, theta) - a) <= 2 * theta * (1 + 1e-6))
      seen.add(Math.round(found![i]! / (2 * theta)))
    }
    assert.equal([...seen].sort(), [-1, 0, 1])
  }
})

test('differences of up to 2θ are found without bias, by Philox and any wire', async () => {
  const theta = 0.25
  const [length, steps] = [200, 2000]
  const x = uniform(length, 1, 5)
  const y = x.map((value, i) => value + 2 * theta * uniform(length, 2)[i]!)
  const net = await createNet(halves, [[length]], { method: moniqua({ theta }), wire: 'int8' }, [])
  const found = new Float64Array(length)
  for (let t = 0; t < steps; t++) {
    net.models.splice(0, 2, [x.slice()], [y.slice()])
    iterate(net)
    for (const [i, value] of net.models[0]![0]!.entries()) found[i]! += 2 * (value - x[i]!)
  }
  let sum = 0
  for (const [i, total] of found.entries()) {
    const want = y[i]! - x[i]!
    // A step occurs with probability |want| / 2θ: this is the standard deviation of the mean.
    const part = Math.min(1, Math.abs(want) / (2 * theta))
    const sigma = 2 * theta * Math.sqrt((part * (1 - part)) / steps)
    const off = total / steps - want
    assert.ok(Math.abs(off) <= 5 * sigma + 64 * UNIT, `${off}, more than 5 · ${sigma}`)
    sum += (off / (sigma + 64 * UNIT)) ** 2
  }
  // Another kind of noise might average half or twice as much.
  assert.ok(sum / length > 0.7 && sum / length < 1.4, `${sum / length}`)
})

for (const [name, theta] of [
  ['θ large enough', 1],
  ['θ too small by far', 0.01],
] as const) {
  test(`${name}: the sum stays to rounding, and both ends have the same bits`, async () => {
    const lists = [[1, 2, 3], [0, 2], [0, 1, 4], [0, 5], [2], [3]]
    const models = modelsOf(6)
    const method = moniqua({ theta, gamma: 0.7 })
    const net = await createNet(metropolis(lists), SHAPES, { method }, models)
    const [before, steps] = [sums(models), 30]
    for (let t = 0; t < steps; t++) {
      const was = copyOf(models)
      for (const outcomes of iterate(net)) {
        for (const outcome of outcomes.values()) assert.is(outcome, 'exchanged')
      }
      assert.ok(models.some((model, w) => model[0]!.some((x, j) => x !== was[w]![0]![j])))
      for (const [lo, list] of lists.entries()) {
        for (const hi of list.filter((j) => j > lo)) {
          const [one, other] = [lastOf(net, lo, hi), lastOf(net, hi, lo)]
          assert.is(one.raws, -other.raws, 'what one adds the other subtracts')
          for (const [i, x] of one.difference.entries()) {
            sameFloats(x, other.difference[i]!, `edge ${lo}–${hi}`)
            for (const value of x) {
              assert.ok([-1, 0, 1].includes(value / Math.fround(2 * theta)))
            }
          }
        }
      }
    }
    const size = 2 + largest(models.flat().flatMap((x) => [...x]))
    const off = largest(sums(models).map((sum, j) => sum - before[j]!))
    const bound = steps * models.length * 4 * UNIT * size
    assert.ok(off <= bound, `off by ${off}, more than ${bound}`)
  })
}

test('eight nodes in a ring agree up to what an exchange moves them by', async () => {
  // With S = Σ over edges of (xᵢ − xⱼ)² and a = γw, an iteration takes 2a(1 − a)·S at least from
  // Σ‖xᵢ − x̄‖² and adds 4a²θ·Σ|xᵢ − xⱼ| at most, in expectation: the mean square of a difference
  // cannot stay above (2aθ / (1 − a))².
  const shapes = [[40, 50]]
  for (const [theta, gamma] of [
    [1, 1],
    [1, 0.25],
    [0.3, 0.5],
  ] as const) {
    const models = modelsOf(8, shapes, theta)
    const net = await createNet(ring(8), shapes, { method: moniqua({ theta, gamma }) }, models)
    const floor = (2 * (gamma / 3) * theta) / (1 - gamma / 3)
    const apart = () => {
      let sum = 0
      for (const [w, [x]] of models.entries()) {
        for (const [j, value] of models[(w + 1) % 8]![0]!.entries()) sum += (value - x![j]!) ** 2
      }
      return Math.sqrt(sum / 8 / 2000)
    }
    assert.ok(gamma === 1 || apart() > 1.5 * floor, 'it begins above')
    for (let t = 0; t < 60 / gamma; t++) iterate(net)
    const got = apart()
    assert.ok(got <= floor && got >= 0.2 * floor, `${got}, the bound is ${floor}`)
  }
})

test('as published: neighbours one after another, with noise of their own, and the mean moves', async () => {
  const theta = 0.5
  const models = modelsOf(4, SHAPES, 0.3)
  const drawn = new Map<string, Float32Array>()
  const random: EdgeRandom = (lo, hi, use, parameter, column, step, length) => {
    assert.equal([hi, use, column, step], [lo, 64, 0, 0], 'a node draws for itself')
    const name = `${lo}/${parameter}`
    if (!drawn.has(name)) {
      drawn.set(
        name,
        uniform(length, 100 * lo + parameter).map((u) => (u + 1) / 2),
      )
    }
    return drawn.get(name)!
  }
  const method = moniqua({ theta, gamma: 0.6, published: true })
  const net = await createNet(ring(4), SHAPES, { method, random }, models)
  const before = copyOf(models)
  iterate(net)
  const q = before.map((model, w) =>
    model.map((x, i) =>
      Array.from(x, (value, j) => rounded(value, drawn.get(`${w}/${i}`)![j]!, theta)),
    ),
  )
  for (const [w, model] of models.entries()) {
    const neighbours = [(w + 1) % 4, (w + 3) % 4].sort()
    for (const [i, x] of model.entries()) {
      for (const [j, value] of x.entries()) {
        let want = before[w]![i]![j]!
        const own = ownOf(want, q[w]![i]![j]!, theta) - want
        for (const other of neighbours) {
          const there = otherOf(want, q[other]![i]![j]!, theta) - want
          want += (0.6 / 3) * (there - own)
        }
        assert.ok(Math.abs(value - want) <= 16 * UNIT, `${value}, expected ${want}`)
      }
    }
  }
  const off = sums(models).map((sum, j) => sum - sums(before)[j]!)
  assert.ok(largest(off) > 0.05, 'which is why it is not the default')
})

test('as published: an end takes back what it has added itself, and is restored to the bit', async () => {
  const method = moniqua({ theta: 0.5, published: true })
  const [one, other] = [
    await createNet(halves, SHAPES, { method }, modelsOf(2, SHAPES, 0.3)),
    await createNet(halves, SHAPES, { method }, modelsOf(2, SHAPES, 0.3)),
  ]
  iterate(one)
  const then = copyOf(one.models)
  iterate(one, (from) => from === 1)
  assert.ok(one.models[1]![0]!.some((x, j) => Math.abs(x - then[1]![0]![j]!) > 0.01))
  assert.equal(
    iterate(one).map((outcomes) => [...outcomes.values()]),
    [['waited'], ['retracted']],
  )
  for (const [w, model] of one.models.entries()) {
    for (const [i, x] of model.entries()) {
      assert.ok(largest(x.map((value, j) => value - then[w]![i]![j]!)) <= 8 * UNIT)
    }
  }
  for (let t = 0; t < 3; t++) {
    iterate(other, (from) => t === 1 && from === 1)
    for (const self of [0, 1]) {
      const restore = other.nodes[self]!.save()
      other.nodes[self] = await createGossip(SHAPES, { self, method, restore })
    }
  }
  for (const w of [0, 1]) {
    for (const [i, x] of one.models[w]!.entries()) sameFloats(other.models[w]![i]!, x, `${w}, ${i}`)
  }
})

test('noise is another one for each edge, iteration, parameter and seed', async () => {
  const frames = new Set<string>()
  const shapes = [[64], [64]]
  const model = [new Float32Array(64), new Float32Array(64)]
  for (const seed of [0, 1]) {
    for (const [self, neighbour] of [
      [0, 1],
      [0, 2],
      [1, 2],
    ] as const) {
      const node = await createGossip(shapes, {
        self,
        seed,
        neighbours: { [neighbour]: 0.5 },
        method: moniqua({ theta: 1 }),
      })
      for (let t = 0; t < 3; t++) {
        const frame = node.beginSync(model).get(neighbour)!
        for (const end of [frame.length - 16, frame.length]) {
          frames.add(String(frame.slice(end - 16, end)))
        }
        node.giveUp(neighbour)
        node.applySync(model)
      }
    }
  }
  assert.is(frames.size, 2 * 3 * 3 * 2)
})

test('what cannot be is refused, and nothing has changed', async () => {
  const options = { self: 0, neighbours: { 1: 0.5 } }
  for (const published of [false, true]) {
    const method: GossipMethod = moniqua({ theta: 1, published })
    const node = await createGossip(SHAPES, { ...options, method })
    const [model] = modelsOf(1)
    const state = node.save()
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const spoilt = model!.map((x) => x.slice())
      spoilt[2]![59] = bad
      assert.throws(() => node.beginSync(spoilt), /^"parameters": expected finite numbers below/)
      assert.equal(node.save(), state)
    }
    // So far from zero, float32 has no two numbers within a modulus: frames have two bits all the
    // same.
    assert.is(node.beginSync(model!.map((x) => x.map((value) => value * 1e30))).size, 1)
  }
  for (const numbers of [
    new Float32Array(3),
    [0.5],
    new Float32Array(108).fill(1),
    new Float32Array(108).fill(-0.25),
    new Float32Array(108).fill(Number.NaN),
  ]) {
    const random = (() => numbers) as unknown as EdgeRandom
    const node = await createGossip(SHAPES, { ...options, method: moniqua({ theta: 1 }), random })
    const error = await errorOf(() => node.beginSync(modelsOf(1)[0]!))
    assert.instance(error, RangeError)
    assert.match(error.message, /^"random": expected/)
  }
})

test.run()
