import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { suite } from 'uvu'
import { vulkanEnv } from '../gpu/vulkan.ts'
import { passed, SUITES, TIMEOUT_MS, tests } from './run.ts'

/** Without kernels that are parts of others: wgpu takes its time over every result. */
const MOST = /gpu\/|accumulateProject|backproject|settle/

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
