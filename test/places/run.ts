// The tests of WebGPU that have passed in Node by themselves, bundled for other places. There the tables
// of kernels are shorter: support/shapes.ts.

import { stripVTControlCharacters } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { serve } from '../browser/server.ts'
import type { Browser } from '../browser/tab.ts'
import { bundleTests } from '../built/bundle.ts'

/** Suites that must have run, by the names that they print. */
export const SUITES = [
  'audit of a device',
  'a GPU',
  'session on WebGPU',
  'compressor on WebGPU',
  'optimiser on WebGPU',
  'accumulateProject on webgpu',
  'backproject on webgpu',
  'settle on webgpu',
]

export const TIMEOUT_MS = 280_000

/** All of them in one module. @param only  files whose path matches */
export async function tests(only?: RegExp): Promise<string> {
  return (await bundleTests(['gpu', 'kernels'], 'browser', 'webgpu', only)).text
}

// In the browser:
declare const begin: () => void
declare const outcome: string | undefined

const BEGIN = `
globalThis.begin = () => { globalThis.exec().then((printed) => { globalThis.outcome = printed }) }
globalThis.outcome = undefined`

/** Runs them in a page. @param browser  or why there is none */
export async function inBrowser(
  name: string,
  browser: Browser | string,
  suites: readonly string[],
  only?: RegExp,
): Promise<void> {
  const test = suite(`WebGPU in ${name}`)
  if (typeof browser === 'string') test.skip(`WebGPU in ${name}: ${browser}`)
  else {
    const server = await serve({ '/tests.js': (await tests(only)) + BEGIN }, 1)

    test.after(async () => {
      await browser.close()
      await server.close()
    })

    test('the tests pass', async () => {
      const thrown: string[] = []
      const tab = await browser.open(`${server.url}/tests`, (message) => thrown.push(message))
      // A page counts as loaded while its modules still await something: who imports them waits.
      await tab.evaluate((script) => import(script).then(() => begin()), '/tests.js')
      // Not in one call, which drivers give up after some minutes.
      const until = Date.now() + TIMEOUT_MS
      let printed: string | undefined
      while (printed === undefined && Date.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, 500))
        printed = await tab.evaluate(() => outcome)
      }
      assert.ok(printed, `the page has not come to its end in ${TIMEOUT_MS} ms`)
      passed(printed!, suites)
      assert.equal(thrown, [])
    })
  }
  test.run()
}

/** Fails unless all suites have run, and every test passed: none was skipped. */
export function passed(output: string, suites: readonly string[]): void {
  const printed = stripVTControlCharacters(output)
  for (const name of suites) assert.ok(printed.includes(` ${name} `), `${name}: ${printed}`)
  const totals = /Total: +(\d+)\s+Passed: +(\d+)\s+Skipped: +(\d+)/.exec(printed)
  const [total, passed, skipped] = (totals ?? []).slice(1).map(Number)
  assert.ok(total! > 0, printed)
  assert.is(passed, total, printed)
  assert.is(skipped, 0, printed)
}
