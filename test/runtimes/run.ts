// Runs the tests of WebGPU in other runtimes, bundled; Node runs them by itself. In the bundles the
// tables of kernels are shorter: support/shapes.ts.

import { stripVTControlCharacters } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { serve } from '../browser/server.ts'
import type { Browser } from '../browser/tab.ts'
import { bundleTests } from '../built/bundle.ts'
import { patience } from '../support/patience.ts'
import { outcome, type Started } from './watch.ts'

/** Test files that run in one page. */
export interface Part {
  readonly files: RegExp
  /** suites that must have run, by the names that they print */
  readonly suites: readonly string[]
}

/** Each part has a page of its own, so that its garbage does not burden the next one. */
export const PARTS: readonly Part[] = [
  { files: /webgpu\/compressor/, suites: ['compressor on WebGPU'] },
  {
    files: /webgpu\/(baselines|energy|gossip|session|sgd)/,
    suites: [
      'baselines on WebGPU',
      'by energy on WebGPU',
      'gossip on WebGPU',
      'session on WebGPU',
      'optimiser on WebGPU',
    ],
  },
  {
    files: /webgpu\/(?!compressor|baselines|energy|gossip|session|sgd)/,
    suites: ['audit of a device', 'a GPU'],
  },
  {
    files: /kernels\//,
    suites: ['accumulateProject on webgpu', 'backproject on webgpu', 'settle on webgpu'],
  },
]

/** All of them. */
export const SUITES = PARTS.flatMap(({ suites }) => suites)

/** Bundles all parts into one module. @param only  files whose path matches */
export async function tests(only?: RegExp): Promise<string> {
  return (await bundleTests(['backends/webgpu', 'kernels'], 'browser', 'webgpu', only)).text
}

// In the browser:
declare const exec: () => Promise<string>

/** The last line that the page prints. */
const END = 'all suites have been run'

/**
 * Runs each part in a browser of its own.
 *
 * @param launch  starts a browser, or says why there is none
 */
export async function inBrowser(
  name: string,
  launch: () => Promise<Browser | string>,
  parts: readonly Part[],
): Promise<void> {
  const test = suite(`WebGPU in ${name}`)
  const first = await launch()
  if (typeof first === 'string') test.skip(`WebGPU in ${name}: ${first}`)
  else {
    const browsers = [first]
    const browser = async () => {
      const one = browsers.pop() ?? (await launch())
      if (typeof one === 'string') throw new Error(one)
      return one
    }
    for (const { files, suites } of parts) {
      test(`the tests pass: ${suites.join(', ')}`, async () => {
        const script = await tests(files)
        let thrown: string[] = []
        const printed = await outcome(`WebGPU in ${name}`, (print) => {
          thrown = []
          return inPage(browser(), script, print, thrown)
        })
        passed(printed, suites)
        assert.equal(thrown, [])
      })
    }
  }
  test.run()
}

function inPage(
  launching: Promise<Browser>,
  script: string,
  print: (text: string) => void,
  thrown: string[],
): Started {
  const serving = serve({ '/tests.js': script }, 1)
  const said: string[] = []

  async function run(): Promise<void> {
    const [browser, { url }] = await Promise.all([launching, serving])
    let hear = (_kind: string, _text: string): void => {}
    const end = new Promise<void>((resolve, reject) => {
      hear = (kind, text) => {
        if (text === END) resolve()
        else if (kind === 'log') print(text)
        else if (kind === 'crash') reject(new Error(text))
        else said.push(`${kind}: ${text}`)
      }
    })
    const begin = async () => {
      const tab = await browser.open(`${url}/tests`, (message) => thrown.push(message), hear)
      // A page counts as loaded before its modules have finished, but `import` waits for them. The
      // call does not wait for the tests: drivers may give a call up after some minutes.
      await tab.evaluate(
        ([script, end]) => import(script).then(() => void exec().then(() => console.info(end))),
        ['/tests.js', END] as const,
      )
      return gpuProcess(browser)
    }
    const [gpu] = await Promise.all([begin(), end])
    // Then failures say nothing about the tests.
    if ((await gpuProcess(browser)) !== gpu) throw new Error('the GPU process has ended')
  }

  async function stop(): Promise<string> {
    const server = await serving
    const browser = await launching.catch(() => null) // `ended` says why
    const late = new Promise<[]>((resolve) => setTimeout(resolve, patience(5_000), []).unref())
    const processes = browser ? await Promise.race([browser.processes(), late]) : []
    await browser?.close()
    await server.close()
    const all = processes.map(
      ({ kind, id, seconds }) => `process ${id}: ${kind}, ${seconds} s of CPU time`,
    )
    return [...all, ...thrown.map((message) => `thrown: ${message}`), ...said.slice(-20)].join('\n')
  }

  return { ended: run(), stop }
}

/** The number of the browser's GPU process, if it has one and reports it. */
async function gpuProcess(browser: Browser): Promise<number | undefined> {
  return (await browser.processes()).find(({ kind }) => kind === 'GPU')?.id
}

/** Fails unless all suites have run and every test has passed, none skipped. */
export function passed(output: string, suites: readonly string[]): void {
  const printed = stripVTControlCharacters(output)
  for (const name of suites) assert.ok(printed.includes(` ${name} `), `${name}: ${printed}`)
  const totals = /Total: +(\d+)\s+Passed: +(\d+)\s+Skipped: +(\d+)/.exec(printed)
  const [total, passed, skipped] = (totals ?? []).slice(1).map(Number)
  assert.ok(total! > 0, printed)
  assert.is(passed, total, printed)
  assert.is(skipped, 0, printed)
}
