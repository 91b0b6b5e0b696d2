// Gossip where parameters are on the GPU: they stay there, and nodes on the CPU see no difference.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Tensor } from '../../../src/backend.ts'
import { webgpu } from '../../../src/backends/webgpu/index.ts'
import { UnsupportedError } from '../../../src/errors.ts'
import { ring } from '../../../src/gossip/topology.ts'
import { choco, createGossip, type GossipMethod, plain, powerGossip } from '../../../src/gossip.ts'
import { uniform } from '../../support/numbers.ts'
import { audit } from './audit.ts'
import { openDevice } from './device.ts'
import { type Laying, layTensors, readTensors } from './tensors.ts'

const SHAPES = [[40, 24], [7], [12, 5, 6]]
const FLOATS = [960, 7, 360]
const NODES = 4

const models = (): Float32Array[][] =>
  Array.from({ length: NODES }, (_, w) => FLOATS.map((n, i) => uniform(n, 10 * w + i)))

const opened = await openDevice()
const test = suite('gossip on WebGPU')

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  /** A ring in which node 0 is on the GPU; others exchange with it, and with one another. */
  async function train(method: GossipMethod, laying: Laying, iterations: number) {
    const all: (readonly Tensor[])[] = models()
    const arrays = all.map((model) => model as Float32Array[])
    all[0] = layTensors(device, arrays[0]!, laying, 'f32')
    const nodes = await Promise.all(
      ring(NODES).map(async ({ neighbours }, self) => {
        const backend = self === 0 ? { backend: await webgpu({ device }) } : {}
        return createGossip(SHAPES, { self, neighbours, method, ...backend })
      }),
    )
    const { counts, reset } = audit(device)
    const read: [bytes: number, times: number][] = []
    for (let t = 0; t < iterations; t++) {
      reset()
      let frames = await Promise.all(nodes.map((node, w) => node.begin(all[w]!)))
      for (;;) {
        for (const [from, sent] of frames.entries()) {
          for (const [to, frame] of sent) assert.is(nodes[to]!.receive(from, frame), 'taken')
        }
        const applied = await Promise.all(nodes.map((node, w) => node.apply(all[w]!)))
        for (const { outcomes } of applied) {
          assert.equal([...outcomes.values()], ['exchanged', 'exchanged'])
        }
        if (applied[0]!.frames === null) break
        frames = applied.map((one) => new Map(one.frames))
      }
      read.push([counts.readBytes, counts.readbacks])
    }
    for (const node of nodes) node.dispose()
    arrays[0] = await readTensors(device, all[0]!, arrays[0]!, 'f32')
    return { arrays, read }
  }

  /** The same ring on the CPU alone. */
  async function alone(method: GossipMethod, iterations: number): Promise<Float32Array[][]> {
    const all = models()
    const nodes = await Promise.all(
      ring(NODES).map(({ neighbours }, self) => createGossip(SHAPES, { self, neighbours, method })),
    )
    for (let t = 0; t < iterations; t++) {
      let frames = nodes.map((node, w) => node.beginSync(all[w]!))
      for (;;) {
        for (const [from, sent] of frames.entries()) {
          for (const [to, frame] of sent) nodes[to]!.receive(from, frame)
        }
        const applied = nodes.map((node, w) => node.applySync(all[w]!))
        if (applied[0]!.frames === null) break
        frames = applied.map((one) => new Map(one.frames))
      }
    }
    return all
  }

  for (const [name, method, laying] of [
    ['PowerGossip', powerGossip({ rank: 2 }), 'one buffer'],
    ['PowerGossip, two half-steps', powerGossip({ iterations: 2 }), 'scattered'],
    ['plain', plain(), 'unaligned'],
    ['Choco', choco({ compression: 'sign', gamma: 0.4 }), 'arrays'],
  ] as const) {
    test(`${name}: parameters in ${laying} come to what they come to on the CPU`, async () => {
      const { arrays } = await train(method, laying, 6)
      const expected = await alone(method, 6)
      for (const [w, model] of arrays.entries()) {
        for (const [i, x] of model.entries()) {
          const error = x.reduce(
            (most, v, j) => Math.max(most, Math.abs(v - expected[w]![i]![j]!)),
            0,
          )
          assert.ok(error <= 2e-6, `node ${w}, parameter ${i}: ${error}`)
        }
      }
      // One end adds what the other subtracts, whatever backends they compute on.
      for (const [i, n] of FLOATS.entries()) {
        for (let j = 0; j < n; j++) {
          const sum = (all: readonly Float32Array[][]) => all.reduce((s, m) => s + m[i]![j]!, 0)
          assert.ok(Math.abs(sum(arrays) - sum(models())) <= 2e-6, `element ${j} of ${i}`)
        }
      }
    })
  }

  test('only products and vectors come back', async () => {
    const { read } = await train(powerGossip({ rank: 2 }), 'one buffer', 2)
    // Two edges of rank 2: P of 40 and 12 rows, Q of 24 and 30 columns, a vector of 7; in whole vec4s.
    const [verdict, vector] = [16, 4 * 8]
    const [left, right] = [4 * 4 * (40 + 12), 4 * 4 * (24 + 32)]
    assert.equal(read, [
      [verdict + left + right + vector, 2],
      [verdict + left + vector, 2],
    ])
  })

  test('calls that cannot wait are refused, and so are others while one runs', async () => {
    const backend = await webgpu({ device })
    const node = await createGossip(SHAPES, { self: 1, neighbours: { 2: 0.5 }, backend })
    const peer = await createGossip(SHAPES, { self: 2, neighbours: { 1: 0.5 } })
    const [own, other] = models() as [Float32Array[], Float32Array[]]
    assert.throws(
      () => node.beginSync(own),
      (error: unknown) => error instanceof UnsupportedError,
    )
    const begun = node.begin(own)
    for (const call of [
      () => node.save(),
      () => node.removeNeighbour(2),
      () => node.addNeighbour(3, 0.5),
    ]) {
      assert.throws(call, /another call of this node is still running/)
    }
    const answer = peer.beginSync(other).get(1)!
    assert.is(node.receive(2, answer), 'early')
    await begun
    assert.is(node.receive(2, answer), 'taken')
    const applied = node.apply(own)
    assert.is(node.receive(2, answer), 'late')
    assert.equal([...(await applied).outcomes], [[2, 'exchanged']])
    node.dispose()
    let refused: unknown
    await node.begin(own).catch((error: unknown) => {
      refused = error
    })
    assert.match(String(refused), /this node has been disposed of/)
  })
}

test.run()
