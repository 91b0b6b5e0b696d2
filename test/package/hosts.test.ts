// The packed package on hosts that lack or forbid something: workerd, the engine of Cloudflare
// Workers, and the tests of others, with jest or vitest under jsdom. They come with
//
//   npm ci --prefix test/consumers
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { GOLDEN } from '../support/golden.ts'
import { createProject } from './project.ts'

const consumers = fileURLToPath(new URL('../consumers/package.json', import.meta.url))
const require = createRequire(consumers)
const installed = existsSync(fileURLToPath(new URL('../consumers/node_modules', import.meta.url)))

const project = await createProject()
const dist = join(project.folder, 'node_modules/lowrank/dist')

const test = suite('hosts')

test.after(() => project.remove())

/** Declares a test, or skips it if the tools are not installed. */
function withTools(name: string, run: () => Promise<void>): void {
  if (installed) test(name, run)
  else test.skip(`${name}: not installed: npm ci --prefix test/consumers`)
}

for (const binary of ['lowrank.wasm', 'lowrank.relaxed.wasm']) {
  withTools(`workerd: ${binary} as a module serves every door`, async () => {
    const found = await answerOf(
      `import { aggregate, createCompressor, createSgd, wasm } from 'lowrank'
       import { dad } from 'lowrank/factored'
       import { createGossip } from 'lowrank/gossip'
       import { createWasmKernels } from 'lowrank/kernels'
       import { best } from 'lowrank/webgpu'
       import { wasm as threaded } from 'lowrank/threads'
       import module from './module.wasm'
       import { goldenRun } from './golden.js'

       export default { async fetch() {
         const failure = (work) => work().then(() => 'none', String)
         const create = (options) => () => createCompressor([[64, 32]], options)
         const found = { before: await failure(create()) }
         const backend = wasm({ module })
         found.hash = await goldenRun({ aggregate, createCompressor, wasm: () => backend })
         const compressor = await createCompressor([[64, 32]], { backend })
         await createSgd(compressor, { learningRate: 0.1 })
         await createWasmKernels()
         await createGossip([[4, 4]], { self: 1 })
         await createCompressor([[64, 32]], { method: dad({ samples: 4 }) })
         const other = await createCompressor([[64, 32]], { restore: await compressor.save() })
         other.join(await compressor.save())
         found.threads = await failure(create({ backend: threaded({ threads: 2 }) }))
         found.one = await failure(create({ backend: threaded({ threads: 1, module }) }))
         found.best = (await best()).name
         return Response.json(found)
       } }`,
      binary,
    )
    const { before, hash, threads, ...others } = found
    assert.equal(others, { one: 'none', best: 'wasm' })
    if (binary === 'lowrank.wasm') assert.is(hash, GOLDEN.run) // the other one may fuse sums
    assert.match(before!, /^UnsupportedError: compiling WebAssembly is not.*wasm\(\{ module \}\)$/)
    assert.is(threads, 'UnsupportedError: "threads": this host has no workers')
  })
}

const STEPS = `/** @jest-environment jsdom */
  import { createHash } from 'node:crypto'
  import { aggregate, createCompressor, createSgd, wasm } from 'lowrank'
  import { wasm as threaded } from 'lowrank/threads'
  import { goldenRun } from './golden.js'
  test('trains, saves and restores', async () => {
    expect(document.body).toBeTruthy()
    const worker = await createCompressor([[64, 32]])
    const gradients = [Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i))]
    const { counted } = await worker.step(gradients, (frame) => aggregate([frame]))
    expect(counted).toBe(true)
    const other = await createCompressor([[64, 32]], { restore: await worker.save() })
    other.join(await worker.save())
    await createSgd(worker, { learningRate: 0.1 })
    const backend = threaded({ threads: 2 })
    const two = await createCompressor([[600, 320]], { backend })
    await two.step([new Float32Array(192_000)], (frame) => aggregate([frame]))
    two.dispose()
    const sha256 = async (bytes) => createHash('sha256').update(bytes).digest('hex')
    expect(await goldenRun({ aggregate, createCompressor, wasm }, sha256)).toBe('${GOLDEN.run}')
  }, 60_000)`

withTools('jest with jsdom', async () => {
  project.write('jest/lowrank.test.js', STEPS.replace('./golden.js', '../golden.js'))
  const { stderr } = await run(
    'jest',
    'bin/jest.js',
    ['--experimental-vm-modules'],
    [
      ...['--rootDir', project.folder, '--config', '{"transform":{},"testEnvironment":"node"}'],
      'jest/lowrank',
    ],
  )
  assert.match(stderr, /Tests: +1 passed, 1 total/)
})

withTools('vitest with jsdom', async () => {
  project.write('vitest/lowrank.test.js', STEPS.replace('./golden.js', '../golden.js'))
  const options = ['run', '--globals', '--environment', 'jsdom', '--root', project.folder]
  const { stdout } = await run('vitest', 'vitest.mjs', [], [...options, 'vitest/lowrank'])
  assert.match(stdout, /Tests +1 passed \(1\)/)
})

test.run()

/** The JSON that a Cloudflare Worker answers with. */
async function answerOf(worker: string, binary: string): Promise<Record<string, string>> {
  const { Miniflare } = await import(pathToFileURL(require.resolve('miniflare')).href)
  const doors = ['index', 'factored', 'gossip', 'kernels', 'threads', 'webgpu', 'shared']
  const named = worker
    .replaceAll(/'lowrank\/(\w+)'/g, "'./$1.js'")
    .replaceAll("'lowrank'", "'./index.js'")
  const modules = [
    { type: 'ESModule', path: '/main.js', contents: named },
    { type: 'CompiledWasm', path: '/module.wasm', contents: readFileSync(join(dist, binary)) },
    ...doors.map((door) => ({
      type: 'ESModule',
      path: `/${door}.js`,
      contents: readFileSync(join(dist, `${door}.js`), 'utf8'),
    })),
    {
      type: 'ESModule',
      path: '/golden.js',
      contents: readFileSync(join(project.folder, 'golden.js'), 'utf8'),
    },
  ]
  const host = new Miniflare({ compatibilityDate: '2026-01-01', modulesRoot: '/', modules })
  try {
    const response = await host.dispatchFetch('http://localhost/')
    const text = await response.text()
    assert.is(response.status, 200, text)
    return JSON.parse(text)
  } finally {
    await host.dispose()
  }
}

/** Runs a tool's program in the project. */
function run(tool: string, program: string, flags: readonly string[], args: readonly string[]) {
  const path = join(dirname(require.resolve(`${tool}/package.json`)), program)
  return promisify(execFile)(process.execPath, [...flags, path, ...args], {
    cwd: project.folder,
    env: { ...process.env, NO_COLOR: '1', CI: '1', NODE_OPTIONS: '' },
  }).catch((error) => {
    throw new Error(`${error.message}\n${error.stdout}\n${error.stderr}`)
  })
}
