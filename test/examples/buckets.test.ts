// examples/buckets/overlap.ts: buckets on one backend, each with frames of its own.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('buckets')

test('frames leave while other gradients are computed; the updates stay the same', () => {
  const script = fileURLToPath(new URL('../../examples/buckets/overlap.ts', import.meta.url))
  const out = execFileSync(process.execPath, ['--import', 'tsx', script], { encoding: 'utf8' })
  const [apart, overlapped] = out.split('everything first').map((text) => text.split('\n'))
  const at = (lines: readonly string[], what: string) => {
    const found = lines.findIndex((line) => line.includes(what))
    assert.ok(found >= 0, `${what}: ${out}`)
    return found
  }
  assert.ok(at(apart!, 'bucket 0 sends') > at(apart!, 'bucket 2 is computed'))
  assert.ok(at(overlapped!, 'bucket 0 sends') < at(overlapped!, 'bucket 1 is computed'))
  for (const b of [0, 1, 2]) {
    for (const lines of [apart!, overlapped!]) {
      assert.is(lines.filter((line) => line.includes(`bucket ${b} sends`)).length, 2)
      at(lines, `bucket ${b} has its update`)
    }
  }
  at(overlapped!, 'the updates are the same, to the bit')
})

test.run()
