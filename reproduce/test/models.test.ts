import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { gaussian } from '../../test/support/gaussian.ts'
import { createConvnet } from '../models/convnet.ts'
import { createLstm } from '../models/lstm.ts'
import type { Model } from '../models/model.ts'
import { integers } from '../models/model.ts'

const draw = integers(7)
const noise = (length: number, below: number) => Uint8Array.from({ length }, () => draw(below))
const text = { symbols: 7, train: noise(600, 7), heldOut: noise(200, 7) }
const images = (count: number) => ({
  pixels: noise(count * 32 * 32 * 3, 256),
  labels: noise(count, 10),
})
const pictures = { train: images(8), test: images(5) }

const MODELS: Record<string, (workers: number) => Promise<Model>> = {
  lstm: (workers) =>
    createLstm(
      text,
      { symbols: 7, embedding: 3, hidden: 5, streams: 4, length: 6 },
      { seed: 1, workers },
    ),
  convnet: (workers) =>
    createConvnet(pictures, { channels: [4, 5, 6], hidden: 9, batch: 4 }, { seed: 1, workers }),
}

for (const [name, create] of Object.entries(MODELS)) {
  const test = suite(`the ${name} of the reproduction`)

  /** The loss of the second step, with one parameter moved. */
  async function lossAt(parameter: number, direction: Float32Array, by: number): Promise<number> {
    const model = await create(1)
    model.step()
    for (const [i, d] of direction.entries()) model.parameters[parameter]![i]! += by * d
    return model.step()
  }

  // In the second step the state that the first one left counts as well. Float32 rounds the loss to
  // about 2e-7, and so the slope to 2e-4 at this distance; a longer distance would cross more of
  // ReLU's corners.
  test('has gradients that are those of its loss, in random directions', async () => {
    const model = await create(1)
    model.step()
    model.step()
    const gradients = model.gradients(0).map((gradient) => gradient.slice())
    for (const [i, gradient] of gradients.entries()) {
      const norm = Math.sqrt(gradient.reduce((sum, x) => sum + x * x, 0))
      assert.ok(norm > 1e-4, `parameter ${i} has a gradient`)
      for (const seed of [1, 2, 3]) {
        const drawn = gaussian(gradient.length, seed)
        const length = Math.sqrt(drawn.reduce((sum, x) => sum + x * x, 0))
        const direction = drawn.map((x) => x / length)
        const by = 1e-3
        const slope =
          ((await lossAt(i, direction, by)) - (await lossAt(i, direction, -by))) / (2 * by)
        const expected = gradient.reduce((sum, x, j) => sum + x * direction[j]!, 0)
        const error = Math.abs(slope - expected)
        assert.ok(error < 0.02 * norm + 2e-4, `parameter ${i}: ${slope}, expected ${expected}`)
      }
    }
  })

  test('gives workers gradients whose mean is the gradient of all', async () => {
    const [one, four] = [await create(1), await create(4)]
    assert.is(four.step(), one.step())
    const whole = one.gradients(0)
    const sums = whole.map(({ length }) => new Float64Array(length))
    for (let worker = 0; worker < 4; worker++) {
      for (const [i, gradient] of four.gradients(worker).entries()) {
        for (const [j, x] of gradient.entries()) sums[i]![j]! += x / 4
      }
    }
    for (const [i, gradient] of whole.entries()) {
      const most = gradient.reduce((m, x) => Math.max(m, Math.abs(x)), 0)
      for (const [j, x] of gradient.entries()) assert.ok(Math.abs(x - sums[i]![j]!) <= 1e-5 * most)
    }
  })

  test('goes on with training as if nobody had looked at held-out data', async () => {
    const [seen, unseen] = [await create(1), await create(1)]
    for (const model of [seen, unseen]) model.step()
    const score = seen.evaluate(true)
    assert.ok(score.loss > 1 && score.loss < 4 && score.accuracy >= 0 && score.accuracy <= 1)
    assert.is(seen.step(), unseen.step())
  })

  test.run()
}
