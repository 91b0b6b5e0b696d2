import { suite } from 'uvu'
import { instantiate, loadModule } from '../../src/backends/wasm/load.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const memory = new WebAssembly.Memory({ initial: 1 })
const kernels = instantiate(await loadModule(), memory)

const test = suite('scale')

const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 63, 64, 65]

/** Scales n floats between guards, `offset` floats past a multiple of four. */
function scale(x: Float32Array, a: number, offset: number): Float32Array {
  const all = new Float32Array(memory.buffer, kernels.heapBase.value, x.length + 16).fill(-7)
  const start = 4 + offset
  all.set(x, start)
  kernels.scale(all.byteOffset + 4 * start, x.length, a)
  same(all.subarray(0, start), new Float32Array(start).fill(-7))
  same(all.subarray(start + x.length), new Float32Array(12 - offset).fill(-7))
  return all.slice(start, start + x.length)
}

test('multiplies, with one rounding', () => {
  const a = Math.fround(0.3)
  for (const n of LENGTHS) {
    const x = gaussian(n, n)
    for (const offset of [0, 1, 2, 3])
      same(
        scale(x, a, offset),
        x.map((value) => a * value),
      )
  }
})

test('clears whatever there was, if the factor is 0', () => {
  for (const n of LENGTHS) {
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY, -1]) {
      same(scale(new Float32Array(n).fill(value), 0, n % 4), new Float32Array(n))
      same(scale(new Float32Array(n).fill(value), -0, n % 4), new Float32Array(n))
    }
  }
})

test.run()
