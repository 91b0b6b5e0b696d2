// Who mixes with whom, and how fast that brings everyone together.
import { eigen } from '../linalg/eigen.ts'
import { integer, show } from '../validate.ts'

/** One node's row of a mixing matrix W. What is not listed is 0. */
export interface Mixing {
  /** its own weight: 1 less those of its neighbours */
  readonly self: number
  /** by the neighbours' numbers, as `createGossip` takes them */
  readonly neighbours: Readonly<Record<number, number>>
}

/** A mixing matrix: the rows of nodes 0 … n − 1. */
export type Topology = readonly Mixing[]

/** What a sum of weights may be off by, for each of them. */
const ROUNDING = 4 * Number.EPSILON

/** Eigenvalues of I − W that are taken for 0: the largest is at most 2. */
const NOTHING = 1e-12

const MOST_NODES = 2 ** 16

/**
 * Everyone has two neighbours, each with weight 1/3; of two nodes, one with 2/3.
 *
 * @throws TypeError, RangeError  if there is less than one node
 */
export function ring(nodes: number): Topology {
  integer('nodes', nodes, 1, MOST_NODES)
  return linked(nodes, 1 / 3, (i) => (nodes === 1 ? [] : [i - 1 + nodes, i + 1]))
}

/**
 * A grid whose edges are joined: everyone has four neighbours, each with weight 1/5. Where two of them
 * are the same node it has both weights (2 × 2: two neighbours with 2/5), and a side of 1 adds them to
 * the node's own.
 *
 * @throws TypeError, RangeError  naming the side at fault
 */
export function torus(rows: number, cols: number): Topology {
  integer('rows', rows, 1, MOST_NODES)
  integer('cols', cols, 1, MOST_NODES)
  integer('rows · cols', rows * cols, 1, MOST_NODES)
  return linked(rows * cols, 1 / 5, (node) => {
    const [i, j] = [Math.floor(node / cols), node % cols]
    const at = (row: number, col: number) => ((row + rows) % rows) * cols + ((col + cols) % cols)
    return [at(i - 1, j), at(i + 1, j), at(i, j - 1), at(i, j + 1)]
  })
}

/**
 * Everyone with everyone: the mean after one iteration.
 *
 * @throws TypeError, RangeError
 */
export function complete(nodes: number): Topology {
  integer('nodes', nodes, 1, MOST_NODES)
  const all = Array.from({ length: nodes }, (_, i) => i)
  return linked(nodes, 1 / nodes, (i) => all.filter((j) => j !== i))
}

/**
 * Node 0 with everyone else; Metropolis weights.
 *
 * @throws TypeError, RangeError
 */
export function star(nodes: number): Topology {
  integer('nodes', nodes, 1, MOST_NODES)
  const leaves = Array.from({ length: nodes - 1 }, (_, i) => i + 1)
  return metropolis([leaves, ...leaves.map(() => [0])])
}

/**
 * Metropolis weights for any graph: 1 / (1 + the larger number of neighbours of both ends). Symmetric
 * and doubly stochastic, and everyone keeps something of its own (Xiao, Boyd & Kim, "Distributed average
 * consensus with least-mean-square deviation", 2007, §4).
 *
 * No node need know the graph for it: `createGossip` takes the smaller of what both ends ask for, so
 * each may ask for 1 / (1 + the number of its own neighbours).
 *
 * @param adjacency  the neighbours of nodes 0 … n − 1; who is in a node's list has the node in its own
 * @throws TypeError, RangeError  naming the entry at fault
 */
export function metropolis(adjacency: readonly (readonly number[])[]): Topology {
  if (!Array.isArray(adjacency)) {
    throw new TypeError(`"adjacency": expected an array of arrays, got ${show(adjacency)}`)
  }
  integer('adjacency.length', adjacency.length, 1, MOST_NODES)
  for (const [i, list] of adjacency.entries()) {
    if (!Array.isArray(list)) {
      throw new TypeError(`"adjacency[${i}]": expected an array of nodes, got ${show(list)}`)
    }
    for (const j of list) integer(`adjacency[${i}]`, j, 0, adjacency.length - 1)
    if (new Set(list).size < list.length || list.includes(i)) {
      throw new RangeError(
        `"adjacency[${i}]": expected each neighbour once, and not ${i}, got ${list}`,
      )
    }
  }
  const sets = adjacency.map((list) => new Set<number>(list))
  for (const [i, list] of adjacency.entries()) {
    for (const j of list) {
      if (sets[j]!.has(i)) continue
      throw new RangeError(`"adjacency[${j}]": expected ${i}, which has ${j} for a neighbour`)
    }
  }
  return adjacency.map((list: readonly number[]) => {
    const neighbours: Record<number, number> = {}
    for (const j of list) neighbours[j] = 1 / (1 + Math.max(list.length, adjacency[j]!.length))
    return { self: rest(neighbours), neighbours }
  })
}

/**
 * Whether weights are the same from both ends of each edge, to the bit: what keeps the mean.
 *
 * @throws TypeError, RangeError  if it is no topology, naming the entry at fault
 */
