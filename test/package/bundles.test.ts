// The package in users' projects: bundled by common bundlers, run in browsers and Node.
//
// Vite and webpack are in test/consumers/package.json, so that the main `npm ci` stays small:
//
//   npm ci --prefix test/consumers
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { build as esbuild } from 'esbuild'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { launchPlaywright } from '../browser/chromium.ts'
import { GOLDEN } from '../support/golden.ts'
import { createProject, runNode } from './project.ts'

const consumers = fileURLToPath(new URL('../consumers/package.json', import.meta.url))
const installed = existsSync(fileURLToPath(new URL('../consumers/node_modules', import.meta.url)))
const noTools = installed ? null : 'not installed: npm ci --prefix test/consumers'

const project = await createProject()
const browser = await launchPlaywright()
const noBrowser = typeof browser === 'string' ? browser : null

const main = project.write(
  'main.js',
  `import { aggregate, createCompressor, wasm } from 'lowrank'
   import { best } from 'lowrank/webgpu'
   import { goldenRun } from './golden.js'
   // Neither these browsers nor these projects have WebGPU: the package must notice in each of
   // them.
   globalThis.hash = best().then(({ name, reason }) => {
     if (name !== 'wasm') throw new Error(reason)
     return goldenRun({ aggregate, createCompressor, wasm })
   })
   globalThis.hash.then(console.log)`,
)
// Training belongs in a worker.
const page = project.write(
  'page.js',
  `import './main.js'
   const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
   globalThis.hashInWorker = new Promise((resolve, reject) => {
     worker.onmessage = ({ data }) => resolve(data)
     worker.onerror = ({ message }) => reject(new Error(message))
   })`,
)
project.write('worker.js', `import './main.js'\nglobalThis.hash.then((hash) => postMessage(hash))`)
project.write('index.html', html('./page.js'))

const quiet = { root: project.folder, configFile: false, logLevel: 'error' }

const test = suite('bundles')

test.after(async () => {
  if (typeof browser !== 'string') await browser.close()
  project.remove()
})

for (const format of ['esm', 'cjs', 'iife'] as const) {
  test(`esbuild for Node, ${format}`, async () => {
    const outfile = join(project.folder, format === 'esm' ? 'esm.mjs' : `${format}.cjs`)
    await esbuild({ entryPoints: [main], bundle: true, minify: true, format, outfile })
    assert.is(runNode(outfile), GOLDEN.run)
  })
}

unless(noBrowser, 'esbuild for browsers, one script', async () => {
  const outfile = join(project.folder, 'esbuild/page.js')
  await esbuild({ entryPoints: [main], bundle: true, minify: true, format: 'iife', outfile })
  project.write('esbuild/index.html', html('page.js'))
  assert.is(await served('esbuild', (url) => hashAt(url)), GOLDEN.run)
})

unless(noTools, 'webpack for Node', async () => {
  const output = { path: project.folder, filename: 'webpack.cjs' }
  await webpack({ target: 'node', entry: main, output })
  assert.is(runNode(join(project.folder, 'webpack.cjs')), GOLDEN.run)
})

unless(noTools ?? noBrowser, 'webpack for browsers, and in a worker', async () => {
  const output = { path: join(project.folder, 'webpack'), filename: 'page.js' }
  await webpack({ target: 'web', entry: page, output })
  project.write('webpack/index.html', html('page.js'))
  assert.equal(await served('webpack', hashesAt), [GOLDEN.run, GOLDEN.run])
})

// Vite 7 builds a worker as one classic script, and refuses code with an `import()` in it.
for (const version of ['vite', 'vite-7']) {
  unless(noTools ?? noBrowser, `${version} build, and in a worker`, async () => {
    const { build } = await tool<Vite>(version)
    await build({ ...quiet, build: { outDir: version } })
    assert.equal(await served(version, hashesAt), [GOLDEN.run, GOLDEN.run])
  })

  unless(
    noTools ?? noBrowser,
    `the development server of ${version}, and in a worker`,
    async () => {
      const { createServer } = await tool<Vite>(version)
      const cacheDir = join(project.folder, `cache-${version}`)
      const server = await createServer({ ...quiet, cacheDir, server: { port: 0, hmr: false } })
      try {
        await server.listen()
        assert.equal(await hashesAt(server.resolvedUrls.local[0]!), [GOLDEN.run, GOLDEN.run])
      } finally {
        await server.close()
      }
    },
  )
}

test.run()

/** Declares a test, or skips it if there is a reason why it cannot run. */
function unless(reason: string | null, name: string, run: () => Promise<void>): void {
  if (reason) test.skip(`${name}: ${reason}`)
  else test(name, run)
}

/** The hash that a page, or its worker, computes. */
async function hashAt(url: string, name = 'hash'): Promise<string> {
  if (typeof browser === 'string') throw new Error(browser)
  const opened = await browser.newPage()
  const thrown: string[] = []
  opened.on('pageerror', (error) => thrown.push(error.message))
  try {
    await opened.goto(url, { timeout: 0 })
    const found = (name: string) => Reflect.get(globalThis, name) as Promise<string> | undefined
    await opened.waitForFunction((name) => name in globalThis, name, { timeout: 0 })
    const hash = await opened.evaluate(found, name)
    assert.equal(thrown, [])
    return hash!
  } catch (error) {
    throw thrown.length > 0 ? new Error(thrown.join('\n'), { cause: error }) : error
  } finally {
    await opened.close()
  }
}

async function hashesAt(url: string): Promise<string[]> {
  return [await hashAt(url), await hashAt(url, 'hashInWorker')]
}

/** Serves a folder of the project while `use` works. */
async function served<T>(folder: string, use: (url: string) => Promise<T>): Promise<T> {
  const root = join(project.folder, folder)
  // Only these, whatever a URL has in it.
  const files = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
  const server = createServer(({ url }, response) => {
    const path = url === '/' ? '/index.html' : url!
    const file = join(root, path)
    if (!files.includes(file)) return response.writeHead(404).end()
    const type = extname(path) === '.html' ? 'text/html' : 'text/javascript'
    return response.setHeader('content-type', type).end(readFileSync(file))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

function html(script: string): string {
  return `<!doctype html><title>project</title><script type="module" src="${script}"></script>`
}

/**
 * Runs in a process of its own: threads of this one could not load TypeScript, which it started
 * with.
 */
async function webpack(config: object): Promise<void> {
  const all = JSON.stringify({ mode: 'production', context: project.folder, ...config })
  const program = `
    import webpack from ${JSON.stringify(locate('webpack'))}
    webpack(${all}, (error, stats) => {
      if (error) throw error
      if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString())
    })`
  await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program])
}

/** The part of Vite in use; where Vite is not installed, its types are missing. */
interface Vite {
  build(config: object): Promise<unknown>
  createServer(config: object): Promise<{
    listen(): Promise<unknown>
    close(): Promise<void>
    readonly resolvedUrls: { readonly local: readonly string[] }
  }>
}

async function tool<T>(name: string): Promise<T> {
  return import(locate(name)) as Promise<T>
}

function locate(name: string): string {
  return pathToFileURL(createRequire(consumers).resolve(name)).href
}
