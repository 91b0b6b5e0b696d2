import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { BATCH, type FieldValues, PARAM, pack } from '../../../src/backends/webgpu/structs.ts'
import { columnsOf, conditioned, defect, outside, SIZES } from '../../support/bases.ts'
import { same, UNIT } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'
import { openDevice } from './device.ts'
import { dispatch } from './dispatch.ts'

const opened = await openDevice()
const test = suite('orthonormalize in WGSL')

/** between matrices and behind columns: as floats, NaN */
const PADDING = Number.NaN

/** fields that the shader has no use for */
const UNREAD = { stride: 1, cols: 2, q: 3, qStride: 3, raw: 3, at: 3, mode: 3, tensor: 3 }

interface Matrix {
  readonly columns: Float32Array
  readonly rows: number
  readonly rank: number
}

interface Where {
  readonly seed?: number
  readonly step?: number
  /** workgroups */
  readonly groups?: number | readonly [number, number]
}

/** On |PᵀP − I|, as its head says: within the 5e-7 of the contract. */
const BOUND = 4.5 * UNIT

/**
 * How much of a column, relative to its length, may lie outside of the span of those up to it. The
 * projections are added up in rank ÷ 4 sums of four, and Σ|amounts| ≤ √rank. 4: they are subtracted,
 * the rest is scaled and corrected, and later turns take next to nothing.
 */
