// The demo with every method of `--method`; wire types take turns. One uncompressed run is enough for
// all: it depends on neither.
import { plan } from 'lowrank'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createFleet } from '../../examples/demo/coordinator.ts'
import { METHODS } from '../../examples/demo/methods.ts'
import { compression, WIRES } from '../../examples/demo/protocol.ts'
import type { Report } from '../../examples/demo/report.ts'
import type { Run, Settings } from '../../examples/demo/run.ts'
import { createCorpus, readText } from '../../examples/demo/text.ts'
import { README, run } from './demo.ts'

/** Methods whose bytes depend on the gradients. */
const VARYING = ['accordion', 'energy', 'rank-dad']

const STEPS = 2 // a cycle of half-steps

const corpus = createCorpus(readText([README]), 2)
const demo = suite('demo: methods')

/** The loss of the uncompressed run, the same for all methods. */
let first: number

demo('the command line chooses method and wire type', () => {
  const args = ['-w', '2', '-s', `${STEPS}`, '-m', 'sign-norm', '--wire', 'int8', '--json']
  const { status, stdout, stderr } = run([...args, '--text', README])
  assert.is(status, 0, stderr)
  const report = JSON.parse(stdout) as Report
  assert.is(report.identical, true)
  first = report.uncompressed.measurements[0]!.loss
  check(report.settings, report.compressed)
})

for (const [i, method] of METHODS.entries()) {
  const wire = WIRES[i % WIRES.length]!

  demo(`trains with ${method}, ${wire}`, async () => {
    const settings: Settings = {
      ...{ workers: 2, steps: STEPS, seed: 0, rank: 12, method, wire },
      ...{ backend: 'wasm', software: false },
    }
    const fleet = await createFleet(corpus, settings, new AbortController().signal)
    const found = await fleet.train(true, { step() {}, measured() {} }).finally(fleet.close)
    check(settings, found)
  })
}

demo.run()

function check(settings: Settings, { parameters, measurements, ...bytesOf }: Run): void {
  assert.is(new Set(parameters).size, 1)
  const losses = measurements.map(({ loss }) => loss)
  assert.ok(losses.every(Number.isFinite), `${losses}`)
  assert.ok(losses.at(-1)! < first + 0.2, `${losses}`)
  const { shapes, options } = compression({ ...settings, symbols: corpus.symbols }, true)
  const { bytes, received } = plan(shapes, options)
  const planned = [bytes, received(2).bytes]
  const seen = [bytesOf.sentBytes, bytesOf.receivedBytes]
  if (!VARYING.includes(settings.method)) assert.equal(seen, planned)
  else for (const [k, one] of seen.entries()) assert.ok(one < 2 * planned[k]!, `${one}`)
}
