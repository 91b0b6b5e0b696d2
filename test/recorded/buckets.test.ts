// examples/buckets/flat.ts with `method: pytorch()` against recordings of PyTorch's batched hook,
// which needed a shim to run at all.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { flatBucket } from '../../examples/buckets/flat.ts'
import { plan } from '../../src/index.ts'
import { createWasmKernels } from '../../src/kernels.ts'
import { pytorch } from '../../src/methods.ts'
import { createFleet } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { drawn, type HookConfig, parametersOf } from './hook.ts'
import { close, largest, recording } from './recording.ts'
import { FACTOR, observe, TOLERANCES } from './replay.ts'

const CASES = ['bucketwise-options-w2-r2', 'bucketwise-w2-r1']

const kernels = await createWasmKernels()
const test = suite('recorded: the batched hook of PyTorch')

for (const name of CASES) {
  test(name, async () => {
    const file = recording<HookConfig>(`pytorch-hook/${name}`)
    const { shapes, state, steps, buckets, compression_stats: stats } = file.config
    const { matrix_approximation_rank: rank, start_powerSGD_iter: first } = state
    // Gradients become ready in this order; the hook has them in it once it compresses.
    const order = buckets[steps - 1]![0]!.params
    const bucket = flatBucket(order.map((i) => shapes[i]!))
    const side = Math.sqrt(bucket.length)
    const options = {
      method: pytorch(),
      rank,
      minCompressionRate: state.min_compression_rate,
      startCompressingAfter: first,
      warmStart: state.warm_start,
      errorFeedback: state.use_error_feedback ? 'aggregated' : 'none',
    } as const
    assert.is(plan([bucket.spec], options).floats * (steps - first), stats.after)

    const random = drawn(file, () => 'bucket0')
    const workers = await createFleet([bucket.spec], 2, { ...options, random })
    for (let t = 0; t < steps; t++) {
      const gradients = workers.map((_, w) => {
        const flat = new Float32Array(bucket.length)
        const tensors = parametersOf(file, t, `worker${w}/input`)
        bucket.pack(
          order.map((i) => tensors[i]!),
          flat,
        )
        return [flat]
      })
      const { inputs, means, updates, residuals } = await observe(workers, gradients)
      const size = largest(...inputs.flat())
      const outputs = parametersOf(file, t, 'output')
      const got = outputs.map((want) => want.map(() => Number.NaN))
      bucket.unpack(
        updates[1]![0]!,
        order.map((i) => got[i]!),
      )
      for (const [i, want] of outputs.entries()) {
        close(got[i]!, want, TOLERANCES.run, size, `step ${t}, parameter ${i}`)
      }
      for (const [w, [residual]] of residuals.entries()) {
        const recorded = state.use_error_feedback && t >= first
        const want = recorded ? file.get(`step${t}/worker${w}/error/0`) : residual!.map(() => 0)
        close(residual!, want, TOLERANCES.run, size, `step ${t}: residual of worker ${w}`)
      }
      if (t < first) continue
      const [hat, q] = means.map((mean) => open(mean).floats)
      assert.is(await kernels.orthonormalize(hat!, side, rank), rank)
      for (const [what, factor] of Object.entries({ p_hat: hat!, q: q! })) {
        const want = file.factor(`step${t}/${what}/bucket0`)
        close(factor, want, FACTOR, largest(want), `step ${t}: ${what}`)
      }
    }
  })
}

test('a bucket is as long as it was said', () => {
  const bucket = flatBucket([[2, 3], [4]])
  assert.equal(bucket.spec, { shape: [4, 4], compress: true })
  const tensors = [new Float32Array(6).fill(1), new Float32Array(4).fill(2)]
  const flat = new Float32Array(16)
  bucket.pack(tensors, flat)
  assert.equal([...flat], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0])
  for (const wrong of [[tensors[0]!], [...tensors].reverse(), [...tensors, tensors[0]!]]) {
    assert.throws(() => bucket.pack(wrong, flat), RangeError)
    assert.throws(() => bucket.unpack(flat, wrong), RangeError)
  }
  assert.throws(() => bucket.pack(tensors, new Float32Array(10)), /16,6,4 floats, got 10,6,4/)
})

test.run()
