// The codec where its wasm module cannot be compiled at once: JavaScript, with the same bits. The
// tests of the codec are run again, and the golden hashes in them hold.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const run = promisify(execFile)
const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))

const test = suite('codec in JavaScript')

test('loops are not there, where modules are refused, and are elsewhere', async () => {
  const program = `
    import { room } from '../../src/codec/loops.ts'
    console.log(room().loops === null)`
  for (const refused of [true, false]) {
    const { stdout } = await node(refused, ['--input-type=module', '--eval', program])
    assert.is(stdout, `${refused}\n`)
  }
})

for (const file of ['wire', 'xxh32', 'frame', 'aggregate', 'gathered']) {
  test(`${file}.test.ts passes`, async () => {
    const { stdout } = await node(true, [here(`../codec/${file}.test.ts`)])
    const [, total, passed] = /Total: +(\d+)\n +Passed: +(\d+)/.exec(stdout)!
    assert.ok(Number(total) > 3)
    assert.is(passed, total)
  })
}

function node(refused: boolean, args: readonly string[]) {
  const refusing = refused ? ['--import', here('./refuse-modules.ts')] : []
  return run(process.execPath, ['--import', 'tsx', ...refusing, ...args], { cwd: here('.') })
}

test.run()
