// Tests that do not end are stopped and tried once more, and the message says where they hang.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { outcome } from './watch.ts'

const HANGS = ' first  • •   (2 / 2)\n second  • • '
const FAILS = `${HANGS}✘   (2 / 3)\n\n   FAIL  second  "third"\n\n  Total:     5\n`
const ENDS = `${HANGS}•   (3 / 3)\n\n  Total:     5\n`

const test = suite('watching tests')

test('resolves to what is printed until the end', async () => {
  const { result, stopped, said } = await watched([ENDS])
  assert.is(result, ENDS)
  assert.is(stopped, 1)
  assert.equal(said, [])
})

test('who prints nothing for long is stopped, and tried once more', async () => {
  const { result, stopped, said } = await watched([HANGS, ENDS])
  assert.is(result, ENDS)
  assert.is(stopped, 2)
  const still = 'nothing printed for 0.3 s'
  assert.equal(said, [
    `\n${still}\nknown of 1\nIt has printed:\n|  first  • •   (2 / 2)\n|  second  • • `,
    `ATTENTION: here: ${still}, in test 3 of "second". This is the second try.`,
  ])
})

test('who ends without an outcome is, too', async () => {
  const { result, said } = await watched([FAILS, ENDS])
  assert.is(result, ENDS)
  assert.not.match(said[0]!, /^ +Total/m)
  assert.match(said[1]!, 'ATTENTION: here: Error: it crashed, after "second". This')
})

test('two such tries fail, and all that is known of both is printed', async () => {
  const { result, stopped, said } = await watched([HANGS, ''])
  assert.is(stopped, 2)
  const still = 'nothing printed for 0.3 s'
  assert.is(
    result,
    `Error: ${still}, in test 3 of "second"; and once more: ${still}, before the first suite`,
  )
  assert.match(said[0]!, 'known of 1')
  assert.match(said[2]!, 'known of 2')
})

test('what prints now and then is not stopped, however long it takes', async () => {
  let started = 0
  const parts = [HANGS, '• ', '• ', '• ', '• ', ENDS]
  const result = await outcome(
    'here',
    (print) => {
      started++
      const ended = (async () => {
        for (const part of parts) {
          print(part)
          await new Promise((resolve) => setTimeout(resolve, 400))
        }
      })()
      return { ended, stop: async () => '' }
    },
    1500,
  )
  assert.is(result, parts.join(''))
  assert.is(started, 1)
})

test.run()

/** @param tries  the text that each prints: `FAILS` ends in an error, `ENDS` well, others hang */
async function watched(tries: readonly string[]) {
  const { log } = console
  const said: string[] = []
  let started = 0
  let stopped = 0
  console.log = (text) => said.push(text)
  try {
    const result = await outcome(
      'here',
      (print) => {
        const mine = tries[started++]!
        const number = started
        print(mine)
        const stop = async () => {
          stopped++
          return `known of ${number}`
        }
        if (mine === FAILS) return { ended: Promise.reject(new Error('it crashed')), stop }
        return { ended: mine === ENDS ? Promise.resolve() : new Promise(() => {}), stop }
      },
      300,
    ).catch(String)
    return { result, stopped, said }
  } finally {
    console.log = log
  }
}
