// That tests which come to no end are stopped, said where they hang, and tried once more.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { outcome } from './watch.ts'

const HANGS = ' first  • •   (2 / 2)\n second  • • '
const ENDS = `${HANGS}•   (3 / 3)\n`

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
    `\n${still}\nknown of 1\nIt has printed:\n${HANGS}`,
    `ATTENTION: here: ${still}, in test 3 of "second". This is the second try.`,
  ])
})

test('who ends without an outcome is, too', async () => {
  const { result, said } = await watched([new Error('the page has crashed'), ENDS])
  assert.is(result, ENDS)
  assert.match(said[1]!, 'ATTENTION: here: Error: the page has crashed, before the first suite.')
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

test('there is no second try when the time is over', async () => {
  const { result, stopped } = await watched([HANGS, ENDS], 0)
  assert.is(stopped, 1)
  assert.is(result, 'Error: not at its end when 0 s were over, in test 3 of "second"')
})

test.run()

/** @param tries  what each prints: all of `ENDS`, or part of it before it hangs; or how it ends */
async function watched(tries: readonly (string | Error)[], untilMs = Number.POSITIVE_INFINITY) {
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
        if (typeof mine === 'string') print(mine)
        const stop = async () => {
          stopped++
          return `known of ${number}`
        }
        if (mine instanceof Error) return { ended: Promise.reject(mine), stop }
        return { ended: mine === ENDS ? Promise.resolve() : new Promise(() => {}), stop }
      },
      { stillMs: 300, untilMs },
    ).catch(String)
    return { result, stopped, said }
  } finally {
    console.log = log
  }
}
