import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import { vulkanEnv } from '../backends/webgpu/vulkan.ts'
import { passed, SUITES, tests } from './run.ts'
import { outcome, type Started } from './watch.ts'

/** Leaves out kernels that are parts of others: wgpu is slow to return each result. */
const MOST = /webgpu\/|accumulateProject|backproject|settle/

const vulkan = await vulkanEnv()
const inDeno = suite('WebGPU in Deno')
const deno = new URL('../engines/node_modules/@deno/linux-x64-glibc/deno', import.meta.url)
if (!existsSync(deno))
  inDeno.skip('WebGPU in Deno, which is not installed: npm ci --prefix test/engines')
else if (typeof vulkan === 'string') inDeno.skip(`WebGPU in Deno: ${vulkan}`)
else {
  inDeno('the tests pass', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lowrank-deno-'))
    try {
      writeFileSync(join(folder, 'tests.js'), await tests(MOST))
      writeFileSync(join(folder, 'main.js'), "import './tests.js'\nawait exec()")
      const env = { NO_COLOR: '1', HOME: folder, ...vulkan }
      passed(await outcome('WebGPU in Deno', (print) => run(folder, env, print)), SUITES)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
}
inDeno.run()

function run(folder: string, env: NodeJS.ProcessEnv, print: (text: string) => void): Started {
  const child = spawn(
    fileURLToPath(deno),
    ['run', '--quiet', '--no-prompt', '--allow-env', '--unstable-webgpu', 'main.js'],
    { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const closed = once(child, 'close')
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', print)
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text
  })
  return {
    // 1: a test has failed, or a module has thrown, which only stderr tells.
    ended: closed.then(([code, signal]) => {
      if (code === 1) print(errors)
      if (code !== 0 && code !== 1) throw new Error(`ended by ${signal ?? `exit code ${code}`}`)
    }),
    async stop() {
      child.kill('SIGKILL')
      await closed
      return errors
    },
  }
}
