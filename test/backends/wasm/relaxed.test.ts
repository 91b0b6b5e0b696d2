// Relaxed SIMD may fuse a worker's own sums; the state that workers share has the same bits without
// it.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createCompressor, UnsupportedError, wasm } from '../../../src/index.ts'
import { createLayout, createWasmKernels } from '../../../src/kernels.ts'
import { errorOf } from '../../support/errors.ts'

const test = suite('relaxed')

const root = fileURLToPath(new URL('../../..', import.meta.url))
const SHAPES = [[40, 70], [9], [33, 64]]

const own = await wasm({ relaxed: true })
  .open(createLayout(SHAPES))
  .then(
    () => true,
    () => false,
  )

/**
 * Runs a script on the built package in a process of its own, with relaxed SIMD. Node 20 has it
 * behind a flag that later versions do not know.
 */
async function child(script: string): Promise<string> {
  const flags = own ? [] : ['--experimental-wasm-relaxed-simd']
  const source = `import { aggregate, createCompressor, wasm } from 'lowrank'\n${script}`
  const args = [...flags, '--input-type=module', '-e', source]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root })
  return stdout
}

test('two modules, which are not the same', () => {
  const [plain, relaxed] = ['lowrank.wasm', 'lowrank.relaxed.wasm'].map((name) =>
    readFileSync(fileURLToPath(import.meta.resolve(`lowrank/${name}`))),
  )
  assert.is.not(Buffer.compare(plain!, relaxed!), 0)
  assert.ok(WebAssembly.validate(plain!))
  assert.is(WebAssembly.validate(relaxed!), own)
})

test('a relaxed and a plain worker agree on P̂, Q̂ and the update, and nothing is lost', async () => {
  const printed = await child(`
    const shapes = ${JSON.stringify(SHAPES)}
    const lengths = shapes.map((shape) => shape.reduce((a, b) => a * b))
    const fleet = await Promise.all([true, false].map((relaxed, sender) =>
      createCompressor(shapes, { rank: 3, seed: 5, sender, backend: wasm({ relaxed }) })))
    const text = (arrays) => arrays.map((x) => Buffer.from(x.buffer, x.byteOffset, x.byteLength).toString('hex')).join()
    const sums = fleet.map(() => lengths.map((n) => new Float64Array(n)))
    const contributions = lengths.map((n) => new Float64Array(n))
    let state = 1
    const next = () => (state = (state * 48271) % 2147483647) / 1073741824 - 1
    let same = true, unlike = false
    const factors = async (worker) => text([await worker.save({ residual: false })])
    for (let step = 0; step < 10; step++) {
      const gradient = lengths.map((n) => Float32Array.from({ length: n }, next))
      for (const sum of sums) sum.forEach((s, i) => s.forEach((_, j) => { s[j] += gradient[i][j] }))
      let frames = fleet.map((worker) => worker.compressSync(gradient))
      while (frames[0]) {
        // The same gradients from the same state: only rounding can tell the frames apart.
        unlike ||= Buffer.compare(frames[0].subarray(68), frames[1].subarray(68)) !== 0
        const mean = aggregate(frames)
        frames = fleet.map((worker) => worker.receiveSync(mean))
      }
      const updates = fleet.map((worker) => {
        const update = lengths.map((n) => new Float32Array(n))
        worker.decompressSync(update)
        return update
      })
      same &&= text(updates[0]) === text(updates[1])
      same &&= (await factors(fleet[0])) === (await factors(fleet[1]))
      updates[0].forEach((x, i) => x.forEach((value, j) => { contributions[i][j] += value }))
    }
    // Over both workers: sum of gradients = sum of updates + mean residual.
    let off = 0
    const residuals = await Promise.all(fleet.map(async (worker) => {
      const bytes = await worker.save()
      const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
      const header = JSON.parse(Buffer.from(bytes.subarray(8, 8 + length)))
      return lengths.map((_, i) => {
        const [from, to] = header['residual/' + i].data_offsets.map((at) => at + 8 + length)
        return new Float32Array(bytes.slice(from, to).buffer)
      })
    }))
    lengths.forEach((n, i) => {
      for (let j = 0; j < n; j++) {
        const left = (residuals[0][i][j] + residuals[1][i][j]) / 2
        off = Math.max(off, Math.abs(sums[0][i][j] - contributions[i][j] - left))
      }
    })
    console.log(JSON.stringify({ same, unlike, off }))`)
  const { same, unlike, off } = JSON.parse(printed)
  assert.ok(same, 'what workers share')
  assert.ok(unlike, 'the frames are the same: nothing was fused, so that nothing has been shown')
  // Ten steps with some roundings each of numbers below 8.
  assert.ok(off <= 10 * 8 * 8 * 2 ** -24, `${off}`)
})

test('the default takes it where there is one; false does without', async () => {
  const frames = JSON.parse(
    await child(`
      const gradient = [Float32Array.from({ length: 2800 }, (_, i) => Math.fround(Math.sin(i)))]
      const first = async (options) => {
        const worker = await createCompressor([[40, 70]], { backend: wasm(options) })
        return Buffer.from(worker.compressSync(gradient)).toString('hex')
      }
      console.log(JSON.stringify([await first(), await first({ relaxed: true }), await first({ relaxed: false })]))`),
  )
  assert.is(frames[0], frames[1])
  assert.is.not(frames[0], frames[2])
})

if (!own) {
  test('asked for by name where there is none: an error; the default does without', async () => {
    const error = await errorOf(() =>
      createCompressor(SHAPES, { backend: wasm({ relaxed: true }) }),
    )
    assert.instance(error, UnsupportedError)
    assert.match(error.message, /relaxed SIMD/)
    assert.instance(await errorOf(() => createWasmKernels({ relaxed: true })), UnsupportedError)
    using worker = await createCompressor(SHAPES)
    assert.is(worker.stats.step, 0)
  })
}

test('anything else is refused', () => {
  for (const relaxed of [1, 'yes', null]) {
    assert.throws(
      () => wasm({ relaxed: relaxed as never }),
      /^TypeError: "relaxed"|"relaxed": expected/,
    )
  }
})

test.run()
