// mpirun: whether it has started this process, and how to start it on this machine.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Socket } from 'node:net'

/** Set for processes that `launch` has started: when their stdin ends, so has their launcher. */
const LAUNCHED = 'LOWRANK_DEMO_LAUNCHED'

/** Whether a launcher has started this process: Open MPI's mpirun, or Slurm's srun. */
export function startedByMpi(): boolean {
  return ['OMPI_COMM_WORLD_RANK', 'PMIX_RANK', 'PMI_RANK'].some((name) => name in process.env)
}

/**
 * Runs this process' own command line again, as so many workers.
 *
 * @param signal  ends them all
 * @throws Error  if there is no mpirun, or if it does not end well: it has said why on stderr
 */
export async function launch(workers: number, signal: AbortSignal): Promise<void> {
  const node = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const count = `${workers}` // said twice, so that an mpirun of another kind is noticed
  // In a group of its own, so that Ctrl-C reaches this process alone: mpirun takes a second one for
  // the wish to end without ending its children.
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

/** Ends worker 0, and so all of them, when the process that called `launch` is gone, however it went. */
export function endWithLauncher(): void {
  if (process.env[LAUNCHED] === undefined) return
  const stdin = new Socket({ fd: 0 }) // mpirun's copy, which only worker 0 gets
  stdin.on('end', () => process.exit(1)).resume()
  stdin.unref()
}

/**
 * What mpirun refuses unless it is told otherwise: to run as root, and more processes than cores.
 * Processes are not bound to cores, for V8 compiles and collects garbage on threads beside.
 */
function permissions(): string[] {
  const root = process.getuid?.() === 0 ? ['--allow-run-as-root'] : []
  return [...root, '--oversubscribe', '--bind-to', 'none']
}
