// lowrank/topology: weights, the spectra that are known in closed form, and random graphs.
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  complete,
  isDoublyStochastic,
  isSymmetric,
  metropolis,
  optimalGamma,
  ring,
  spectralGap,
  star,
  type Topology,
  torus,
} from '../../src/gossip/topology.ts'

const near = (got: number, want: number, off: number) =>
  assert.ok(Math.abs(got - want) <= off, `got ${got}, want ${want}`)

/** |V| nodes and a random set of edges; `connected` adds a path through all. */
const graph = (connected: boolean) =>
  fc.integer({ min: 2, max: 12 }).chain((nodes) =>
    fc.array(fc.boolean(), { minLength: nodes ** 2, maxLength: nodes ** 2 }).map((coins) => {
      const sets = Array.from({ length: nodes }, () => new Set<number>())
      for (let i = 0; i < nodes; i++) {
        for (let j = i + 1; j < nodes; j++) {
          if (!coins[i * nodes + j] && !(connected && j === i + 1)) continue
          sets[i]!.add(j)
          sets[j]!.add(i)
        }
      }
      return sets.map((set) => [...set])
    }),
  )

const test = suite('topology')

test('rings: 1/3 from each neighbour, 2/3 where there is one', () => {
  assert.equal(ring(1), [{ self: 1, neighbours: {} }])
  assert.equal(ring(2)[0]!.neighbours, { 1: 2 / 3 })
  near(ring(2)[0]!.self, 1 / 3, 1e-15)
  assert.equal(ring(5)[0]!.neighbours, { 1: 1 / 3, 4: 1 / 3 })
  assert.equal(ring(5)[3]!.neighbours, { 2: 1 / 3, 4: 1 / 3 })
})

test('tori: 1/5 from each neighbour, 2/5 where two are the same', () => {
  assert.equal(torus(2, 2)[0]!.neighbours, { 1: 2 / 5, 2: 2 / 5 })
  near(torus(2, 2)[0]!.self, 1 / 5, 1e-15)
  assert.equal(torus(3, 4)[5]!.neighbours, { 1: 1 / 5, 4: 1 / 5, 6: 1 / 5, 9: 1 / 5 })
  assert.equal(torus(1, 3)[0]!.neighbours, { 1: 1 / 5, 2: 1 / 5 })
  near(torus(1, 3)[0]!.self, 3 / 5, 1e-15)
})

test('the star, and everyone with everyone', () => {
  assert.equal(complete(4)[2]!.neighbours, { 0: 1 / 4, 1: 1 / 4, 3: 1 / 4 })
  near(spectralGap(complete(7)), 1, 1e-14)
  near(optimalGamma(complete(7)), 1, 1e-14)
  assert.equal(star(4)[0]!.neighbours, { 1: 1 / 4, 2: 1 / 4, 3: 1 / 4 })
  assert.equal(star(4)[3], { self: 3 / 4, neighbours: { 0: 1 / 4 } })
  // I − W of n nodes: a Laplacian with eigenvalues 0, 1, …, 1, n, divided by n.
  near(spectralGap(star(4)), 1 / 4, 1e-14)
  near(optimalGamma(star(4)), 2 / (1 / 4 + 1), 1e-14)
})

test('all are symmetric and doubly stochastic', () => {
  const sizes = [1, 2, 3, 4, 7, 16]
  const all = sizes.flatMap((n) => [ring(n), complete(n), star(n), torus(2, n), torus(3, n)])
  for (const topology of all) {
    assert.ok(isSymmetric(topology))
    assert.ok(isDoublyStochastic(topology))
  }
})

test("rings' gaps and rates are those of the cosines", () => {
  for (const [n, gap, gamma] of [
    [8, 0.195262, 1.30839],
    [16, 0.050747, 1.445],
    [32, 0.01281, 1.48573],
  ] as const) {
    near(spectralGap(ring(n)), gap, 5e-7)
    near(optimalGamma(ring(n)), gamma, 5e-6)
    near(spectralGap(ring(n)), (2 / 3) * (1 - Math.cos((2 * Math.PI) / n)), 1e-13)
  }
  near(optimalGamma(ring(4)), 1, 1e-14)
})

test('a gap counts eigenvalues below 0, too', () => {
  const swap: Topology = [
    { self: 0, neighbours: { 1: 1 } },
    { self: 0, neighbours: { 0: 1 } },
  ]
  near(spectralGap(swap), 0, 1e-15) // they would exchange places for ever
  near(optimalGamma(swap), 0.5, 1e-15)
})

