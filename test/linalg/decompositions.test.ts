import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { reference } from '../../src/backends/reference.ts'
import { createWasmKernels } from '../../src/backends/wasm/kernels.ts'
import { orthogonalIteration, powerIteration, svd } from '../../src/linalg/decompositions.ts'
import { qr } from '../../src/linalg/qr.ts'
import { gamma, same, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

/** DESIGN's bound for every basis: rule 3. */
const ORTHONORMAL = 5e-7

const ONES = [1, 1, 1, 1]

for (const kernels of [reference, await createWasmKernels()]) {
  const test = suite(`decompositions on ${kernels.name}`)

  test('qr of a matrix worked out by hand', async () => {
    // [[3, 1], [4, 2]] = [[.6, −.8], [.8, .6]] · [[5, 2.2], [0, .4]]
    const { q, r } = await qr(kernels, Float32Array.of(3, 1, 4, 2), 2, 2)
    within(q, [0.6, 0.8, -0.8, 0.6], () => ORTHONORMAL)
    within(r, [5, 2.2, 0, 0.4], () => gamma(4) * 5)
    assert.is(r[2], 0)
  })

  for (const [rows, cols] of [
    [1, 1],
    [5, 1],
    [7, 7],
    [65, 9],
    [300, 33],
  ] as const) {
    for (const scale of [1, 1e-20, 1e20]) {
      test(`qr gives back ${rows} × ${cols}, times ${scale}`, async () => {
        const a = gaussian(rows * cols, 1).map((x) => x * scale)
        const { q, r } = await qr(kernels, a, rows, cols)
        orthonormal(q, rows, cols)
        triangular(r, cols)
        const product = multiply(q, r, rows, cols)
        // Both factors are rounded, and Q is orthonormal to ORTHONORMAL per entry.
        const norm = Math.sqrt(squares(a))
        within(product, a, () => (cols * ORTHONORMAL + gamma(4)) * norm)
      })
    }
  }

  test('qr replaces dependent columns, the same for the same seed', async () => {
    const [rows, cols] = [40, 4]
    const [x, y] = [gaussian(rows, 2), gaussian(rows, 3)]
    const a = new Float32Array(rows * cols) // x, −2x, 0, y
    for (let i = 0; i < rows; i++) a.set([x[i]!, -2 * x[i]!, 0, y[i]!], i * cols)
    const { q, r } = await qr(kernels, a, rows, cols, { seed: 5 })
    orthonormal(q, rows, cols)
    triangular(r, cols)
    assert.is(r[1 * cols + 1], 0)
    assert.is(r[2 * cols + 2], 0)
    assert.ok(r[3 * cols + 3]! > 0)
    within(multiply(q, r, rows, cols), a, () => 1e-6 * Math.sqrt(squares(a))) // 2⁻²⁰
    same((await qr(kernels, a, rows, cols, { seed: 5 })).q, q)
    const other = (await qr(kernels, a, rows, cols, { seed: 6 })).q
    assert.is.not(other[rows], q[rows])
  })

  test('the singular values of a diagonal matrix, whatever their signs and order', async () => {
    const a = new Float32Array(4 * 6)
    for (const [i, value] of [2, -5, 0, 3].entries()) a[i * 6 + i] = value
    for (const { u, s, v } of [
      await svd(kernels, a, 4, 6, 4, { tolerance: 0 }),
      await powerIteration(kernels, a, 4, 6, { components: 4, tolerance: 0 }),
    ]) {
      within(s, [5, 3, 2, 0], () => gamma(6) * Math.sqrt(38))
      assert.is(s[3], 0)
      orthonormal(u, 4, 4)
      orthonormal(v, 6, 4)
      for (const [k, i] of [1, 3, 0].entries()) {
        assert.ok(Math.abs(u[k * 4 + i]!) > 1 - ORTHONORMAL)
        assert.is(Math.sign(u[k * 4 + i]! * v[k * 6 + i]!), i === 1 ? -1 : 1)
      }
    }
  })

  for (const [rows, cols] of [
    [12, 12],
    [150, 20],
    [20, 150],
  ] as const) {
    for (const scale of [1, 1e-20, 1e20]) {
      test(`a known spectrum, ${rows} × ${cols}, times ${scale}`, async () => {
        const size = Math.min(rows, cols)
        const spectrum = Array.from({ length: size }, (_, i) => scale * 0.6 ** i)
        const a = withSpectrum(spectrum, rows, cols)
        const norm = Math.sqrt(squares(a))
        const slack = gamma(rows + cols) * norm // of A's rounding and the products'
        for (const rank of [1, 5, size]) {
          const { u, s, v } = await svd(kernels, a, rows, cols, rank, { iterations: 60 })
          orthonormal(u, rows, rank)
          orthonormal(v, cols, rank)
          within(s, spectrum.slice(0, rank), () => slack)
          const left = Math.sqrt(squares(minus(a, u, s, v, rows, cols)))
          const tail = Math.sqrt(squares(spectrum.slice(rank)))
          within([left], [tail], () => slack)
        }
      })
    }
  }

  test('power iteration finds what svd finds', async () => {
    const [rows, cols, components] = [60, 45, 4]
    const spectrum = Array.from({ length: 45 }, (_, i) => 0.5 ** i)
    const a = withSpectrum(spectrum, rows, cols)
    const one = await powerIteration(kernels, a, rows, cols, { components, tolerance: 0 })
    const two = await svd(kernels, a, rows, cols, components, { tolerance: 0 })
    orthonormal(one.u, rows, components)
    orthonormal(one.v, cols, components)
    const slack = gamma(rows + cols) * Math.sqrt(squares(a))
    within(one.s, two.s, () => 2 * slack)
    for (let k = 0; k < components; k++) {
      // Wedin: the sine of the angle is at most the error over the gap between singular values.
      const sine = (4 * slack) / (spectrum[k]! - spectrum[k + 1]!)
      const cosine = dot(column(one.u, k, rows), column(two.u, k, rows))
      const other = dot(column(one.v, k, cols), column(two.v, k, cols))
      within([Math.abs(cosine), Math.abs(other)], [1, 1], () => sine * sine + ORTHONORMAL)
      assert.is(Math.sign(cosine), Math.sign(other))
    }
  })

  test('what a deficient matrix lacks is exactly zero', async () => {
    const [rows, cols] = [50, 31]
    const a = withSpectrum([3, 1], rows, cols)
    for (const { u, s, v } of [
      await svd(kernels, a, rows, cols, 5),
      await powerIteration(kernels, a, rows, cols, { components: 5 }),
    ]) {
      within(s, [3, 1, 0, 0, 0], (i) => (i < 2 ? gamma(rows + cols) * 4 : 0))
      orthonormal(u, rows, 5)
      orthonormal(v, cols, 5)
    }
  })

  test('a zero matrix has zeros and orthonormal vectors', async () => {
    const a = new Float32Array(9 * 14)
    for (const { u, s, v } of [
      await svd(kernels, a, 9, 14, 9),
      await powerIteration(kernels, a, 9, 14, { components: 9 }),
    ]) {
      same(s, new Float64Array(9))
      orthonormal(u, 9, 9)
      orthonormal(v, 14, 9)
    }
    const { p, q } = await orthogonalIteration(kernels, a, 9, 14, 3)
    orthonormal(p, 9, 3)
    assert.ok(q.every((value) => value === 0))
  })

  test('orthogonal iteration comes down to the optimum as fast as it should', async () => {
    // Error over optimum at a spectrum of i^−½ and rank 4, as numpy had it from one start: within
    // three standard deviations of what other starts give.
    const figures = new Map([
      [1, 1.16],
      [2, 1.03],
      [3, 1.006],
      [5, 1.0007],
      [10, 1],
    ])
    const [rows, cols, rank, starts] = [256, 512, 4, 9]
    const spectrum = Array.from({ length: rows }, (_, i) => (i + 1) ** -0.5)
    const a = withSpectrum(spectrum, rows, cols)
    const slack = gamma(rows + cols) * squares(a)
    const ratios = new Map([...figures.keys()].map((turn) => [turn, [] as number[]]))
    for (let seed = 0; seed < starts; seed++) {
      const options = { iterations: 1, seed }
      let { p, q } = await orthogonalIteration(kernels, a, rows, cols, rank, options)
      let former = 0
      for (let turn = 1; ; turn++) {
        const now = squares(q)
        assert.ok(now >= former - slack, `turn ${turn}: ‖q‖² fell`)
        former = now
        const left = squares(a) - now // = ‖A − p·qᵀ‖²
        if (seed === 0) within([left], [squares(minus(a, p, ONES, q, rows, cols))], () => slack)
        ratios.get(turn)?.push(Math.sqrt(left / squares(spectrum.slice(rank))))
        if (turn === 10) break
        ;({ p, q } = await orthogonalIteration(kernels, a, rows, cols, rank, {
          ...options,
          start: q,
        }))
      }
    }
    for (const [turn, figure] of figures) {
      const got = ratios.get(turn)!
      const mean = got.reduce((sum, ratio) => sum + ratio) / starts
      const spread = Math.sqrt(squares(got.map((ratio) => ratio - mean)) / (starts - 1))
      within([mean], [figure], () => 3 * spread)
      if (turn === 1)
        within(
          got,
          got.map(() => figure),
          () => 0.05 * figure,
        )
    }
  })

  test('orthogonal iteration goes on from where it is told to, and q is Aᵀ·p', async () => {
    const [rows, cols, rank] = [30, 20, 3]
    const a = gaussian(rows * cols, 7)
    const options = { tolerance: 0 }
    const whole = await orthogonalIteration(kernels, a, rows, cols, rank, {
      ...options,
      iterations: 5,
    })
    const half = await orthogonalIteration(kernels, a, rows, cols, rank, {
      ...options,
      iterations: 3,
    })
    const before = half.q.slice()
    const rest = await orthogonalIteration(kernels, a, rows, cols, rank, {
      ...options,
      iterations: 2,
      start: half.q,
    })
    same(rest.p, whole.p)
    same(rest.q, whole.q)
    same(half.q, before)
    for (let k = 0; k < rank; k++) {
      const p = column(whole.p, k, rows)
      const want = Float64Array.from({ length: cols }, (_, j) =>
        dot(
          p,
          Float64Array.from({ length: rows }, (_, i) => a[i * cols + j]!),
        ),
      )
      within(column(whole.q, k, cols), want, () => gamma(rows + 1) * Math.sqrt(squares(a)))
    }
  })

  test('nothing changes the matrix', async () => {
    const a = gaussian(8 * 5, 9)
    const before = a.slice()
    await qr(kernels, a, 8, 5)
    await powerIteration(kernels, a, 8, 5, { components: 2 })
    await svd(kernels, a, 8, 5, 2)
    same(a, before)
  })

  test('an argument that does not fit is named', async () => {
    const a = new Float32Array(6)
    const cases: [() => Promise<unknown>, RegExp][] = [
      [() => qr(kernels, a, 2, 3), /"cols": expected an integer from 1 to 2, got 3/],
      [() => qr(kernels, a, 4, 2), /"a": expected 8 floats, got 6/],
      [() => qr(kernels, a, 0, 2), /"rows"/],
      [() => qr(kernels, [1] as never, 1, 1), /"a": expected a Float32Array, got Array/],
      [() => qr(kernels, Float32Array.of(Number.NaN), 1, 1), /"a": expected finite numbers/],
      [() => svd(kernels, Float32Array.of(3e38), 1, 1, 1), /"a": expected finite numbers/],
      [() => svd(kernels, a, 3, 2, 3), /"rank": expected an integer from 1 to 2, got 3/],
      [() => svd(kernels, a, 3, 2, 1, { oversampling: -1 }), /"oversampling"/],
      [() => svd(kernels, a, 3, 2, 1, { tolerance: Number.NaN }), /"tolerance": expected/],
      [() => svd(kernels, a, 3, 2, 1, { iterations: 0 }), /"iterations"/],
      [() => svd(kernels, a, 3, 2, 1, { seed: 0.5 }), /"seed"/],
      [() => powerIteration(kernels, a, 3, 2, { components: 0 }), /"components"/],
      [() => orthogonalIteration(kernels, a, 3, 2, 1, { start: a }), /"start": expected 2 floats/],
      [
        () => orthogonalIteration(kernels, a, 3, 2, 1, { start: Float32Array.of(0, Infinity) }),
        /"start": expected finite numbers only/,
      ],
    ]
    for (const [call, message] of cases) {
      let thrown: unknown
      await call().catch((error) => {
        thrown = error
      })
      assert.ok(thrown instanceof RangeError || thrown instanceof TypeError, `${message}`)
      assert.match((thrown as Error).message, message)
    }
  })

  test.run()
}

/** max |PᵀP − I| */
function orthonormal(columns: Float32Array, length: number, rank: number): void {
  assert.is(columns.length, length * rank)
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j <= i; j++) {
      const got = dot(column(columns, i, length), column(columns, j, length))
      within([got], [i === j ? 1 : 0], () => ORTHONORMAL)
    }
  }
}

