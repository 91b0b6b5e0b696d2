// Gossip topologies: mixing matrices W, and the rate at which they reach consensus.
import { eigen } from '../linalg/eigen.ts'
import { anObject, integer, knownOptions, show } from '../validate.ts'

/** One node's row of a mixing matrix W. Weights of nodes that are not listed are 0. */
export interface Mixing {
  /** its own weight: 1 minus the sum of its neighbours' weights */
  readonly self: number
  /** the weights of its neighbours, by number: the option `neighbours` of `createGossip` */
  readonly neighbours: Readonly<Record<number, number>>
}

/** A mixing matrix: the rows of nodes 0 … n − 1. */
export type Topology = readonly Mixing[]

/** Tolerance for a sum of weights, per node. */
const ROUNDING = 4 * Number.EPSILON

/** An eigenvalue of I − W up to this counts as 0; the largest is at most 2. */
const ZERO = 1e-12

const MOST_NODES = 2 ** 16

/** More nodes than this take minutes. */
const MOST_SPECTRAL = 4096

/**
 * A ring: each node has two neighbours, each with weight 1/3. With two nodes, each has one
 * neighbour, with weight 2/3.
 *
 * @param nodes  how many: 1 … 65,536
 * @throws TypeError, RangeError  if `nodes` is no such number
 */
export function ring(nodes: number): Topology {
  integer('nodes', nodes, 1, MOST_NODES)
  return weighted(nodes, 1 / 3, (i) => (nodes === 1 ? [] : [i - 1 + nodes, i + 1]))
}

/**
 * A torus, a grid whose opposite edges are joined: each node has four neighbours, each with weight
 * 1/5.
 *
 * If two of them are the same node, that node has both weights; so 2 × 2 gives two neighbours with
 * weight 2/5. Along a side of 1, a node is its own neighbour: both weights go to the node itself.
 *
 * @param rows, cols  the sides; rows · cols is 1 … 65,536
 * @throws TypeError, RangeError  naming the argument at fault
 */
export function torus(rows: number, cols: number): Topology {
  integer('rows', rows, 1, MOST_NODES)
  integer('cols', cols, 1, MOST_NODES)
  integer('rows · cols', rows * cols, 1, MOST_NODES)
  return weighted(rows * cols, 1 / 5, (node) => {
    const [i, j] = [Math.floor(node / cols), node % cols]
    const at = (row: number, col: number) => ((row + rows) % rows) * cols + ((col + cols) % cols)
    return [at(i - 1, j), at(i + 1, j), at(i, j - 1), at(i, j + 1)]
  })
}

/**
 * The complete graph with weights 1/n. One iteration of `plain` yields the mean.
 *
 * @param nodes  n: 1 … 65,536
 * @throws TypeError, RangeError  if `nodes` is no such number
 */
export function complete(nodes: number): Topology {
  integer('nodes', nodes, 1, MOST_NODES)
  const all = Array.from({ length: nodes }, (_, i) => i)
  return weighted(nodes, 1 / nodes, (i) => all.filter((j) => j !== i))
}

/**
 * A star: node 0 is the neighbour of all others. It has Metropolis weights.
 *
 * @param nodes  how many: 1 … 65,536
 * @throws TypeError, RangeError  if `nodes` is no such number
 */
export function star(nodes: number): Topology {
  integer('nodes', nodes, 1, MOST_NODES)
  const leaves = Array.from({ length: nodes - 1 }, (_, i) => i + 1)
  return metropolis([leaves, ...leaves.map(() => [0])])
}