export function isSymmetric(topology: Topology): boolean {
  check(topology)
  return topology.every(({ neighbours }, i) =>
    Object.entries(neighbours).every(
      ([j, weight]) => topology[Number(j)]!.neighbours[i] === weight,
    ),
  )
}

/**
 * Whether no weight is negative, and those of each row and of each column sum to 1, to rounding.
 *
 * @throws TypeError, RangeError  if it is no topology, naming the entry at fault
 */
export function isDoublyStochastic(topology: Topology): boolean {
  check(topology)
  const rows = topology.map(({ self }) => self)
  const cols = [...rows]
  let least = Math.min(...rows)
  for (const [i, { neighbours }] of topology.entries()) {
    for (const [j, weight] of Object.entries(neighbours)) {
      rows[i]! += weight
      cols[Number(j)]! += weight
      least = Math.min(least, weight)
    }
  }
  const one = (sum: number) => Math.abs(sum - 1) <= ROUNDING * topology.length
  return least >= -ROUNDING * topology.length && rows.every(one) && cols.every(one)
}

/**
 * 1 − |λ|, λ being the eigenvalue of W next to 1 in magnitude: each iteration with γ = 1 brings what is
 * left of disagreement to |λ| of it, or less. 0 where the graph is not connected.
 *
 * Takes some n³ operations: seconds for some hundred nodes.
 *
 * @throws RangeError, TypeError  if it is no symmetric topology of two nodes or more
 */
export function spectralGap(topology: Topology): number {
  const { second, largest } = spectrum(topology)
  return Math.max(0, 1 - Math.max(Math.abs(1 - second), Math.abs(1 - largest)))
}

/**
 * γ* = 2 / (λ₂ + λₘₐₓ), with the second smallest and the largest eigenvalue of I − W: with it plain
 * gossip converges fastest (Xiao & Boyd, "Fast linear iterations for distributed averaging", 2004, §4.1,
 * constant edge weights), and PowerGossip's authors use it for both.
 *
 * @throws RangeError, TypeError  if it is no symmetric, connected topology of two nodes or more
 */
export function optimalGamma(topology: Topology): number {
  const { second, largest } = spectrum(topology)
  if (second <= NOTHING) {
    throw new RangeError('"topology": expected a connected graph: there is no way to some node')
  }
  return 2 / (second + largest)
}

/** Of the eigenvalues of I − W; the smallest is 0. */
function spectrum(topology: Topology): { second: number; largest: number } {
  check(topology)
  const n = topology.length
  if (n < 2) throw new RangeError(`"topology": expected two nodes or more, got ${n}`)
  if (!isSymmetric(topology) || !isDoublyStochastic(topology)) {
    throw new RangeError('"topology": expected symmetric weights, ≥ 0, that sum to 1 at each node')
  }
  const matrix = new Float64Array(n * n)
  for (const [i, { self, neighbours }] of topology.entries()) {
    matrix[i * n + i] = 1 - self
    for (const [j, weight] of Object.entries(neighbours)) matrix[i * n + Number(j)] = -weight
  }
  const { values } = eigen(matrix, n)
  return { second: values[n - 2]!, largest: values[0]! }
}

/** @throws TypeError, RangeError  unless all weights are numbers, of nodes that there are */
function check(topology: Topology): void {
  if (!Array.isArray(topology)) {
    throw new TypeError(`"topology": expected an array of rows, got ${show(topology)}`)
  }
  integer('topology.length', topology.length, 1, MOST_NODES)
  for (const [i, row] of topology.entries()) {
    const neighbours: unknown = row?.neighbours
    if (typeof neighbours !== 'object' || neighbours === null) {
      throw new TypeError(`"topology[${i}]": expected { self, neighbours }, got ${show(row)}`)
    }
    finite(`topology[${i}].self`, row.self)
    for (const [key, weight] of Object.entries(neighbours)) {
      integer(`topology[${i}].neighbours`, Number(key), 0, topology.length - 1)
      finite(`topology[${i}].neighbours[${key}]`, weight)
      if (Number(key) !== i) continue
      throw new RangeError(`"topology[${i}].neighbours": expected other nodes, got ${key}`)
    }
  }
}

function finite(name: string, value: unknown): void {
  if (typeof value === 'number' && Number.isFinite(value)) return
  throw new TypeError(`"${name}": expected a finite number, got ${show(value)}`)
}

/** The same weight for each link; several links to one node add up. */
function linked(
  nodes: number,
  weight: number,
  links: (node: number) => readonly number[],
): Topology {
  return Array.from({ length: nodes }, (_, i) => {
    const times = new Map<number, number>()
    for (const link of links(i)) times.set(link % nodes, (times.get(link % nodes) ?? 0) + 1)
    times.delete(i)
    const neighbours: Record<number, number> = {}
    for (const [j, count] of times) neighbours[j] = count * weight
    return { self: rest(neighbours), neighbours }
  })
}

function rest(neighbours: Readonly<Record<number, number>>): number {
  return Object.values(neighbours).reduce((left, weight) => left - weight, 1)
}
