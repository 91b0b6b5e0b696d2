// Worker processes, from the side of the process that starts them.
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** A process that has been started. */
export interface Started {
  readonly process: ChildProcess
  readonly ended: Promise<unknown>
  /** the last of its stderr and of its connection's errors, to say why it ended */
  complaint: string
}

const COMPLAINT = 2000 // characters

/**
 * Starts a program that lies beside this file.
 *
 * @param env  variables besides those of this process
 * @param channel  whether the two talk over Node's own channel
 */
export function start(
  program: string,
  { env = {}, channel = false }: { readonly env?: NodeJS.ProcessEnv; readonly channel?: boolean },
): Started {
  // The child takes this process's options, so that TypeScript loads there as it did here. It has a
  // group of its own, so that Ctrl-C reaches this process alone and the two do not race.
  const child = spawn(
    process.execPath,
    [...process.execArgv, fileURLToPath(new URL(program, import.meta.url))],
    {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe', ...(channel ? (['ipc'] as const) : [])],
      serialization: 'advanced', // arrays of floats as they are
      detached: process.platform !== 'win32',
    },
  )
  const started: Started = {
    process: child,
    ended: new Promise((resolve) => child.on('close', resolve).on('error', resolve)),
    complaint: '',
  }
  child.stderr!.setEncoding('utf8').on('data', (text: string) => complain(started, text))
  return started
}

export function complain(started: Started, text: string): void {
  started.complaint = `${started.complaint}\n${text.trimEnd()}`.slice(-COMPLAINT)
}

/** Says how a process ended, from the arguments of its 'close' event. */
export function endOf(code: number | null, killer: NodeJS.Signals | null): string {
  return killer ? `killed by ${killer}` : `exit code ${code}`
}
