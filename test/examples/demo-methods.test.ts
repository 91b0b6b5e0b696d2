// `npm run demo -- --method NAME --wire TYPE`, for every method; wire types take turns.
import { join } from 'node:path'
import { plan } from 'lowrank'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { METHODS } from '../../examples/demo/methods.ts'
import { compression, WIRES } from '../../examples/demo/protocol.ts'
import type { Report } from '../../examples/demo/report.ts'
import { folder, run } from './demo.ts'

/** Methods whose bytes depend on the gradients. */
const VARYING = ['accordion', 'energy', 'rank-dad']

const STEPS = 2 // a cycle of half-steps

const demo = suite('demo: methods')

for (const [i, method] of METHODS.entries()) {
  const wire = WIRES[i % WIRES.length]!

  demo(`trains with ${method}, ${wire}`, () => {
    const args = ['-w', '2', '-s', `${STEPS}`, '-m', method, '--wire', wire, '--json']
    const { status, stdout, stderr } = run([...args, '--svg', join(folder, `${method}.svg`)])
    assert.is(status, 0, stderr)
    const report = JSON.parse(stdout) as Report
    const { uncompressed, compressed, settings, symbols } = report
    assert.is(report.identical, true)
    const losses = compressed.measurements.map(({ loss }) => loss)
    assert.ok(losses.every(Number.isFinite), `${losses}`)
    assert.ok(losses.at(-1)! < uncompressed.measurements[0]!.loss + 0.2, `${losses}`)
    const { shapes, options } = compression({ ...settings, symbols }, true)
    const { bytes, received } = plan(shapes, options)
    const planned = [bytes, received(2).bytes]
    const seen = [compressed.sentBytes, compressed.receivedBytes]
    if (!VARYING.includes(method)) assert.equal(seen, planned)
    else
      for (const [k, one] of seen.entries())
        assert.ok(one < 2 * planned[k]!, `${one} of ${planned[k]}`)
  })
}

demo.run()