function triangular(r: Float32Array, n: number): void {
  for (let i = 0; i < n; i++) {
    assert.ok(r[i * n + i]! >= 0, `r[${i}, ${i}] < 0`)
    for (let j = 0; j < i; j++) assert.is(r[i * n + j], 0)
  }
}

/** rows × cols with these singular values; its vectors are cosines, orthonormal in float64. */
function withSpectrum(spectrum: readonly number[], rows: number, cols: number): Float32Array {
  const u = spectrum.map((_, k) => cosine(rows, k))
  const v = spectrum.map((_, k) => cosine(cols, k))
  const a = new Float32Array(rows * cols)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      a[i * cols + j] = spectrum.reduce((sum, s, k) => sum + s * u[k]![i]! * v[k]![j]!, 0)
    }
  }
  return a
}

/** The k-th vector of the discrete cosine transform. */
function cosine(n: number, k: number): Float64Array {
  const size = Math.sqrt((k === 0 ? 1 : 2) / n)
  return Float64Array.from({ length: n }, (_, i) => size * Math.cos((Math.PI * (i + 0.5) * k) / n))
}

/** q·r in float64; q by column, r by row. */
function multiply(q: Float32Array, r: Float32Array, rows: number, n: number): Float64Array {
  return Float64Array.from({ length: rows * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n]
    let sum = 0
    for (let k = 0; k < n; k++) sum += q[k * rows + i]! * r[k * n + j]!
    return sum
  })
}

/** A − u·diag(s)·vᵀ in float64 */
function minus(
  a: Float32Array,
  u: Float32Array,
  s: ArrayLike<number>,
  v: Float32Array,
  rows: number,
  cols: number,
): Float64Array {
  return Float64Array.from(a, (value, at) => {
    const [i, j] = [Math.floor(at / cols), at % cols]
    for (let k = 0; k < s.length; k++) value -= u[k * rows + i]! * s[k]! * v[k * cols + j]!
    return value
  })
}

function column(columns: Float32Array, k: number, length: number): Float32Array {
  return columns.subarray(k * length, (k + 1) * length)
}

function dot(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}

function squares(x: ArrayLike<number>): number {
  return dot(x, x)
}