const spanBound = (rank: number) => (4 + (rank / 4 + 4) * Math.sqrt(rank)) * UNIT

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  /** The bases of all matrices, from one dispatch; what lies around columns must stay. */
  async function bases(matrices: readonly Matrix[], where: Where = {}): Promise<Float32Array[]> {
    const { seed = 1, step = 0, groups = matrices.length } = where
    const params: FieldValues<keyof typeof PARAM.offset>[] = []
    const kept: number[] = []
    let end = 4
    for (const { rows, rank } of matrices) {
      const stride = Math.ceil(rows / 4) * 4
      params.push({ ...UNREAD, rows, rank, p: end, pStride: stride })
      kept.push(end)
      end += stride * rank + 4
    }
    const left = new Float32Array(end).fill(PADDING)
    const columnsIn = (arena: Float32Array) =>
      matrices.map(({ rows, rank }, i) =>
        Array.from({ length: rank }, (_, k) => {
          const at = kept[i]! + k * Math.ceil(rows / 4) * 4
          return arena.subarray(at, at + rows)
        }),
      )
    for (const [i, columns] of columnsIn(left).entries()) {
      const { columns: values, rows } = matrices[i]!
      for (const [k, column] of columns.entries()) {
        column.set(values.subarray(k * rows, (k + 1) * rows))
      }
    }
    const uniform = pack(BATCH, [{ count: matrices.length, seed, step }])
    const table = pack(PARAM, params)
    const [, got] = await dispatch(device, 'orthonormalize', [table, left], { uniform, groups })
    const result = columnsIn(got).map((columns, i) => {
      const basis = new Float32Array(matrices[i]!.rows * matrices[i]!.rank)
      for (const [k, column] of columns.entries()) {
        basis.set(column, k * matrices[i]!.rows)
        column.fill(PADDING)
      }
      return basis
    })
    assert.ok(got.every(Number.isNaN), 'writes where no column is')
    return result
  }

  async function basis(columns: Float32Array, rows: number, rank: number, where?: Where) {
    return (await bases([{ columns, rows, rank }], where))[0]!
  }

  function conditionedAll(condition: number, scale?: number): Promise<Matrix[]> {
    return Promise.all(
      SIZES.map(async ([rows, rank]) => {
        return { rows, rank, columns: await conditioned(rows, rank, condition, scale) }
      }),
    )
  }

  function orthonormal(p: Float32Array, rows: number): void {
    const worst = defect(p, rows)
    assert.ok(worst <= BOUND, `${rows} × ${p.length / rows}: ${worst}`)
  }

  function spans({ columns, rows, rank }: Matrix, p: Float32Array): void {
    const rest = outside(columns, p, rows)
    assert.ok(rest <= spanBound(rank), `${rows} × ${rank}: ${rest}`)
  }

  for (let exponent = 0; exponent <= 7; exponent++) {
    test(`gives bases at condition number 1e${exponent}`, async () => {
      const matrices = await conditionedAll(10 ** exponent)
      const got = await bases(matrices)
      for (const [i, p] of got.entries()) orthonormal(p, matrices[i]!.rows)
      if (exponent > 5) return
      const others = await bases(matrices, { seed: 2 })
      for (const [i, p] of got.entries()) {
        spans(matrices[i]!, p)
        same(p, others[i]!) // none was replaced
      }
    })
  }

  for (const scale of [1e-30, 1e-20, 1e20, 1e30]) {
    test(`does not depend on the scale: ${scale}`, async () => {
      for (const condition of [1, 1e5]) {
        const matrices = await conditionedAll(condition, scale)
        for (const [i, p] of (await bases(matrices)).entries()) {
          orthonormal(p, matrices[i]!.rows)
          spans(matrices[i]!, p)
        }
      }
    })
  }

  test('gives the same bits for inputs that differ by a power of two', async () => {
    const columns = await conditioned(515, 8, 1e3)
    const want = await basis(columns, 515, 8)
    for (const scale of [2 ** -40, 2 ** 60]) {
      const scaled = columns.map((value) => value * scale)
      same(await basis(scaled, 515, 8), want)
    }
  })

  test('takes columns whose roundings all go the same way', async () => {
    const rows = 50_000
    const columns = new Float32Array(3 * rows).fill(0.1, 0, rows)
    columns.fill(1e-3, rows).fill(0.7, rows, rows + 7)
    for (let i = 0; i < rows; i++) columns[2 * rows + i] = i % 2 ? 0.3 : 3e-5
    for (const small of [0.0047, 0.0051, 0.0059, 0.0071]) {
      const skewed = new Float32Array(rows).fill(small).fill(1, 0, 1) // most squares are no unit
      orthonormal(await basis(skewed, rows, 1), rows)
    }
    const p = await basis(columns, rows, 3)
    orthonormal(p, rows)
    spans({ columns, rows, rank: 3 }, p)
  })

  test('replaces all columns of a zero matrix, and completes a square one', async () => {
    const zeros = SIZES.map(([rows, rank]) => {
      return { rows, rank, columns: new Float32Array(rows * rank) }
    })
    for (const [i, p] of (await bases(zeros)).entries()) orthonormal(p, zeros[i]!.rows)
  })

  test('replaces columns that are zero or not finite, and those alone', async () => {
    for (const bad of [0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const columns = gaussian(100 * 5, 1)
      columns[240] = bad
      if (bad === 0) columns.fill(0, 200, 300)
      const p = await basis(columns, 100, 5)
      orthonormal(p, 100)
      const others = (x: Float32Array) =>
        Float32Array.from([...x.subarray(0, 200), ...x.subarray(300)])
      spans({ columns: others(columns), rows: 100, rank: 4 }, p)
    }
  })

  test('replaces copies, multiples and sums of the columns before', async () => {
    for (const rows of [40, 65, 4608]) {
      const columns = gaussian(rows * 32, 1)
      const column = columnsOf(columns, rows)
      column[3]!.set(column[1]!)
      column[4]!.set(column[0]!.map((value) => value * -1e10))
      column[9]!.set(column[8]!.map((value, i) => value + column[2]![i]!))
      column[31]!.set(column[5]!.map((value) => value / 3))
      const p = await basis(columns, rows, 32)
      orthonormal(p, rows)
      spans({ columns, rows, rank: 32 }, p)
      // The replacements are random: another seed gives others.
      const others = await basis(columns, rows, 32, { seed: 2 })
      const kept = (k: number) =>
        columnsOf(p, rows)[k]!.every((value, i) => value === others[k * rows + i])
      assert.equal([0, 1, 2, 3, 4, 9, 31].map(kept), [true, true, true, false, false, false, false])
    }
  })

  test('draws by seed, step, matrix, column and row', async () => {
    const zero = { rows: 300, rank: 1, columns: new Float32Array(300) }
    const pair = { rows: 300, rank: 2, columns: new Float32Array(600) }
    const drawn = [
      ...(await bases([zero, zero])),
      ...(await bases([zero], { seed: 2 })),
      ...(await bases([zero], { step: 1 })),
      ...columnsOf((await bases([pair]))[0]!, 300).slice(1),
    ]
    for (const [i, x] of drawn.entries()) {
      assert.ok(new Set(x).size > 290)
      for (const y of drawn.slice(0, i)) {
        const cosine = x.reduce((sum, value, at) => sum + value * y[at]!, 0)
        assert.ok(Math.abs(cosine) < 0.3, `${cosine}`) // five standard deviations
      }
    }
    same((await bases([zero]))[0]!, drawn[0]!)
  })

  test('takes one row', async () => {
    for (const value of [-3e-30, 1, 5e29]) {
      const p = await basis(Float32Array.of(value), 1, 1)
      assert.ok(Math.abs(p[0]! - Math.sign(value)) <= 2 * UNIT, `${p[0]}`)
    }
  })

  test('leaves an orthonormal basis as it is, to the last bit or so', async () => {
    const p = await basis(Float32Array.of(0, 1, 0, 0, 0, -1), 3, 2)
    for (const [i, want] of [0, 1, 0, 0, 0, -1].entries()) {
      assert.ok(Math.abs(p[i]! - want) <= 2 * UNIT, `${p}`)
    }
  })

  test('gives the same bits twice, alone and in company, in workgroups in rows', async () => {
    const matrices = await conditionedAll(1e4)
    const want = await bases(matrices)
    const again = await bases(matrices, { groups: [2, Math.ceil(matrices.length / 2)] })
    for (const [i, { columns, rows, rank }] of matrices.entries()) {
      same(again[i]!, want[i]!)
      same(await basis(columns, rows, rank), want[i]!)
    }
  })

  test('passes over parameters without rank', async () => {
    const x = gaussian(70 * 2, 1)
    const none = { rows: 70, rank: 0, columns: new Float32Array(0) }
    const [, p] = await bases([none, { rows: 70, rank: 2, columns: x }, none])
    orthonormal(p!, 70)
    spans({ columns: x, rows: 70, rank: 2 }, p!)
  })
}

test.run()
