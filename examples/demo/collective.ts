// A fleet without a coordinator: this process is one of its workers, and MPI_Allreduce adds up the
// frames of all workers.
import { setImmediate } from 'node:timers/promises'
import { fromPayload, inspect, payload } from 'lowrank/frames'
import type { Mpi } from './mpi.ts'
import { createTally, distance, type Fleet, type Settings } from './run.ts'
import type { Corpus } from './text.ts'
import { createTrainer, type Link } from './training.ts'

/**
 * Joins the other workers. All call the same methods, and each gets the whole run.
 *
 * A worker that fails leaves without ending MPI, so that mpirun ends the workers that wait for it.
 */
export async function joinFleet(mpi: Mpi, corpus: Corpus, settings: Settings): Promise<Fleet> {
  const { worker, workers } = mpi
  const task = { type: 'task', worker, symbols: corpus.symbols, ...settings } as const
  const trainer = await createTrainer(task, corpus.shares[worker]!, corpus.heldOut)
  let failed = false
  return {
    processes: mpi.gather(process.pid),
    async train(compressed, watcher) {
      const tally = createTally(settings.steps, watcher)
      const link: Link = {
        async exchange(frame) {
          // No other await here lets the event loop turn, which `endWithLauncher` needs.
          await setImmediate()
          const begun = performance.now()
          const own = payload(frame)
          const sum = mpi.sum(own)
          const mean = fromPayload(sum, frame, workers)
          const { step } = inspect(frame)
          tally.exchanged(step, own.byteLength, sum.byteLength, performance.now() - begun)
          return mean
        },
        measured: (loss) => tally.measured(mpi.gather(loss)),
      }
      try {
        const { done, parameters } = await trainer.train(compressed, link)
        // The others add zeros, so that the sum is worker 0's parameters.
        const first = mpi.sum(worker === 0 ? parameters : new Float32Array(parameters.length))
        return tally.finish(mpi.gather(done), mpi.gather(distance(parameters, first)))
      } catch (error) {
        failed = true
        throw error
      }
    },
    async close() {
      trainer.close()
      if (!failed) mpi.finalize()
    },
  }
}
