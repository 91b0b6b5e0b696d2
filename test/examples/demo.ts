// Runs of the demo, as a user starts them.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { until } from '../support/until.ts'

const MAIN = fileURLToPath(new URL('../../examples/demo/main.ts', import.meta.url))

/** A short text. */
export const README = fileURLToPath(new URL('../../README.md', import.meta.url))

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
  /** all of stdout so far */
  output(): string
  /** Waits for the end. */
  ended(): Promise<{ code: number | null; stderr: string }>
}

/** Starts a long run, of two workers unless the options say more, and waits for its first steps. */
export async function startLong(options: readonly string[] = []): Promise<Long> {
  const count = options.includes('-w') ? [] : ['-w', '2']
  const svg = join(folder, 'never.svg')
  const long = await startShown([...options, ...count, '-s', '100000', '--svg', svg])
  await setTimeout(300) // into the first steps
  return long
}

/** Starts a run, and waits until its workers are ready. */
export async function startShown(options: readonly string[]): Promise<Long> {
  const [name, ...args] = [...DEMO, ...options]
  const child = spawn(name!, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
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
  return {
    child,
    workers,
    output: () => stdout,
    async ended() {
      const [code] = await closed
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
  await until(`processes ${processes} have ended`, () => running().length === 0)
}
