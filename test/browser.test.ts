import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { launch } from './browser/chromium.ts'
import { golden } from './browser/golden.ts'
import type { Page } from './browser/page.ts'
import { serve } from './browser/server.ts'
import { work } from './browser/worker.ts'
import { GOLDEN } from './support/golden.ts'

declare const page: Page // in the browser

const WORKERS = 3
const STEPS = 10
const root = fileURLToPath(new URL('..', import.meta.url))

const browser = await launch()
const bundled = await bundle()
const server = await serve(bundled, WORKERS)

const thrown: string[] = [] // by the page, uncaught

const test = suite('browser')

test.after.each(() => assert.equal(thrown.splice(0), []))

test.after(async () => {
  await server.close()
  if (typeof browser !== 'string') await browser.close()
})

test('the page is made of the built package and nothing else', () => {
  assert.ok(bundled.length > 20_000, `${bundled.length} bytes`)
})

test('hashes of the built package in Node are the golden ones', async () => {
  assert.equal(await golden(), { ...GOLDEN })
})

if (typeof browser === 'string') test.skip(browser)
else {
  const open = async (path: string) => {
    const opened = await browser.newPage()
    opened.on('pageerror', (error) => thrown.push(error.message))
    await opened.goto(`${server.url}${path}`)
    await opened.waitForFunction(() => 'page' in globalThis, null, { timeout: 10_000 })
    return opened
  }

  test('hashes are the golden ones', async () => {
    const opened = await open('/')
    assert.equal(await opened.evaluate(() => page.golden()), { ...GOLDEN })
    await opened.close()
  })

  test('a worker in the browser and others in Node end up with the same parameters', async () => {
    const opened = await open('/')
    assert.is(await opened.evaluate(() => page.isolated()), false, 'no special headers')
    const steps = STEPS
    const [first, ...others] = await Promise.all([
      opened.evaluate(([sender, steps]) => page.work(sender, steps), [0, steps] as const),
      work(1, steps, server.exchange),
      work(2, steps, server.exchange),
    ])
    assert.ok(first.some((bits) => bits !== 0))
    for (const parameters of others) assert.equal(parameters, first)
    await opened.close()
  })

  test('a policy against compiling WebAssembly gives an error that says what to do', async () => {
    const opened = await open('/strict')
    const expected =
      "UnsupportedError: compiling WebAssembly is not allowed here: add 'wasm-unsafe-eval' to " +
      'script-src in the content security policy'
    assert.equal(await opened.evaluate(() => page.errors()), [expected, expected])
    await opened.close()
  })
}

test.run()

/** The page's script: the package is found by its name, as an application would find it. */
async function bundle(): Promise<string> {
  if (!existsSync(`${root}/dist/index.js`)) throw new Error('no dist: npm run build comes first')
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['test/browser/page.ts'],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
    metafile: true,
    logLevel: 'silent',
  })
  for (const input of Object.keys(metafile.inputs)) {
    assert.match(input, /^(dist|test)\//, 'the bundle holds the built package, not its source')
  }
  return outputFiles[0]!.text
}
