import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { BLOCK_WORDS } from '../../src/backends/wasm/blocks.ts'
import { instantiate, moduleFor } from '../../src/backends/wasm/load.ts'

// The engine traps when a kernel reads past the end of the memory. So each operand in turn lies at
// the very end. The tests also run with relaxed SIMD where the engine has it.

const memory = new WebAssembly.Memory({ initial: 8 })
const kernels = instantiate(await moduleFor(undefined), memory)
const table = kernels.heapBase.value
const scratch = table + 4 * BLOCK_WORDS
const end = memory.buffer.byteLength

/** Calls `kernel` with addresses for operands of these lengths; each in turn is the last. */
function atTheEnd(lengths: readonly number[], kernel: (...at: number[]) => unknown): void {
  for (let last = 0; last < lengths.length; last++) {
    new Float32Array(memory.buffer, table).fill(1)
    let next = scratch + 4096
    const at = lengths.map((length, i) => {
      const here = i === last ? end - 4 * length : next
      if (i !== last) next += 4 * length
      return here
    })
    assert.ok(next <= end - 4 * lengths[last]!, 'the operands do not fit')
    assert.not.throws(() => kernel(...at))
  }
}

const test = suite('the end of memory')

test('is kept by the kernels on matrices', () => {
  for (const rows of [1, 2, 3, 4, 5, 9]) {
    for (const cols of [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 1025]) {
      for (const rank of [1, 2, 3, 4, 5, 7]) {
        const words = [0, cols, rows, cols, rank, 0, rows, 0, cols, 0, cols, 1, 0]
        const block = (): void => new Int32Array(memory.buffer, table, BLOCK_WORDS).set(words)
        const [all, left, right] = [rows * cols, rows * rank, cols * rank]
        atTheEnd([left, all, all, right, all], (p, m, g, q, former) => {
          block()
          assert.is(kernels.accumulateProject(p!, m!, g!, q!, former!, table, 1), 0)
        })
        atTheEnd([left, all, right], (p, m, q) => {
          block()
          kernels.project(p!, m!, q!, table, 1)
          kernels.backproject(q!, m!, p!, table, 1)
          kernels.reconstruct(m!, p!, q!, table, 1, 1, 0)
          kernels.reconstruct(m!, p!, q!, table, 1, 1, 1)
          kernels.residual(m!, p!, q!, table, 1)
        })
        atTheEnd([all, all, left, right, right], (y, m, p, own, mean) => {
          block()
          kernels.settle(y!, m!, p!, own!, mean!, table, 1, 1, 1)
        })
      }
    }
  }
})

test('is kept by the kernels on columns and vectors', () => {
  for (let n = 0; n < 20; n++) {
    atTheEnd([n], (x) => {
      kernels.norm(x!, n)
      kernels.scale(x!, n, 2)
      kernels.normal(x!, n, 1, 2, 3, 4, 5)
      if (n > 0) assert.is(kernels.orthonormalize(x!, n, 1, 0, scratch), 1)
    })
    atTheEnd([3 * n, 2 * n], (columns, room) => {
      kernels.normal(columns!, 3 * n, 1, 2, 3, 4, 5)
      if (n > 2) assert.is(kernels.orthonormalize(columns!, n, 3, 0, room!), 3)
    })
    atTheEnd([n, n, n], (x, m, g) => {
      kernels.accumulate(x!, m!, n, 2)
      kernels.momentum(x!, m!, g!, n, 0.1, 0.9, 0)
    })
  }
})

test.run()
