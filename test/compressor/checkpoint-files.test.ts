// States as files: files that other programs write, and files that are refused.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeSafetensors, encodeSafetensors, floatsOf } from '../../src/codec/safetensors.ts'
import { createCompressor, createSgd, mergeCheckpoints } from '../../src/index.ts'
import { sameBytes, sameFloats } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { uniform } from '../support/numbers.ts'
import { readState, writeState } from '../support/safetensors.ts'
import { fleetOf, gradients, make, SHAPES, train } from '../support/small-model.ts'

const test = suite('files')

const FACTORS = { 'q/0': { shape: [2, 8], data: uniform(16, 1) } }
const RESIDUAL = { 'residual/2': { shape: [3, 4, 2], data: uniform(24, 2) } }

test('another program’s file: tensors alone are enough', async () => {
  const worker = await make({ restore: writeState({ ...FACTORS, ...RESIDUAL }) })
  assert.equal(worker.stats.ranks, [2, 0, 0]) // as the factors say
  assert.is(worker.stats.step, 0)
  const { tensors, metadata } = readState(await worker.save())
  sameFloats(tensors.get('q/0')!.data, FACTORS['q/0'].data, 'q/0')
  sameFloats(tensors.get('residual/2')!.data, RESIDUAL['residual/2'].data, 'residual/2')
  assert.ok(
    tensors.get('residual/0')!.data.every((x) => x === 0),
    'an absent residual is zero',
  )
  // If the file has no parent, it is the hash of the factors: two such workers agree.
  const twin = await make({ restore: writeState(FACTORS), sender: 1 })
  assert.is(readState(await twin.save()).metadata.parent, metadata.parent)
  const { outcomes } = await stepTogether([worker, twin], [gradients(1), gradients(2)])
  assert.equal(outcomes[0]!.senders, [0, 1])
})

test('another program’s file: no factors, so they are drawn', async () => {
  const [worker, plain] = [await make({ restore: writeState(RESIDUAL) }), await make()]
  assert.equal(worker.stats.ranks, [2, 0, 2])
  const [a, b] = [readState(await worker.save()), readState(await plain.save())]
  assert.is(a.metadata.parent, b.metadata.parent)
  sameFloats(a.tensors.get('q/2')!.data, b.tensors.get('q/2')!.data, 'q/2')
  const ranked = await make({ restore: writeState(RESIDUAL, { ranks: '[1,0,1]', step: '6' }) })
  assert.equal([ranked.stats.step, ...ranked.stats.ranks], [6, 1, 0, 1])
})

test('another program’s file: tensors of other names, and no order, are no matter', async () => {
  const mixed = { momentum: { shape: [2], data: uniform(2, 3) }, ...RESIDUAL, ...FACTORS }
  const worker = await make({ restore: writeState(mixed) })
  const { tensors } = readState(await worker.save())
  assert.not.ok(tensors.has('momentum'))
  sameFloats(tensors.get('q/0')!.data, FACTORS['q/0'].data, 'q/0')
})

test('states that do not fit are refused, and change nothing', async () => {
  const worker = await make()
  await train([worker], 1)
  const before = await worker.save()
  const tensor = (shape: number[], value = 1) => ({
    shape,
    data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value),
  })
  const options = readState(before).metadata.options!
  const refusals: [state: Uint8Array, message: RegExp][] = [
    [before.subarray(0, 4), /./],
    [before.subarray(0, before.length - 1), /./],
    [await (await make({ seed: 1 })).save(), /options: expected .*|expected options/],
    [await (await make({ iterations: 2 })).save(), /options/],
    [await (await make({}, [[6, 9], [5], [3, 4, 2]])).save(), /q\/0: expected shape \[2, 8\]/],
    [await (await make({}, [[6, 8], [5]])).save(), /ranks: expected 3/],
    [await (await make({}, [...SHAPES, [2]])).save(), /residual\/3.*only 3/],
    [writeState({ 'q/0': tensor([2, 9]) }), /q\/0: expected shape \[2, 8\], got \[2, 9\]/],
    [writeState({ 'residual/1': tensor([6]) }), /residual\/1: expected shape \[5\], got \[6\]/],
    [writeState({ 'residual/1': tensor([5], Number.NaN) }), /residual\/1: expected finite/],
    [writeState({ 'q/0': tensor([2, 8], Number.POSITIVE_INFINITY) }), /q\/0: expected finite/],
    [writeState({ 'q/7': tensor([2, 8]) }), /q\/7.*only 3/],
    [writeState(RESIDUAL, { version: '2' }), /version: expected .*|expected version 1, got 2/],
    [writeState(RESIDUAL, { options: options.replace('true', 'false') }), /options/],
    [writeState(RESIDUAL, { step: '-1' }), /step.*got -1/],
    [writeState(RESIDUAL, { step: '1.5' }), /step.*got 1.5/],
    [writeState(RESIDUAL, { step: '' }), /step/],
    [writeState(RESIDUAL, { step: String(2 ** 32) }), /step.*got 4294967296/], // frames have 32 bits for it
    [writeState(RESIDUAL, { weight: '0' }), /weight.*got 0/],
    [writeState(RESIDUAL, { weight: 'Infinity' }), /weight.*got Infinity/],
    [writeState(RESIDUAL, { weight: '1e300' }), /weight.*got 1e300/],
    [
      writeState(RESIDUAL, { format: 'lowrank-gossip' }),
      /expected format lowrank, got lowrank-gossip/,
    ],
    [writeState(RESIDUAL, { step: String(2 ** 32 - 1) }), /step/], // no step follows it
    [writeState(RESIDUAL, { notes: '["a"]' }), /notes: expected texts by name/],
    [writeState({ 'residual/1': tensor([5], 2 ** 100) }), /residual\/1: expected finite/],
    [writeState(RESIDUAL, { parent: 'abc' }), /parent: expected 16 hex.*got abc/],
    [writeState(RESIDUAL, { ranks: '[7,0,2]' }), /ranks/],
    [writeState(RESIDUAL, { ranks: '[1,0]' }), /ranks/],
    [writeState(RESIDUAL, { ranks: 'two' }), /ranks.*got two/],
    [writeState({ 'q/0': tensor([7, 8]) }), /./], // rank 7 of a 6 × 8 matrix
  ]
  for (const [i, [state, message]] of refusals.entries()) {
    for (const call of [
      () => make({ restore: state }),
      () => worker.join(state),
      () => worker.adopt(state),
    ]) {
      const error = await errorOf(call, `${i}: ${message}`)
      assert.instance(error, RangeError, `${i}: ${error}`)
      assert.match(error.message, message, `${i}`)
      sameBytes(await worker.save(), before, `${i}: state after a refusal`)
    }
  }
  const bare = await worker.save({ residual: false })
  assert.match((await errorOf(() => worker.adopt(bare))).message, /residual/)
  const frame = await worker.compress(gradients(3))
  assert.is(open(frame).step, 1)
})

