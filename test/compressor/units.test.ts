// The unit of the gradient does not matter: no wire type saturates or flushes.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { topK } from '../../src/baselines.ts'
import { WIRES, type Wire } from '../../src/codec/wire/index.ts'
import { aggregate } from '../../src/frames.ts'
import { createCompressor } from '../../src/index.ts'
import { sameFloats } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { ofRank } from '../support/low-rank.ts'

const SHAPES = [[24, 16], [300], [5, 7]] as const
const STEPS = 20

/** The same in every step. The matrices have rank 2, so that all of them arrives in time. */
const GRADIENTS = [ofRank(24, 16, 2, 30, 1), gaussian(300, 2), ofRank(5, 7, 2, 10, 3)]

/** The largest error of a wire type's values, relative to the largest of their block. */
const ERRORS: Readonly<Record<Wire, number>> = {
  f32: 2 ** -20, // of the arithmetic
  f16: 2 ** -11,
  bf16: 2 ** -8,
  int8: 1 / 127,
}

const test = suite('units')

/** The sum of the updates of two workers, whose gradients are multiplied by `unit`. */
async function train(wire: Wire, unit: number, method?: ReturnType<typeof topK>) {
  const options = method ? { wire, method } : { wire, rank: 2, minCompressionRate: 0 }
  const fleet = await Promise.all(
    [0, 1].map((sender) => createCompressor(SHAPES, { ...options, sender })),
  )
  const sums = SHAPES.map((shape) => new Float64Array(shape.reduce((a: number, b) => a * b, 1)))
  for (let step = 0; step < STEPS; step++) {
    let frames: (Uint8Array | null)[] = await Promise.all(
      fleet.map((worker, w) =>
        worker.compress(
          GRADIENTS.map((gradient, i) => gradient.map((x) => x * unit * (1 + w * (i % 2)))),
        ),
      ),
    )
    while (frames.every((frame) => frame !== null)) {
      const mean = aggregate(frames)
      frames = await Promise.all(fleet.map((worker) => worker.receive(mean)))
    }
    const updates = sums.map(({ length }) => new Float32Array(length))
    for (const worker of fleet) await worker.decompress(updates)
    for (const [i, sum] of sums.entries()) {
      for (let j = 0; j < sum.length; j++) sum[j]! += updates[i]![j]! / unit
    }
  }
  return Float32Array.from(sums.flatMap((sum) => [...sum]))
}

for (const wire of WIRES) {
  test(`${wire}: gradients times 2¹⁶, 2²⁴, 2⁻³⁰ and more arrive as those times 1 do`, async () => {
    const plain = await train(wire, 1)
    const all = GRADIENTS.flatMap((gradient, i) => [...gradient.map((x) => x * (1 + (i % 2) / 2))])
    const off = Math.hypot(...plain.map((x, i) => x - STEPS * all[i]!))
    // What has not arrived is in the residuals: the rounding of P, of Q and of raw values.
    assert.ok(off <= 8 * ERRORS[wire] * Math.hypot(...all), `off by ${off}`)
    for (const unit of [2 ** 16, 2 ** 24, 2 ** -30, 2 ** 40, 2 ** -60]) {
      sameFloats(await train(wire, unit), plain, `gradients times ${unit}`)
    }
  })

  test(`${wire}: so it is in gathered rounds`, async () => {
    const method = topK({ ratio: 0.1 })
    const plain = await train(wire, 1, method)
    for (const unit of [2 ** 24, 2 ** -30]) {
      sameFloats(await train(wire, unit, method), plain, `gradients times ${unit}`)
    }
  })
}

test.run()
