// Open MPI (4.1; 5 has the same library version), through koffi: the few functions that the demo
// needs, by their names in mpi.h. Open MPI's handles are addresses of global variables; other MPIs
// have numbers there.
//
// Every call blocks this thread until the other processes have made the same call. No JavaScript
// can handle a signal meanwhile: leave signals their default, which ends the process.
import koffi from 'koffi'

/** This process among those that mpirun has started. */
export interface Mpi {
  /** 0 … workers − 1; MPI calls this the rank */
  readonly worker: number
  readonly workers: number
  /** The sum of all workers' floats, which have the same length: MPI_Allreduce. */
  sum(floats: Float32Array): Float32Array
  /** A message of each worker, in their order: MPI_Allgather. @throws RangeError  if it is long */
  gather<T>(message: T): T[]
  /**
   * Ends MPI once all workers have called it. If a process exits without, mpirun ends all others.
   */
  finalize(): void
}

const LIBRARY = process.platform === 'darwin' ? 'libmpi.40.dylib' : 'libmpi.so.40'
const MESSAGE_BYTES = 512 // a gathered message, padded with spaces

/** Joins the other processes. @throws Error  if Open MPI is not installed */
export function openMpi(): Mpi {
  const library = load()
  const call = (name: string, parameters: string) => {
    const run = library.func(`int ${name}(${parameters})`)
    return (...values: unknown[]): void => {
      // By default MPI ends the job and returns no error, but that can be configured.
      const code = run(...values)
      if (code !== 0) throw new Error(`${name} failed: error ${code}`)
    }
  }
  const init = call('MPI_Init', 'void *, void *')
  const rankOf = call('MPI_Comm_rank', 'void *, _Out_ int *')
  const sizeOf = call('MPI_Comm_size', 'void *, _Out_ int *')
  const allreduce = call('MPI_Allreduce', 'void *, void *, int, void *, void *, void *')
  const allgather = call('MPI_Allgather', 'void *, int, void *, void *, int, void *, void *')
  const finalize = call('MPI_Finalize', '')
  const [world, float, byte, sum] = ['comm_world', 'float', 'byte', 'op_sum'].map((name) =>
    library.symbol(`ompi_mpi_${name}`),
  )

  init(null, null)
  const [worker, workers] = [rankOf, sizeOf].map((of) => {
    const value = [0]
    of(world, value)
    return value[0]!
  }) as [number, number]
  return {
    worker,
    workers,
    sum(floats) {
      const total = new Float32Array(floats.length)
      allreduce(floats, total, floats.length, float, sum, world)
      return total
    },
    gather(message) {
      const own = Buffer.alloc(MESSAGE_BYTES, ' ')
      const text = JSON.stringify(message)
      if (Buffer.byteLength(text) > MESSAGE_BYTES) {
        throw new RangeError(`"message": expected ${MESSAGE_BYTES} bytes at most, got ${text}`)
      }
      own.write(text)
      const all = Buffer.alloc(MESSAGE_BYTES * workers)
      allgather(own, MESSAGE_BYTES, byte, all, MESSAGE_BYTES, byte, world)
      return Array.from({ length: workers }, (_, i) =>
        JSON.parse(all.toString('utf8', i * MESSAGE_BYTES, (i + 1) * MESSAGE_BYTES)),
      )
    },
    finalize,
  }
}

function load(): ReturnType<typeof koffi.load> {
  try {
    return koffi.load(LIBRARY, { global: true }) // its plug-ins look for its symbols
  } catch (error) {
    throw new Error(
      `Open MPI is needed (Debian: apt-get install openmpi-bin): ${(error as Error).message}`,
    )
  }
}
