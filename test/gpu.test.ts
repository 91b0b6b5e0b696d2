// The tests that have passed in Node by themselves, bundled: in Chromium, in Firefox and in Deno.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify, stripVTControlCharacters } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import * as chromium from './browser/chromium.ts'
import * as firefox from './browser/firefox.ts'
import { serve } from './browser/server.ts'
import { bundleTests } from './built/bundle.ts'
import { vulkanEnv } from './gpu/vulkan.ts'

/** Folders of test/, of which files that need Node's modules are left out. */
const FOLDERS = ['gpu', 'kernels']
/** Of kernels, what runs on this backend. */
const BACKEND = 'webgpu'
/** Suites that must have run, by the names that they print. */
const OWN_SUITES = [
  'audit of a device',
  'a GPU',
  'session on WebGPU',
  'compressor on WebGPU',
  'optimiser on WebGPU',
]
const SUITES = [
  ...OWN_SUITES,
  'accumulateProject on webgpu',
  'backproject on webgpu',
  'settle on webgpu',
]

const TIMEOUT_MS = 280_000

// In the browser:
declare const begin: () => void
declare const outcome: string | undefined

const BEGIN = `
globalThis.begin = () => { globalThis.exec().then((printed) => { globalThis.outcome = printed }) }
globalThis.outcome = undefined`

const { text } = await bundleTests(FOLDERS, 'browser', BACKEND)
// In Firefox every look at a result takes some milliseconds: there without the tables.
const { text: few } = await bundleTests(['gpu'], 'browser', BACKEND)

const vulkan = await vulkanEnv()
const browsers = [
  ['Chromium', await chromium.launch({ webgpu: true }), text, SUITES],
  ['Firefox', typeof vulkan === 'string' ? vulkan : await firefox.launch(vulkan), few, OWN_SUITES],
] as const

for (const [name, browser, tests, suites] of browsers) {
  const test = suite(`WebGPU in ${name}`)
  if (typeof browser === 'string') test.skip(`WebGPU in ${name}: ${browser}`)
  else {
    const server = await serve({ '/tests.js': tests + BEGIN }, 1)

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

const inDeno = suite('WebGPU in Deno')
const deno = new URL('engines/node_modules/@deno/linux-x64-glibc/deno', import.meta.url)
if (!existsSync(deno))
  inDeno.skip('WebGPU in Deno, which is not installed: npm ci --prefix test/engines')
else if (typeof vulkan === 'string') inDeno.skip(`WebGPU in Deno: ${vulkan}`)
else {
  inDeno('the tests pass', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lowrank-deno-'))
    try {
      writeFileSync(join(folder, 'tests.js'), text)
      writeFileSync(join(folder, 'main.js'), "import './tests.js'\nawait exec()")
      const { stdout } = await promisify(execFile)(
        fileURLToPath(deno),
        ['run', '--quiet', '--no-prompt', '--allow-env', '--unstable-webgpu', 'main.js'],
        {
          cwd: folder,
          timeout: TIMEOUT_MS,
          killSignal: 'SIGKILL',
          maxBuffer: 1 << 24,
          env: { NO_COLOR: '1', HOME: folder, ...vulkan },
        },
      ).catch((error) => {
        throw new Error(`${error.message}\n${error.stdout}`)
      })
      passed(stdout, SUITES)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
}
inDeno.run()

/** Fails unless all suites have run, and every test passed: none was skipped. */
function passed(output: string, suites: readonly string[]): void {
  const printed = stripVTControlCharacters(output)
  for (const name of suites) assert.ok(printed.includes(` ${name} `), `${name}: ${printed}`)
  const totals = /Total: +(\d+)\s+Passed: +(\d+)\s+Skipped: +(\d+)/.exec(printed)
  const [total, passed, skipped] = (totals ?? []).slice(1).map(Number)
  assert.ok(total! > 0, printed)
  assert.is(passed, total, printed)
  assert.is(skipped, 0, printed)
}
