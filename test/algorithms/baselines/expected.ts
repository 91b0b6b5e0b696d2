// The baselines, and for each a check of one parameter in one step: the part that left M must be
// the part that the method sends. The checks compute this in other ways than the library.
import * as assert from 'uvu/assert'
import {
  bestRank,
  randomBlock,
  randomK,
  signNorm,
  topK,
  uncompressed,
} from '../../../src/baselines.ts'
import type { Wire } from '../../../src/frames.ts'
import type { Options } from '../../../src/index.ts'
import { eigen } from '../../../src/linalg/eigen.ts'
import { SMALLEST, UNIT } from '../../support/close.ts'
import { norm } from '../../support/norms.ts'

/** One worker, one parameter, one step that counted. */
export interface Taken {
  readonly rows: number
  readonly cols: number
  /** e + g, rounded once as the library does it */
  readonly m: Float32Array
  /** e of the next step */
  readonly left: Float32Array
  readonly wire: Wire
}

export interface Baseline {
  readonly name: string
  readonly options: Options
  /** Roundings of a contribution m − left, element by element. */
  slack(taken: Taken): (j: number) => number
  /** Fails unless the part that left M is what the method sends. */
  check(taken: Taken): void
  /** checks all workers that counted together */
  checkAll?(all: readonly Taken[]): void
}

const RATIO = 0.3
const RANK = 1
const BEST = 2

/** left = m − what was sent: one rounding */
const once = ({ left }: Taken) => {
  return (j: number) => UNIT * Math.abs(left[j]!) + SMALLEST
}

export const BASELINES: readonly Baseline[] = [
  { name: 'uncompressed', options: { method: uncompressed() }, slack: once, check: nothingLeft },
  { name: 'topK', options: { method: topK({ ratio: RATIO }) }, slack: once, check: largestTaken },
  {
    name: 'randomK',
    options: { method: randomK({ rank: RANK }) },
    slack: once,
    check: someTaken,
    checkAll: (all) => assert.ok(changedBy(all).length <= budget(all[0]!), 'the same entries'),
  },
  {
    name: 'randomBlock',
    options: { method: randomBlock({ rank: RANK }) },
    slack: once,
    check: someTaken,
    checkAll: inOneBlock,
  },
  { name: 'signNorm', options: { method: signNorm() }, slack: once, check: signsTaken },
  {
    name: 'bestRank',
    options: { method: bestRank(), rank: BEST, minCompressionRate: 0 },
    slack(taken) {
      if (Math.min(taken.rows, taken.cols) === 1) return once(taken)
      // Σ |p||q| ≤ σ₁ ≤ ‖M‖, a little more where int8 rounds up; products, sums, the difference
      const bound = (2 * BEST + 3) * (UNIT * 1.1 * norm(taken.m) + SMALLEST)
      return () => bound
    },
    check: bestTaken,
  },
]

/** A float32 wire leaves nothing. */
function nothingLeft({ left, wire }: Taken): void {
  if (wire === 'f32')
    assert.ok(
      left.every((x) => x === 0),
      'nothing is left',
    )
}

function largestTaken({ m, left, wire }: Taken): void {
  const count = Math.max(1, Math.floor(0.5 * RATIO * m.length))
  const order = [...m.keys()].sort((i, j) => Math.abs(m[j]!) - Math.abs(m[i]!) || i - j)
  for (const [place, j] of order.entries()) {
    if (place >= count) assert.is(left[j], m[j], `entry ${j}, the ${place}th, stays`)
    else if (wire === 'f32') assert.is(left[j], 0, `entry ${j}, the ${place}th, goes`)
    else assert.ok(left[j] !== m[j] || wire === 'f16' || m[j] === 0, `entry ${j} goes`)
  }
}

function budget({ rows, cols }: Taken): number {
  return Math.min(RANK * (rows + cols), rows * cols)
}

function changedBy(all: readonly Taken[]): number[] {
  return [...all[0]!.m.keys()].filter((j) => all.some(({ m, left }) => m[j] !== left[j]))
}

function someTaken(taken: Taken): void {
  const { m, left, wire } = taken
  const changed = changedBy([taken])
  assert.ok(changed.length <= budget(taken), 'no more than the budget')
  if (wire !== 'f32') return
  for (const j of changed) assert.is(left[j], 0, `entry ${j} goes whole`)
  if (m.every((x) => x !== 0)) assert.is(changed.length, budget(taken))
}

/** One behind the other, the first behind the last. */
function inOneBlock(all: readonly Taken[]): void {
  const changed = changedBy(all)
  const { length } = all[0]!.m
  const fits = (start: number) =>
    changed.every((j) => (j - start + length) % length < budget(all[0]!))
  assert.ok(changed.length === 0 || changed.some(fits), `${changed} in one block`)
}

function signsTaken(taken: Taken): void {
  const { m, left, wire } = taken
  const parts = Array.from(m, (x, j) => (x < 0 ? -1 : 1) * (x - left[j]!))
  const slack = m.reduce((most, x, j) => Math.max(most, Math.abs(x), Math.abs(left[j]!)), 0)
  const want = wire === 'f32' ? m.reduce((sum, x) => sum + Math.abs(x), 0) / m.length : parts[0]!
  for (const [j, part] of parts.entries()) {
    const near = Math.abs(part - want) <= 8 * UNIT * slack + 2 * SMALLEST
    assert.ok(near, `entry ${j}: took ${part} times its sign, ${want} is due`)
  }
}

function bestTaken(taken: Taken): void {
  const { rows, cols, m, left, wire } = taken
  if (Math.min(rows, cols) === 1) {
    nothingLeft(taken)
    return
  }
  if (wire !== 'f32') return
  const size = norm(m)
  const rounding = 1e-6 * size + rows * cols * SMALLEST
  const tail = tailOf(m, rows, cols, BEST)
  assert.ok(norm(left) <= tail * (1 + 1e-6) + rounding, `${norm(left)} is left, ${tail} is best`)
  const sent = m.map((x, j) => x - left[j]!)
  const beyond = tailOf(sent, rows, cols, BEST)
  assert.ok(beyond <= rounding, `rank ${BEST}: ${beyond} of ${size} beyond`)
}

/** √Σ σ² without the `rank` largest σ */
export function tailOf(m: Float32Array, rows: number, cols: number, rank: number): number {
  const size = norm(m) || 1
  const n = Math.min(rows, cols)
  const at = (i: number, j: number) => (rows <= cols ? i * cols + j : j * cols + i)
  const gram = new Float64Array(n * n)
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      for (let j = 0; j < m.length / n; j++) {
        gram[i * n + k]! += (m[at(i, j)]! / size) * (m[at(k, j)]! / size)
      }
    }
  }
  const { values } = eigen(gram, n)
  return size * Math.sqrt(values.subarray(rank).reduce((sum, x) => sum + Math.max(0, x), 0))
}
