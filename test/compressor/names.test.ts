// Names of parameters: they are in every hash, and in errors.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { inspect } from '../../src/frames.ts'
import { createGossip } from '../../src/gossip.ts'
import {
  aggregate,
  createCompressor,
  createSgd,
  mergeCheckpoints,
  type ParameterSpec,
  plan,
} from '../../src/index.ts'
import { readState, writeState } from '../support/safetensors.ts'

const A = { name: 'encoder.weight', shape: [6, 5] }
const B = { name: 'decoder.weight', shape: [6, 5] }
const gradients = () => [new Float32Array(30).fill(1), new Float32Array(30).fill(2)]

const test = suite('names')

test('equal shapes in another order are refused', async () => {
  const frameOf = async (shapes: ParameterSpec[], sender: number) =>
    (await createCompressor(shapes, { sender })).compress(gradients())
  const hashOf = (frame: Uint8Array) => inspect(frame).configHash
  const ab = await frameOf([A, B], 0)
  const ba = await frameOf([B, A], 1)
  assert.throws(() => aggregate([ab, ba]), /configHash/)
  assert.is(hashOf(await frameOf([A, B], 1)), hashOf(ab))
  aggregate([ab, await frameOf([A, B], 1)])
  // A name is part of the hash only where there is one, so that hashes without stay.
  const bare = await frameOf([A.shape, B.shape], 0)
  assert.is(hashOf(bare), hashOf(await frameOf([{ shape: A.shape }, B.shape], 0)))
  const hashes = [bare, await frameOf([A, B.shape], 0), await frameOf([A.shape, A], 0), ab, ba]
  assert.is(new Set(hashes.map(hashOf)).size, 5)
})

test('plan has them', () => {
  const { parameters } = plan([A, B.shape])
  assert.equal(
    parameters.map(({ name }) => name),
    ['encoder.weight', undefined],
  )
  assert.not('name' in parameters[1]!)
})

test('errors have them', async () => {
  const worker = await createCompressor([A, B])
  const [one, two] = gradients()
  const short = [one!, two!.subarray(1)]
  const refused = (call: Promise<unknown>, message: RegExp) =>
    call.then(
      () => assert.unreachable(`${message}`),
      (error: Error) => assert.match(error.message, message),
    )
  await refused(worker.compress(short), /"gradients\[1\] 'decoder\.weight'": expected 30/)
  const frame = await worker.compress(gradients())
  await worker.receive(aggregate([frame]))
  await refused(worker.decompress(short), /"into\[1\] 'decoder\.weight'": expected 30/)
  assert.throws(() => plan([A, { ...B, rows: 4 }]), /"shapes\[1\] 'decoder\.weight'\.rows"/)
  assert.throws(() => plan([A, { ...B, rank: 0 }]), /"shapes\[1\] 'decoder\.weight'\.rank"/)
  assert.throws(() => plan([A, { ...B, shape: [0] }]), /"shapes\[1\] 'decoder\.weight'"/)
})

test('which names are names', () => {
  for (const [name, kind, message] of [
    ['', RangeError, /"shapes\[1\]\.name\.length": .*1 to 255, got 0/],
    ['x'.repeat(256), RangeError, /got 256/],
    [7, TypeError, /"shapes\[1\]\.name": expected a string, got 7/],
    [null, TypeError, /got null/],
    ['encoder.weight', RangeError, /"shapes\[1\]\.name": .*shapes\[0\], got "encoder\.weight"/],
  ] as const) {
    assert.throws(
      () => plan([A, { shape: [4], name: name as never }]),
      (error: Error) => error instanceof kind && message.test(error.message),
      String(name),
    )
  }
  plan([A, { shape: [4], name: 'x'.repeat(255) }])
})

test('a checkpoint of other names is refused, by restore, join, adopt and createSgd', async () => {
  const worker = await createCompressor([A, B])
  const other = await createCompressor([B, A])
  const sgd = await createSgd(worker, { learningRate: 1 })
  await sgd.step(gradients(), gradients(), (frame) => aggregate([frame]))
  const saved = await sgd.save()
  assert.is(readState(saved).metadata.names, '["encoder.weight","decoder.weight"]')
  const message = /names: expected "decoder\.weight" for shapes\[0\], got "encoder\.weight"/
  const refused = async (call: () => unknown) => {
    try {
      await call()
    } catch (error) {
      assert.instance(error, RangeError)
      return assert.match((error as Error).message, message)
    }
    assert.unreachable()
  }
  await refused(() => createCompressor([B, A], { restore: saved }))
  await refused(() => other.join(saved))
  await refused(() => other.adopt(saved))
  await refused(() => createSgd(other, { learningRate: 1, restore: saved }))
  await createCompressor([A, B], { restore: saved })
  await createCompressor([A.shape, B], { restore: saved }) // names come and go
  const bare = await createCompressor([A.shape, B.shape])
  other.join(await bare.save())
  assert.not('names' in readState(await bare.save()).metadata)
  const state = await other.save()
  assert.throws(
    () => mergeCheckpoints([state, renamed(state)]),
    /"checkpoints\[1\]": names: expected/,
  )
})

test('gossip: names are hashed, and frozen parameters refused', async () => {
  const node = (self: number, shapes: ParameterSpec[]) =>
    createGossip(shapes, { self, neighbours: { [1 - self]: 0.5 } })
  const [ab, ba] = [await node(0, [A, B]), await node(1, [B, A])]
  const frame = (await ab.begin(gradients())).get(1)!
  await ba.begin(gradients())
  assert.throws(() => ba.receive(0, frame), /configHash/)
  const same = await node(1, [A, B])
  await same.begin(gradients())
  assert.is(same.receive(0, frame), 'taken')
  await node(0, [{ shape: [4], rank: 'frozen' }]).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /"shapes\[0\]\.rank": .*leave this one out/),
  )
})

test.run()

/** The same state with its names in another order. */
function renamed(state: Uint8Array): Uint8Array {
  const { metadata, tensors } = readState(state)
  const names = JSON.stringify(JSON.parse(metadata.names!).reverse())
  return writeState(Object.fromEntries(tensors), { ...metadata, names })
}