test('options may be written otherwise, and ranks be missing', async () => {
  const worker = await createCompressor([[16, 20], { shape: [40, 50], rank: 'frozen' }], {
    rank: 2,
  })
  const { metadata, tensors } = decodeSafetensors(await worker.save())
  const { ranks, options, ...others } = metadata
  assert.ok(ranks)
  const spaced = JSON.stringify(JSON.parse(options!), null, 2)
  assert.is.not(spaced, options)
  const floats = [...tensors].map(([name, tensor]) => ({
    name,
    shape: tensor.shape,
    data: floatsOf(tensor),
  }))
  const restore = encodeSafetensors(floats, { ...others, options: spaced })
  const restored = await createCompressor([[16, 20], { shape: [40, 50], rank: 'frozen' }], {
    rank: 2,
    restore,
  })
  assert.equal(restored.stats.ranks, [2, 'frozen'])
  const sgd = createSgd(worker, {
    learningRate: 1,
    restore: encodeSafetensors(floats, { ...others, format: 'lowrank-gossip' }),
  })
  const error = await sgd.then(
    () => null,
    (reason: Error) => reason,
  )
  assert.match(String(error), /RangeError: "restore": expected format lowrank, got lowrank-gossip/)
})

test('states that do not belong together are not merged', async () => {
  const fleet = await fleetOf(2)
  await train(fleet, 1)
  const [a, b] = await Promise.all(fleet.map((worker) => worker.save()))
  await train(fleet, 1, 50)
  const later = await fleet[1]!.save()
  const stranger = await make({ sender: 5 })
  await train([stranger], 1, 90)
  const other = await make({ rank: 1 })
  for (const [states, message] of [
    [[], /"checkpoints": expected at least one/],
    [[a!, later], /"checkpoints\[1\]": step: expected 1.*got 2/],
    [[a!, await stranger.save()], /"checkpoints\[1\]": parent/],
    [[await (await make()).save(), await other.save()], /"checkpoints\[1\]": (ranks|parent)/],
    [[a!, await fleet[0]!.save({ residual: false })], /"checkpoints\[1\]"/],
    [[a!, b!.subarray(0, 100)], /./],
    [[writeState(RESIDUAL, { weight: 'Infinity' })], /weight.*got Infinity/],
    [[writeState(RESIDUAL, { weight: '1e300' })], /weight.*got 1e300/],
    [[writeState(RESIDUAL, { weight: '1e-320' })], /weight.*got 1e-320/], // times 1e-10 it would be 0
    [new Array(3).fill(writeState(RESIDUAL, { weight: String(2 ** 159) })), /weight.*got 2\.19/],
    [[writeState({}), writeState({})], /"checkpoints\[0\]": expected one with its residual/],
    [[writeState(RESIDUAL, { format: 'lowrank-gossip' })], /"checkpoints\[0]": expected format/],
    [[writeState({ 'residual/1': { shape: [1], data: Float32Array.of(Number.NaN) } })], /finite/],
  ] as [Uint8Array[], RegExp][]) {
    const error = await errorOf(() => mergeCheckpoints(states))
    assert.instance(error, RangeError, `${error}`)
    assert.match(error.message, message)
  }
})

test.run()
