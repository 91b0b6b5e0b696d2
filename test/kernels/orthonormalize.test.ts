import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bench, backends, run } from '../support/backends.ts'
import { BOUND, columnsOf, conditioned, defect, outside, SIZES } from '../support/bases.ts'
import { same, UNIT } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

/** sha256 of the basis of 4609 × 5 normals: pins the order of all sums. */
const GOLDEN = 'f440d556d8c4730bd098ba2087611b0e36e651c48eead66be000a6ee66d5a906'

/** Does as the host: normals replace a column that depends on the columns before it. */
async function basis(
  on: Bench,
  columns: Float32Array,
  rows: number,
  rank: number,
  offset = 0,
): Promise<{ p: Float32Array; replaced: number[] }> {
  const replaced: number[] = []
  const [p] = await run(on, [columns], 1, offset, async ([p]) => {
    let from = 0
    for (;;) {
      from = await on.orthonormalize(p!, rows, rank, from)
      if (from === rank) return
      if (replaced.length > 2 * rank) throw new Error(`no basis: column ${from}`)
      replaced.push(from)
      const column = p!.subarray(from * rows, (from + 1) * rows)
      await on.normal(column, 1, 2, 0, from, replaced.length)
    }
  })
  return { p: p!, replaced }
}

for (const backend of backends) {
  const test = suite(`orthonormalize on ${backend.name}`)

  test('leaves an orthonormal basis as it is', async () => {
    const { p } = await basis(backend, Float32Array.of(0, 1, 0, 0, 0, -1), 3, 2)
    assert.equal(p, Float32Array.of(0, 1, 0, 0, 0, -1))
  })

  for (let exponent = 0; exponent <= 7; exponent++) {
    test(`gives a basis at condition number 1e${exponent}`, async () => {
      for (const [i, [rows, rank]] of SIZES.entries()) {
        const columns = await conditioned(rows, rank, 10 ** exponent)
        const { p, replaced } = await basis(backend, columns, rows, rank, i % 4)
        assert.ok(defect(p, rows) <= BOUND, `${rows} × ${rank}: ${defect(p, rows)}`)
        if (exponent > 5) continue
        assert.equal(replaced, [])
        // Column k is a sum of P's first k columns, up to the rounding of P's own column.
        const rest = outside(columns, p, rows)
        assert.ok(rest <= UNIT * 1.001, `${rows} × ${rank}: ${rest}`)
      }
    })
  }

  for (const scale of [1e-38, 1e-20, 1e20, 1e38]) {
    test(`does not depend on the scale: ${scale}`, async () => {
      for (const [rows, rank] of SIZES) {
        for (const condition of [1, 1e5]) {
          const columns = await conditioned(rows, rank, condition, scale)
          const { p } = await basis(backend, columns, rows, rank)
          assert.ok(defect(p, rows) <= BOUND, `${rows} × ${rank}: ${defect(p, rows)}`)
        }
      }
    })
  }

  test('gives the same bits for inputs that differ by a power of two', async () => {
    const columns = await conditioned(515, 8, 1e3)
    const want = await basis(backend, columns, 515, 8)
    for (const scale of [2 ** -40, 2 ** 60]) {
      const scaled = columns.map((value) => value * scale)
      same((await basis(backend, scaled, 515, 8)).p, want.p)
    }
  })

  test('gives a basis of denormals', async () => {
    const columns = gaussian(200 * 4, 1).map((value) => value * 1e-42)
    assert.ok(columns.every((value) => Math.abs(value) < 2 ** -126))
    const { p, replaced } = await basis(backend, columns, 200, 4)
    assert.equal(replaced, [])
    assert.ok(defect(p, 200) <= BOUND)
  })

  test('replaces all columns of a zero matrix, and completes a square one', async () => {
    for (const [rows, rank] of SIZES) {
      const { p, replaced } = await basis(backend, new Float32Array(rows * rank), rows, rank)
      assert.is(replaced.length, rank)
      assert.ok(defect(p, rows) <= BOUND, `${rows} × ${rank}: ${defect(p, rows)}`)
    }
  })

  test('replaces a zero column, and that alone', async () => {
    const columns = gaussian(100 * 5, 1)
    columns.fill(0, 200, 300)
    const { p, replaced } = await basis(backend, columns, 100, 5)
    assert.equal(replaced, [2])
    assert.ok(defect(p, 100) <= BOUND)
  })

  test('replaces copies, multiples and sums of the columns before', async () => {
    for (const rows of [40, 65, 4608]) {
      const columns = gaussian(rows * 32, 1)
      const column = columnsOf(columns, rows)
      column[3]!.set(column[1]!)
      column[4]!.set(column[0]!.map((value) => value * -1e10))
      column[9]!.set(column[8]!.map((value, i) => value + column[2]![i]!))
      column[31]!.set(column[5]!.map((value) => value / 3))
      const { p, replaced } = await basis(backend, columns, rows, 32)
      assert.equal(replaced, [3, 4, 9, 31])
      assert.ok(defect(p, rows) <= BOUND)
    }
  })

  test('takes one row', async () => {
    const { p } = await basis(backend, Float32Array.of(-3e-30), 1, 1)
    assert.equal(p, Float32Array.of(-1))
  })

  test('leaves the column that it stops at as it was', async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 0]) {
      const columns = gaussian(70 * 3, 1)
      columns.fill(bad, 70, 140)
      const before = columns.slice()
      assert.is(await backend.orthonormalize(columns, 70, 3), 1)
      same(columns.subarray(70), before.subarray(70))
    }
    const columns = gaussian(70 * 2, 1)
    columns.copyWithin(70, 0, 70)
    const before = columns.slice()
    assert.is(await backend.orthonormalize(columns, 70, 2), 1)
    same(columns.subarray(70), before.subarray(70))
  })

  test('goes on from a column as if it had never stopped', async () => {
    const columns = gaussian(131 * 6, 1)
    const want = columns.slice()
    assert.is(await backend.orthonormalize(want, 131, 6), 6)
    for (const stop of [1, 2, 5]) {
      const got = columns.slice()
      assert.is(await backend.orthonormalize(got.subarray(0, 131 * stop), 131, stop), stop)
      assert.is(await backend.orthonormalize(got, 131, 6, stop), 6)
      same(got, want)
    }
  })

  test('gives the same bits twice, at every alignment, and on every engine', async () => {
    const columns = gaussian(4609 * 5, 1)
    const want = await basis(backend, columns, 4609, 5)
    for (const offset of [0, 1, 2, 3]) {
      same((await basis(backend, columns, 4609, 5, offset)).p, want.p)
    }
    if (backend.name !== 'wasm') return // the reference adds in another order
    const bytes = new Uint8Array(want.p.buffer, want.p.byteOffset, want.p.byteLength)
    assert.is(createHash('sha256').update(bytes).digest('hex'), GOLDEN)
  })

  test.run()
}