/**
 * Metropolis weights for any graph: an edge has the weight 1 / (1 + the larger degree of its two
 * ends). The matrix is symmetric and doubly stochastic, and each node's own weight is positive
 * (Xiao, Boyd & Kim, "Distributed average consensus with least-mean-square deviation", 2007, §4).
 *
 * A node need not know the graph: `createGossip` uses the smaller of the two weights that the ends
 * of an edge ask for, so each node may ask for 1 / (1 + its own degree).
 *
 * @param adjacency  the lists of neighbours of nodes 0 … n − 1. It must be symmetric: if j is in
 *   the list of i, i is in the list of j.
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
    return { self: selfWeight(neighbours), neighbours }
  })
}

/**
 * Whether both ends of each edge give it the same weight, to the bit. That keeps the mean.
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
 * Whether no weight is negative, and each row and each column sums to 1, all to rounding.
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
 * The spectral gap 1 − |λ|, where λ is the eigenvalue of W with the second largest magnitude. An
 * iteration of `plain` with γ = 1 reduces the nodes' distance from their mean to |λ| of it, or
 * less. 0 if the graph is not connected.
 *
 * Takes about n³ operations: seconds for a few hundred nodes.
 *
 * @throws RangeError, TypeError  if it is no symmetric topology of 2 … 4096 nodes
 */
export function spectralGap(topology: Topology): number {
  const { second, largest } = spectrum(topology)
  return Math.max(0, 1 - Math.max(Math.abs(1 - second), Math.abs(1 - largest)))
}

/**
 * The consensus step size γ* = 2 / (λ₂ + λₘₐₓ), where λ₂ and λₘₐₓ are the second smallest and the
 * largest eigenvalue of I − W. With it plain gossip converges fastest (Xiao & Boyd, "Fast linear
 * iterations for distributed averaging", 2004, §4.1, constant edge weights). PowerGossip's authors
 * use it both for plain gossip and for PowerGossip.
 *
 * @throws RangeError, TypeError  if it is no symmetric, connected topology of 2 … 4096 nodes
 */
export function optimalGamma(topology: Topology): number {
  const { second, largest } = spectrum(topology)
  if (second <= ZERO) {
    throw new RangeError('"topology": expected a connected graph: there is no way to some node')
  }
  return 2 / (second + largest)
}

/** The second smallest and the largest eigenvalue of I − W; the smallest is 0. */
function spectrum(topology: Topology): { second: number; largest: number } {
  check(topology)
  const n = topology.length
  // Its matrix has n² numbers, and the time is in proportion to n³.
  integer('topology.length', n, 2, MOST_SPECTRAL)
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

/**
 * @throws TypeError, RangeError  unless all weights are finite, and of other nodes in the topology
 */
function check(topology: Topology): void {
  if (!Array.isArray(topology)) {
    throw new TypeError(`"topology": expected an array of rows, got ${show(topology)}`)
  }
  integer('topology.length', topology.length, 1, MOST_NODES)
  for (const [i, row] of topology.entries()) {
    knownOptions(row, ['self', 'neighbours'], `topology[${i}]`)
    const { neighbours } = row
    anObject(`topology[${i}].neighbours`, neighbours, 'weights by number')
    finite(`topology[${i}].self`, row.self)
    for (const [key, weight] of Object.entries(neighbours as object)) {
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

/**
 * Gives each neighbour the same weight. A neighbour that is listed several times has it several
 * times.
 *
 * @param neighboursOf  the neighbours of a node; their numbers count modulo `nodes`
 */
function weighted(
  nodes: number,
  weight: number,
  neighboursOf: (node: number) => readonly number[],
): Topology {
  return Array.from({ length: nodes }, (_, i) => {
    const times = new Map<number, number>()
    for (const j of neighboursOf(i)) times.set(j % nodes, (times.get(j % nodes) ?? 0) + 1)
    times.delete(i)
    const neighbours: Record<number, number> = {}
    for (const [j, count] of times) neighbours[j] = count * weight
    return { self: selfWeight(neighbours), neighbours }
  })
}

/** A node's own weight: 1 minus those of its neighbours. */
function selfWeight(neighbours: Readonly<Record<number, number>>): number {
  return Object.values(neighbours).reduce((left, weight) => left - weight, 1)
}
