import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createWasmKernels } from '../../src/backends/wasm/kernels.ts'
import { UnsupportedError } from '../../src/errors.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('the wasm kernels and the arrays they are given')

const dims = { rows: 33, cols: 21, rank: 3 }
const m = gaussian(dims.rows * dims.cols, 1)
const g = gaussian(dims.rows * dims.cols, 2)
const q = gaussian(dims.cols * dims.rank, 3)

test('work alike in place, on copies, and on some of each', async () => {
  const kernels = await createWasmKernels({ floats: 4096 })
  const inside = (x: Float32Array): Float32Array => {
    const array = kernels.alloc(x.length)
    array.set(x)
    return array
  }
  const outside = (x: Float32Array): Float32Array => x.slice()
  const results: [Float32Array, Float32Array][] = []
  for (const [placeM, placeQ] of [
    [inside, inside],
    [outside, outside],
    [inside, outside],
    [outside, inside],
  ] as const) {
    const p = placeQ(new Float32Array(dims.rows * dims.rank).fill(Number.NaN))
    const sum = placeM(m)
    assert.is(await kernels.accumulateProject(p, sum, placeM(g), placeQ(q), dims), true)
    results.push([p, sum])
  }
  for (const [p, sum] of results) {
    same(p, results[0]![0])
    same(sum, results[0]![1])
  }
})

test('leave arrays as they were where the gradient is not finite', async () => {
  const kernels = await createWasmKernels()
  const bad = g.slice()
  bad[bad.length - 1] = Number.NaN
  const [p, sum] = [gaussian(dims.rows * dims.rank, 4), m.slice()]
  assert.is(await kernels.accumulateProject(p, sum, bad, q, dims), false)
  same(p, gaussian(dims.rows * dims.rank, 4))
  same(sum, m)
})

test('keep lent arrays alive while copies need more memory', async () => {
  const kernels = await createWasmKernels({ floats: 8 })
  const small = kernels.alloc(5)
  small.fill(2)
  const large = new Float32Array(1 << 20).fill(1)
  assert.is(await kernels.norm(large), 1 << 20)
  assert.is(await kernels.norm(small), 20)
  assert.is(small.length, 5)
})

test('take views of larger arrays', async () => {
  const kernels = await createWasmKernels({ floats: 16 })
  const array = kernels.alloc(16).fill(1)
  await kernels.accumulate(array.subarray(3, 8), array.subarray(9, 14), 2)
  assert.equal([...array], [1, 1, 1, 3, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1])
})

test('give no more than was asked for', async () => {
  const kernels = await createWasmKernels({ floats: 8 })
  kernels.alloc(3)
  kernels.alloc(4)
  assert.throws(() => kernels.alloc(1), /expected at most 0/)
  const none = await createWasmKernels()
  assert.is(none.alloc(0).length, 0)
  assert.throws(() => none.alloc(1), RangeError)
})

test('take all arrays back, and give larger ones', async () => {
  const kernels = await createWasmKernels({ floats: 8 })
  kernels.alloc(8)
  kernels.reserve(1 << 20)
  const [x, y] = [kernels.alloc(1 << 19), kernels.alloc(1 << 19)]
  assert.is(x.buffer, y.buffer)
  assert.throws(() => kernels.alloc(1), RangeError)
  await kernels.accumulate(y.fill(1), x.fill(3), 2)
  assert.is(await kernels.norm(y), 49 * 2 ** 19)
  kernels.reserve(4)
  assert.is(kernels.alloc(4).byteOffset, x.byteOffset)
  assert.throws(() => kernels.alloc(1), /expected at most 0/)
})

test('make a scratch as long as the column needs', async () => {
  const kernels = await createWasmKernels({ floats: 200_000 })
  const column = kernels.alloc(200_000).fill(1)
  assert.is(await kernels.orthonormalize(column, 200_000, 1), 1)
  assert.is(column[199_999], Math.fround(1 / Math.sqrt(200_000)))
})

test('say so where compiling is forbidden', async () => {
  const { compile } = WebAssembly
  WebAssembly.compile = () => Promise.reject(new WebAssembly.CompileError('blocked by policy'))
  try {
    // Import another copy of the module, which has not compiled anything yet.
    const { loadModule } = await import(`../../src/backends/wasm/load.ts?${'forbidden'}`)
    await loadModule()
    assert.unreachable()
  } catch (error) {
    assert.is((error as Error).name, 'UnsupportedError')
    assert.match((error as Error).message, /wasm-unsafe-eval/)
    assert.instance(error, UnsupportedError)
  } finally {
    WebAssembly.compile = compile
  }
})

test.run()
