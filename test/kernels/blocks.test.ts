import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Dims } from '../../src/backend.ts'
import { BLOCK_WORDS } from '../../src/backends/wasm/blocks.ts'
import { DWARFED, instantiate, moduleFor, REFUSED } from '../../src/backends/wasm/load.ts'
import { gamma, same, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { magnitudes } from '../support/shapes.ts'

// The table of blocks: a matrix cut into blocks must give the same result as the whole. The tests
// also run with relaxed SIMD where the engine has it.

const MATRICES: Dims[] = [
  { rows: 13, cols: 37, rank: 3 },
  { rows: 1, cols: 5, rank: 1 },
  { rows: 1, cols: 11, rank: 0 },
  { rows: 9, cols: 2100, rank: 5 },
  { rows: 6, cols: 64, rank: 4 },
  { rows: 1, cols: 2, rank: 0 },
]

const PAD = 3 // floats between matrices and beside the caller's rows, so that strides count
const GUARD = -4711

/** Parts of a matrix: first row, first column, rows, columns. */
type Cut = (dims: Dims) => readonly (readonly [number, number, number, number])[]

const CUTS: Record<string, Cut> = {
  whole: ({ rows, cols }) => [[0, 0, rows, cols]],
  'cut by rows': ({ rows, cols }) =>
    rows < 5
      ? [[0, 0, rows, cols]]
      : [
          [0, 0, 4, cols],
          [4, 0, rows - 4, cols],
        ],
  'cut into 1, 2, 3, … rows': ({ rows, cols }) => {
    const parts: [number, number, number, number][] = []
    for (let [i, height] = [0, 1]; i < rows; i += height++) {
      parts.push([i, 0, Math.min(height, rows - i), cols])
    }
    return parts
  },
  'cut by columns': ({ rows, cols }) =>
    cols < 8
      ? [[0, 0, rows, cols]]
      : Array.from({ length: rows }, (_, i) => [
          [i, 0, 1, 7] as const,
          [i, 7, 1, 1] as const,
          [i, 8, 1, cols - 8] as const,
        ]).flat(),
}

const memory = new WebAssembly.Memory({ initial: 16 })
const kernels = instantiate(await moduleFor(undefined), memory)

/** Operands by name in wasm memory, and a table that cuts them. */
function lay(cut: Cut) {
  let next = kernels.heapBase.value
  const array = (floats: number): Float32Array => {
    const view = new Float32Array(memory.buffer, next, floats).fill(GUARD)
    next += view.byteLength + 4 * PAD
    return view
  }
  const sum = (of: (dims: Dims) => number): number => MATRICES.reduce((n, d) => n + of(d), 0)
  const floats = sum(({ rows, cols }) => rows * cols + PAD)
  const callers = sum(({ rows, cols }) => rows * (cols + PAD))
  const left = sum(({ rows, rank }) => rows * rank)
  const right = sum(({ cols, rank }) => cols * rank)
  const [m, g, p, q, mean, former] = [floats, callers, left, right, right, callers].map(array) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const words: number[][] = []
  let [atM, atG, atP, atQ] = [0, 0, 0, 0]
  for (const dims of MATRICES) {
    const { rows, cols, rank } = dims
    const stride = cols + PAD
    for (const [i, j, height, width] of cut(dims)) {
      const inM = 4 * (atM + i * cols + j)
      const inG = 4 * (atG + i * stride + j)
      const [inP, inQ] = [4 * (atP + i), 4 * (atQ + j)]
      const first = j === 0 ? 1 : 0
      words.push([inM, cols, height, width, rank, inP, rows, inQ, cols, inG, stride, first, inG])
    }
    atM += rows * cols + PAD
    atG += rows * stride
    atP += rows * rank
    atQ += cols * rank
  }
  const table = new Int32Array(memory.buffer, next, BLOCK_WORDS * words.length)
  table.set(words.flat())
  return { m, g, p, q, mean, former, table: table.byteOffset, count: words.length }
}

type Laid = ReturnType<typeof lay>

/** Places matrices from one seed in memory: `into` in rows of `stride`, with guards between. */
function fill(into: Float32Array, seed: number, padded: 'matrices' | 'rows'): void {
  let at = 0
  for (const [index, { rows, cols }] of MATRICES.entries()) {
    const values = gaussian(rows * cols, 10 * seed + index)
    for (let i = 0; i < rows; i++) {
      into.set(values.subarray(i * cols, (i + 1) * cols), at)
      at += cols + (padded === 'rows' ? PAD : 0)
    }
    at += padded === 'matrices' ? PAD : 0
  }
}

function prepare(cut: Cut): Laid {
  const laid = lay(cut)
  fill(laid.m, 1, 'matrices')
  fill(laid.g, 2, 'rows')
  laid.q.set(gaussian(laid.q.length, 3))
  laid.mean.set(gaussian(laid.mean.length, 4))
  laid.p.set(gaussian(laid.p.length, 5))
  return laid
}

/** Runs a kernel on a table, and returns copies of all operands. */
function outcome(
  cut: Cut,
  kernel: (laid: Laid) => void,
): Record<'m' | 'g' | 'p' | 'q', Float32Array> {
  const laid = prepare(cut)
  kernel(laid)
  const { m, g, p, q } = laid
  return { m: m.slice(), g: g.slice(), p: p.slice(), q: q.slice() }
}

/** @returns the kernel's result */
const runAddProject = ({ p, m, g, q, former, table, count }: Laid): number => {
  p.fill(Number.NaN)
  const [p0, m0, g0, q0, f0] = [p, m, g, q, former].map(({ byteOffset }) => byteOffset)
  return kernels.accumulateProject(p0!, m0!, g0!, q0!, f0!, table, count)
}

const addProject = (laid: Laid): void => assert.is.not(runAddProject(laid), REFUSED)

const projectOnly = ({ p, m, q, table, count }: Laid): void => {
  p.fill(Number.NaN)
  kernels.project(p.byteOffset, m.byteOffset, q.byteOffset, table, count)
}

const test = suite('tables of blocks')

for (const [name, cut] of Object.entries(CUTS)) {
  test(`accumulateProject: ${name}`, () => {
    const got = outcome(cut, addProject)
    const want = outcome(CUTS.whole!, addProject)
    same(got.m, want.m)
    same(got.g, want.g)
    if (name !== 'cut by columns') return same(got.p, want.p)
    // The two sums have different orders; both are within the bound of the longest row.
    const size = outcome(CUTS.whole!, (laid) => {
      laid.m.set(magnitudes(want.m))
      laid.q.set(magnitudes(laid.q))
      projectOnly(laid)
    })
    within(got.p, want.p, (i) => 2 * gamma(2102) * size.p[i]!)
  })

  test(`accumulateProject adds the caller's rows: ${name}`, () => {
    const got = outcome(cut, addProject)
    const before = outcome(cut, () => {})
    let [atM, atG] = [0, 0]
    for (const { rows, cols } of MATRICES) {
      for (let i = 0; i < rows; i++, atG += PAD) {
        for (let j = 0; j < cols; j++, atM++, atG++) {
          assert.is(got.m[atM], Math.fround(before.m[atM]! + before.g[atG]!))
        }
      }
      same(got.m.subarray(atM, atM + PAD), new Float32Array(PAD).fill(GUARD))
      atM += PAD
    }
  })

  test(`project is accumulateProject's second half: ${name}`, () => {
    const sum = outcome(cut, addProject)
    const got = outcome(cut, (laid) => {
      laid.m.set(sum.m)
      projectOnly(laid)
    })
    same(got.p, sum.p)
    same(got.m, sum.m)
  })

  test(`settle is reconstruct and residual: ${name}`, () => {
    for (const add of [0, 1]) {
      const got = outcome(cut, ({ g, m, p, q, mean, table, count }) => {
        const at = [g, m, p, q, mean].map(({ byteOffset }) => byteOffset)
        kernels.settle(at[0]!, at[1]!, at[2]!, at[3]!, at[4]!, table, count, 0.7, add)
      })
      const want = outcome(CUTS.whole!, ({ g, m, p, q, mean, table, count }) => {
        const at = [g, m, p, q, mean].map(({ byteOffset }) => byteOffset)
        kernels.reconstruct(at[0]!, at[2]!, at[4]!, table, count, 0.7, add)
        kernels.residual(at[1]!, at[2]!, at[3]!, table, count)
      })
      same(got.g, want.g)
      same(got.m, want.m)
    }
  })

  test(`accumulateProject leaves the former M, laid out as g, or over g: ${name}`, () => {
    const before = prepare(cut)
    const [m, g] = [before.m.slice(), before.g.slice()]
    const want = new Float32Array(g.length).fill(GUARD)
    let [atM, atG] = [0, 0]
    for (const { rows, cols } of MATRICES) {
      for (let i = 0; i < rows; i++, atM += cols, atG += cols + PAD) {
        want.set(m.subarray(atM, atM + cols), atG)
      }
      atM += PAD
    }
    addProject(before)
    same(before.former, want)
    same(before.g, g)
    const [sum, p] = [before.m.slice(), before.p.slice()]
    const over = prepare(cut)
    addProject({ ...over, former: over.g })
    same(over.m, sum)
    same(over.p, p)
    same(over.g, want)
  })

  test(`accumulateProject says where the gradient is much larger than M: ${name}`, () => {
    const count = lay(cut).count
    for (const [old, value, want] of [
      [1, 8, 0],
      [-1, 8.000001, DWARFED],
      [1, -3e4, DWARFED],
      [2 ** -149, 2 ** -146, 0],
      [2 ** -149, 1.5 * 2 ** -146, DWARFED],
      [0, 3e4, 0],
      [2 ** 97, -(2 ** 99.9), 0],
      [2 ** 90, 2 ** 99.9, DWARFED],
    ] as const) {
      for (const at of new Set([0, 1, count >> 1, count - 2, count - 1])) {
        const laid = prepare(cut)
        laid.m.fill(0)
        laid.g.fill(0)
        const words = new Int32Array(memory.buffer, laid.table + 4 * BLOCK_WORDS * at, BLOCK_WORDS)
        const [inM, inG, inRow] = [words[0]! / 4, words[9]! / 4, words[3]! - 1]
        laid.m[inM] = old // the first of a block, and the last of its row
        laid.g[inG + inRow] = value
        assert.is(runAddProject(laid), want, `${old}, ${value}, block ${at}`)
      }
    }
  })

  test(`accumulateProject leaves M to the bit where it refuses a gradient: ${name}`, () => {
    const before = prepare(cut)
    const [m, count] = [before.m.slice(), before.count]
    const blocks = [...new Int32Array(memory.buffer, before.table, BLOCK_WORDS * count)]
    for (const bad of new Set([0, 1, count >> 1, count - 2, count - 1])) {
      const [inG, stride, rows, cols] = [9, 10, 2, 3].map(
        (word) => blocks[BLOCK_WORDS * bad + word]!,
      )
      for (const [factor, value] of [
        [1, Number.POSITIVE_INFINITY],
        [1e20, Number.NaN],
        [1e-20, -(2 ** 100)],
      ] as const) {
        for (const over of [false, true]) {
          const laid = prepare(cut)
          for (let i = 0; i < laid.g.length; i++) laid.g[i]! *= factor
          laid.g[inG! / 4 + (rows! - 1) * stride! + cols! - 1] = value
          assert.is(runAddProject(over ? { ...laid, former: laid.g } : laid), REFUSED)
          same(laid.m, m)
        }
      }
    }
  })

  test(`accumulateProject refuses sums that reach 2¹⁰⁰: ${name}`, () => {
    const half = 2 ** 99
    const below = half * (1 - 2 ** -24)
    for (const [old, value, refused] of [
      [below, below, false],
      [half, half, true],
      [-half, -half, true],
      [2 ** 100, -below, false],
      [-(2 ** 100), 0, true],
      [3.4e38, -1, true],
      [Number.NaN, 0, true],
    ] as const) {
      const laid = prepare(cut)
      const words = new Int32Array(memory.buffer, laid.table, BLOCK_WORDS)
      laid.m[words[0]! / 4] = old
      laid.g[words[9]! / 4] = value
      const m = laid.m.slice()
      assert.is(runAddProject(laid) === REFUSED, refused, `${old} + ${value}`)
      if (refused) same(laid.m, m)
    }
  })
}

const backprojectOnly = ({ q, m, p, table, count }: Laid): void => {
  q.fill(Number.NaN)
  kernels.backproject(q.byteOffset, m.byteOffset, p.byteOffset, table, count)
}

for (const width of [1, 4, 7, 1028]) {
  test(`backproject gives columns their bits, however many are beside them: ${width}`, () => {
    const cut: Cut = ({ rows, cols }) =>
      Array.from({ length: Math.ceil(cols / width) }, (_, i) => {
        const j = i * width
        return [0, j, rows, Math.min(width, cols - j)]
      })
    same(outcome(cut, backprojectOnly).q, outcome(CUTS.whole!, backprojectOnly).q)
  })
}

test('a large matrix of short rows has the bits of its parts', async () => {
  const [rows, cols, rank] = [16390, 65, 3] // above 2²⁰ floats, where inline/touch.ts is used
  const memory = new WebAssembly.Memory({ initial: 240 })
  const kernels = instantiate(await moduleFor(undefined), memory)
  let next = 4 * BLOCK_WORDS * rows + kernels.heapBase.value
  const array = (floats: number): Float32Array => {
    const array = new Float32Array(memory.buffer, next, floats)
    next += array.byteLength
    return array
  }
  const [m, g, former] = [array(rows * cols), array(rows * cols), array(rows * cols)]
  const [p, q, own] = [array(rows * rank), array(cols * rank), array(cols * rank)]
  const step = (heights: number): Float32Array[] => {
    m.set(gaussian(m.length, 1))
    g.set(gaussian(g.length, 2))
    q.set(gaussian(q.length, 3))
    const table = new Int32Array(memory.buffer, kernels.heapBase.value, BLOCK_WORDS * rows)
    const list: number[] = []
    for (let i = 0; i < rows; i += heights) {
      const [at, height] = [4 * i * cols, Math.min(heights, rows - i)]
      list.push(at, cols, height, cols, rank, 4 * i, rows, 0, cols, at, cols, 1, at)
    }
    table.set(list)
    const count = list.length / BLOCK_WORDS
    const [atM, atG, atP, atQ, atOwn] = [m, g, p, q, own].map((x) => x.byteOffset)
    const from = [atP!, atM!, atG!, atQ!, former.byteOffset] as const
    assert.is(kernels.accumulateProject(...from, table.byteOffset, count), 0)
    const left = p.slice()
    kernels.project(atP!, atM!, atQ!, table.byteOffset, count)
    same(p, left)
    table.set([0, cols, rows, cols, rank, 0, rows, 0, cols, 0, cols, 1, 0])
    kernels.backproject(atOwn!, atM!, atP!, table.byteOffset, 1)
    table.set(list)
    kernels.settle(atG!, atM!, atP!, atOwn!, atQ!, table.byteOffset, count, 0.5, 1)
    return [left, own, m, g].map((x) => x.slice())
  }
  const whole = step(rows)
  for (const [i, part] of step(7).entries()) same(part, whole[i]!)
})

test('backproject takes whole matrices, each for itself', () => {
  const got = outcome(CUTS.whole!, backprojectOnly)
  let [atM, atP, atQ] = [0, 0, 0]
  for (const { rows, cols, rank } of MATRICES) {
    for (let k = 0; k < rank; k++) {
      for (let j = 0; j < cols; j++, atQ++) {
        let [sum, size] = [0, 0]
        for (let i = 0; i < rows; i++) {
          const product = got.m[atM + i * cols + j]! * got.p[atP + k * rows + i]!
          sum += product
          size += Math.abs(product)
        }
        within([got.q[atQ]!], [sum], () => gamma(rows) * size)
      }
    }
    atM += rows * cols + PAD
    atP += rows * rank
  }
})

test.run()
