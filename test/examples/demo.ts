// Runs of the demo, as a user starts them.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'

const MAIN = fileURLToPath(new URL('../../examples/demo/main.ts', import.meta.url))

/** The demo's command line without options. */
export const DEMO = [process.execPath, '--import', 'tsx', MAIN]

/** A folder for pictures, removed when this process ends. */
export const folder = mkdtempSync(join(tmpdir(), 'lowrank-demo-'))
process.on('exit', () => rmSync(folder, { recursive: true }))

/** How a run ended, and its output. */
export interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the demo to its end. @param command  what starts it, such as mpirun */
export function run(options: readonly string[], command: readonly string[] = []): Ended {
  const svg = options.includes('--svg') ? [] : ['--svg', join(folder, 'unused.svg')]
  const [name, ...args] = [...command, ...DEMO, ...options, ...svg]
  return spawnSync(name!, args, { encoding: 'utf8' })
}

/** A run in progress. */
export interface Long {
  readonly child: ChildProcess
  /** process numbers */
  readonly workers: number[]
  /** Waits for the end. @throws Error  if it does not come within 30 seconds */
  ended(): Promise<{ code: number | null; stderr: string }>
}

/** Starts a long run, of two workers unless the options say more, and waits for its first steps. */
export async function startLong(options: readonly string[] = []): Promise<Long> {
  const svg = join(folder, 'never.svg')
  const count = options.includes('-w') ? [] : ['-w', '2']
  const [name, ...args] = [...DEMO, ...options, ...count, '-s', '100000', '--svg', svg]
  const child = spawn(name!, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8')
  const closed = once(child, 'close')
  for await (const text of child.stderr.iterator({ destroyOnReturn: false })) {
    stderr += text
    if (/processes .*\n/.test(stderr)) break
  }
  child.stderr.on('data', (text) => {
    stderr += text
  })
  const workers = /processes (.*)\n/.exec(stderr)?.[1]?.split(', ').map(Number)
  assert.ok(workers, stderr)
  await setTimeout(300) // into the first steps
  const late = async (): Promise<never> => {
    await setTimeout(30_000, null, { ref: false })
    throw new Error(`process ${child.pid} has not ended: ${stderr}`)
  }
  return {
    child,
    workers,
    async ended() {
      const [code] = await Promise.race([closed, late()])
      return { code, stderr }
    },
  }
}

/** Waits until no process runs; a dead process that is not yet reaped does not count as running. */
export async function allGone(processes: readonly number[]): Promise<void> {
  const running = (): number[] =>
    processes.filter((pid) => {
      const state = spawnSync('ps', ['-o', 'stat=', '-p', `${pid}`], { encoding: 'utf8' })
      return /^[^Z\s]/.test(state.stdout)
    })
  for (let turn = 0; turn < 50 && running().length > 0; turn++) await setTimeout(100)
  assert.equal(running(), [])
}
