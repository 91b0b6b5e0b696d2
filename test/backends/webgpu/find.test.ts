// Finding a device in Node, and what is said where there is none. Each case has a process of its own:
// what a process has found it keeps.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { vulkanEnv } from './vulkan.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const vulkan = await vulkanEnv()

const test = suite('finding a device')
const software = suite('finding a device in software')

test('without a driver, webgpu() says what is missing, and best() takes wasm and says why', () => {
  const found = run({ VK_ICD_FILENAMES: '/nonexistent' })
  assert.is(found.name, 'UnsupportedError')
  assert.match(found.message, /no adapter here: it needs a GPU with a driver for Vulkan/)
  assert.is(found.best, 'wasm')
  assert.is(found.reason, found.message)
})

test('without the package, webgpu() says what to install', () => {
  const found = run({ WITHOUT_PACKAGE: '1' })
  assert.is(found.name, 'UnsupportedError')
  assert.match(found.message, /npm install webgpu/)
  assert.is(found.best, 'wasm')
})

if (typeof vulkan === 'string') software.skip(vulkan)
else {
  software('an adapter that is no hardware has to be asked for by name', () => {
    const found = run(vulkan)
    assert.is(found.name, 'UnsupportedError')
    assert.match(found.message, /computes on the CPU.*webgpu\(\{ software: true \}\)/)
    assert.is(found.best, 'wasm')
    const named = run({ ...vulkan, SOFTWARE: '1' })
    assert.is(named.name, 'webgpu')
    assert.match(named.message, /swiftshader/i)
  })

  software(
    'a process ends by itself when all has been disposed of, and also when nothing has',
    () => {
      for (const dispose of ['', '1']) {
        const ended = run({ ...vulkan, SOFTWARE: '1', STEP: '1', DISPOSE: dispose })
        assert.is(ended.counted, true)
      }
    },
  )
}
test.run()
software.run()

/** The output of a process with this environment. It has to end by itself, with exit code 0. */
function run(env: object) {
  const program = `
    if (process.env.WITHOUT_PACKAGE) {
      const { registerHooks, Module } = process.getBuiltinModule('node:module')
      const load = Module._load
      Module._load = (name, ...rest) => {
        if (name === 'webgpu') throw Object.assign(new Error('not installed'), { code: 'MODULE_NOT_FOUND' })
        return load(name, ...rest)
      }
    }
    const { best, webgpu } = await import('./src/webgpu.ts')
    const { createCompressor } = await import('./src/index.ts')
    const { name, reason } = await best()
    const found = { best: name, reason }
    try {
      const backend = await webgpu({ software: process.env.SOFTWARE === '1' })
      Object.assign(found, { name: backend.name, message: backend.description })
      if (process.env.STEP) {
        const compressor = await createCompressor([[8, 12]], { backend })
        const outcome = await compressor.step([new Float32Array(96).fill(1)], async (frame) => frame)
        found.counted = outcome.counted
        if (process.env.DISPOSE) {
          compressor.dispose()
          backend.dispose()
        }
      }
    } catch (error) {
      Object.assign(found, { name: error.name, message: error.message })
    }
    console.log(JSON.stringify(found))`
  const { LD_LIBRARY_PATH: _, VK_ICD_FILENAMES: __, ...clean } = process.env
  const output = execFileSync(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '--eval', program],
    {
      cwd: root,
      encoding: 'utf8',
      env: { ...clean, ...env },
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  )
  return JSON.parse(output) as Record<string, unknown> &
    Record<'name' | 'message' | 'reason', string>
}
