// mpirun: tells whether it has started this process, and starts it on this machine.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Socket } from 'node:net'

/** Set for processes that `launch` has started: their stdin ends when their launcher does. */
const LAUNCHED = 'LOWRANK_DEMO_LAUNCHED'

/** Whether a launcher has started this process: Open MPI's mpirun, or Slurm's srun. */
export function startedByMpi(): boolean {
  return ['OMPI_COMM_WORLD_RANK', 'PMIX_RANK', 'PMI_RANK'].some((name) => name in process.env)
}

/**
 * Runs this process' own command line again, as so many workers.
 *
 * @param signal  ends all workers
 * @throws Error  if there is no mpirun, or if it fails: then stderr has the reason
 */
export async function launch(workers: number, signal: AbortSignal): Promise<void> {
  const node = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const count = `${workers}` // given twice, so that another MPI's mpirun is noticed
  // mpirun has a group of its own, so that Ctrl-C reaches this process alone: on a second signal
  // mpirun would end without ending its children.
  const child = spawn('mpirun', [...permissions(), '-n', count, ...node, '--workers', count], {
    stdio: ['pipe', 'inherit', 'inherit'],
    detached: true,
    env: { ...process.env, [LAUNCHED]: '1' },
  })
  const end = (): boolean => child.kill('SIGTERM')
  signal.addEventListener('abort', end)
  if (signal.aborted) end()
  const [code, killer] = await once(child, 'close').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    throw new Error('mpirun was not found: install Open MPI (Debian: apt-get install openmpi-bin)')
  })
  if (signal.aborted) throw signal.reason
  if (code !== 0) throw new Error(`mpirun ended with ${killer ?? `exit code ${code}`}`)
}

/**
 * Ends worker 0, and so all workers, once the process that called `launch` is gone for any reason.
 */
export function endWithLauncher(): void {
  if (process.env[LAUNCHED] === undefined) return
  const stdin = new Socket({ fd: 0 }) // mpirun's copy, which only worker 0 gets
  stdin.on('end', () => process.exit(1)).resume()
  stdin.unref()
}

/**
 * Options that allow mpirun to run as root, and more processes than cores: by default it refuses
 * both. Processes are not bound to cores, for V8 compiles and collects garbage on other threads.
 */
function permissions(): string[] {
  const root = process.getuid?.() === 0 ? ['--allow-run-as-root'] : []
  return [...root, '--oversubscribe', '--bind-to', 'none']
}
