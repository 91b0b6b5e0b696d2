// The example with convolutions and recurrent layers, run as its README says.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const root = fileURLToPath(new URL('../..', import.meta.url))
const test = suite('example: factored')

test('its gradients are those by differences, and it trains with them', () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', 'examples/factored/main.ts'],
    { cwd: root, encoding: 'utf8' },
  )
  assert.is(status, 0, stderr)
  const numberAfter = (text: string) => {
    const found = new RegExp(`${text}\\D*([\\d.e+-]+)`).exec(stdout)
    return Number(found?.[1] ?? assert.unreachable(`"${text}" is not in ${stdout}`))
  }
  assert.ok(numberAfter('convolution: N = 72, largest') <= 1e-5)
  assert.ok(numberAfter('recurrent layer: N = 48, largest') <= 1e-5)
  assert.ok(numberAfter('after 100 steps') < 0.01 * numberAfter('before training'))
})

test.run()