test('Metropolis weights on random graphs keep the mean and bring everyone to it', () => {
  fc.assert(
    fc.property(graph(true), fc.boolean(), (adjacency, best) => {
      const topology = metropolis(adjacency)
      assert.ok(isSymmetric(topology))
      assert.ok(isDoublyStochastic(topology))
      assert.ok(topology.every(({ self }) => self > 0))
      const gap = spectralGap(topology)
      assert.ok(gap > 0 && gap <= 1 + 1e-14)
      const gamma = best ? optimalGamma(topology) : 1
      const x = topology.map((_, i) => Math.sin(i + 1))
      const mean = x.reduce((a, b) => a + b) / x.length
      const error = (y: number[]) => Math.hypot(...y.map((value) => value - mean))
      const next = topology.map(({ neighbours }, i) =>
        Object.entries(neighbours).reduce(
          (sum, [j, weight]) => sum + gamma * weight * (x[Number(j)]! - x[i]!),
          x[i]!,
        ),
      )
      near(next.reduce((a, b) => a + b) / x.length, mean, 1e-14)
      // With γ = 1 the gap bounds the error; γ* is never worse.
      assert.ok(error(next) <= (1 - gap) * error(x) * (1 + 1e-12) + 1e-14)
    }),
    { numRuns: 200, seed: 1906 },
  )
})

test('a graph in two parts has no gap, and no rate', () => {
  fc.assert(
    fc.property(graph(false), graph(false), (one, other) => {
      const shifted = other.map((list) => list.map((j) => j + one.length))
      const topology = metropolis([...one, ...shifted])
      near(spectralGap(topology), 0, 1e-12)
      assert.throws(() => optimalGamma(topology), /connected/)
    }),
    { numRuns: 50, seed: 1906 },
  )
})

test('weights that are not symmetric or do not sum to 1 are refused', () => {
  const oneWay: Topology = [
    { self: 0.5, neighbours: { 1: 0.5 } },
    { self: 0.5, neighbours: { 2: 0.5 } },
    { self: 0.5, neighbours: { 0: 0.5 } },
  ]
  assert.is(isSymmetric(oneWay), false)
  assert.is(isDoublyStochastic(oneWay), true)
  assert.throws(() => spectralGap(oneWay), /symmetric/)
  const short: Topology = [
    { self: 0.5, neighbours: { 1: 0.4 } },
    { self: 0.6, neighbours: { 0: 0.4 } },
  ]
  assert.is(isDoublyStochastic(short), false)
  assert.throws(() => optimalGamma(short), /sum to 1/)
  const negative: Topology = [
    { self: -0.5, neighbours: { 1: 1.5 } },
    { self: -0.5, neighbours: { 0: 1.5 } },
  ]
  assert.is(isDoublyStochastic(negative), false)
})

test('bad input is named', () => {
  const bad: [() => unknown, typeof TypeError | typeof RangeError, RegExp][] = [
    [() => ring(0), RangeError, /"nodes"/],
    [() => ring('3' as never), TypeError, /"nodes"/],
    [() => complete(1.5), RangeError, /"nodes"/],
    [() => star(-1), RangeError, /"nodes"/],
    [() => torus(2, 0), RangeError, /"cols"/],
    [() => torus(2 ** 9, 2 ** 9), RangeError, /"rows · cols"/],
    [() => metropolis(3 as never), TypeError, /"adjacency"/],
    [() => metropolis([]), RangeError, /"adjacency.length"/],
    [() => metropolis([1] as never), TypeError, /"adjacency\[0]"/],
    [() => metropolis([[1], []]), RangeError, /"adjacency\[1]": expected 0/],
    [() => metropolis([[0]]), RangeError, /"adjacency\[0]"/],
    [() => metropolis([[1, 1], [0]]), RangeError, /"adjacency\[0]"/],
    [() => metropolis([[2], [0]]), RangeError, /"adjacency\[0]"/],
    [() => spectralGap(ring(1)), RangeError, /"topology.length": expected an integer from 2/],
    [() => spectralGap(ring(5000)), RangeError, /"topology.length": .* to 4096, got 5000/],
    [() => isSymmetric(null as never), TypeError, /"topology"/],
    [() => isSymmetric([{}] as never), TypeError, /"topology\[0]\.neighbours"/],
    [() => isSymmetric([new Map()] as never), TypeError, /"topology\[0]": .*got Map/],
    [() => isSymmetric([{ self: Number.NaN, neighbours: {} }]), TypeError, /self/],
    [() => isSymmetric([{ self: 1, neighbours: { 0: 0 } }]), RangeError, /other nodes/],
    [() => isSymmetric([{ self: 1, neighbours: { 7: 0 } }]), RangeError, /neighbours/],
    [() => isDoublyStochastic([{ self: 1, neighbours: { x: 0 } as never }]), RangeError, /0 to 0/],
  ]
  for (const [call, type, message] of bad) {
    assert.throws(call, (error: Error) => error instanceof type && message.test(error.message))
  }
})

test.run()
