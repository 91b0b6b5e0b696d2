import { stripVTControlCharacters } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bundleForBrowsers, bundleTests } from '../built/bundle.ts'
import { GOLDEN } from '../support/golden.ts'
import * as chromium from './chromium.ts'
import * as firefox from './firefox.ts'
import type { Page } from './page.ts'
import { serve } from './server.ts'
import { threaded } from './threads.ts'
import { work } from './worker.ts'

// In the browser:
declare const page: Page
declare const exec: () => Promise<string>

const WORKERS = 3
const STEPS = 10

const bundles = {
  '/page.js': await bundleForBrowsers('test/browser/page.ts'),
  '/worker.js': await bundleForBrowsers('test/browser/webworker.ts'),
  '/tests.js': await bundleTests(['kernels'], 'browser'),
}
const scripts = Object.entries(bundles).map(([path, { text }]) => [path, text])
const browsers = [
  ['Chromium', await chromium.launch()],
  ['Firefox', await firefox.launch()],
] as const
const server = await serve(Object.fromEntries(scripts), WORKERS)

const alone = suite('what browsers are given')

alone('is the built package, not its sources', () => {
  for (const [path, { inputs }] of Object.entries(bundles)) {
    assert.ok(
      inputs.some((input) => /^(dist|build\/modules)\//.test(input)),
      path,
    )
    assert.not.ok(
      inputs.some((input) => input.startsWith('src/')),
      path,
    )
  }
})

alone.run()

for (const [name, browser] of browsers) {
  const test = suite(name)
  if (typeof browser === 'string') test.skip(`${name}: ${browser}`)
  else {
    const thrown: string[] = [] // by pages, uncaught
    const open = (path: string) =>
      browser.open(`${server.url}${path}`, (message) => thrown.push(message))

    test.after.each(() => assert.equal(thrown.splice(0), []))
    test.after(() => browser.close())

    test('hashes are the golden ones', async () => {
      const tab = await open('/')
      assert.equal(await tab.evaluate(() => page.golden()), { ...GOLDEN })
      await tab.close()
    })

    test('relaxed SIMD changes nothing that workers must agree on', async () => {
      const tab = await open('/')
      assert.is(await tab.evaluate(() => page.relaxedUpdate()), GOLDEN.update)
      await tab.close()
    })

    test('hashes are the golden ones in a web worker', async () => {
      const tab = await open('/')
      assert.equal(await tab.evaluate(() => page.goldenInWorker()), { ...GOLDEN })
      await tab.close()
    })

    test('hashes are the golden ones in a page that is isolated from other origins', async () => {
      const tab = await open('/isolated')
      assert.is(await tab.evaluate(() => page.isolated()), true)
      assert.equal(await tab.evaluate(() => page.golden()), { ...GOLDEN })
      await tab.close()
    })

    test('a worker in the browser and others in Node end up with the same parameters', async () => {
      const tab = await open('/')
      assert.is(await tab.evaluate(() => page.isolated()), false, 'no special headers')
      const [first, ...others] = await Promise.all([
        tab.evaluate((steps) => page.work(0, steps), STEPS),
        work(1, STEPS, server.exchange),
        work(2, STEPS, server.exchange),
      ])
      assert.ok(first.some((bits) => bits !== 0))
      for (const parameters of others) assert.equal(parameters, first)
      await tab.close()
    })

    test('a policy against compiling WebAssembly gives an error that says what to do', async () => {
      const tab = await open('/strict')
      const expected =
        "UnsupportedError: compiling WebAssembly is not allowed here: add 'wasm-unsafe-eval' to " +
        'script-src in the content security policy'
      assert.equal(await tab.evaluate(() => page.errors()), [expected, expected])
      await tab.close()
    })

    test("a policy with 'wasm-unsafe-eval' is enough", async () => {
      const tab = await open('/allowed')
      assert.equal(await tab.evaluate(() => page.golden()), { ...GOLDEN })
      await tab.close()
    })

    test('threads, in a page that is isolated: the same bits as one thread in Node', async () => {
      const tab = await open('/isolated')
      const want = await threaded(1)
      for (const how of [
        [1, false],
        [2, false],
        [3, false],
        [2, true],
        [3, true],
      ] as const) {
        assert.is(await tab.evaluate((how) => page.threaded(how), how), want, `${how}`)
      }
      await tab.close()
    })

    test('threads, in a page that is not: an error that says what to do', async () => {
      const tab = await open('/')
      const error = await tab.evaluate((how) => page.threaded(how), [2, false] as const)
      assert.match(error, /^UnsupportedError: "threads": memory is not shared here: serve the page/)
      await tab.close()
    })

    test('threads, under a policy against workers from blobs: the same', async () => {
      const tab = await open('/blobless')
      const error = await tab.evaluate((how) => page.threaded(how), [2, false] as const)
      assert.match(error, /^UnsupportedError: "threads": a worker could not be started: .*'blob:'/)
      await tab.close()
    })

    // Node has run these tests on V8.
    if (name === 'Firefox') {
      test('the tests of kernels pass', async () => {
        const tab = await open('/tests')
        // A page counts as loaded before its modules have finished, but `import` waits for them.
        const run = (script: string) => import(script).then(() => exec())
        const printed = stripVTControlCharacters(await tab.evaluate(run, '/tests.js'))
        const [, total, passed] = /Total: +(\d+)\s+Passed: +(\d+)/.exec(printed) ?? []
        assert.ok(Number(total) > 200, printed.slice(-300))
        assert.is(passed, total, printed)
        await tab.close()
      })
    }
  }
  test.run()
}

const last = suite('the server')
last('closes', () => server.close())
last.run()
