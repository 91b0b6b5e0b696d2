// Live progress on stderr: a bar on a terminal, else a line at every measurement.
import cliProgress from 'cli-progress'
import type { Watcher } from './run.ts'

/** Progress of one run; `stop` leaves the last state on the screen. */
export interface Progress extends Watcher {
  stop(): void
}

/** For workers that take part and show nothing. */
export const SILENT: Watcher = { step() {}, measured() {} }

/** @param name  of the run, which its lines begin with */
export function createProgress(name: string, steps: number): Progress {
  return process.stderr.isTTY ? createBar(name, steps) : createLines(name, steps)
}

function createBar(name: string, steps: number): Progress {
  const bar = new cliProgress.SingleBar({
    format: `${name} {bar} step {value} of {total}, {duration_formatted}, held-out loss {loss}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    hideCursor: true,
  })
  bar.start(steps, 0, { loss: '–' })
  return {
    step: (step) => bar.update(step),
    measured: ({ loss }) => bar.update({ loss: loss.toFixed(3) }),
    stop: () => bar.stop(),
  }
}

function createLines(name: string, steps: number): Progress {
  const begun = performance.now()
  return {
    step() {},
    measured({ step, loss }) {
      const seconds = ((performance.now() - begun) / 1000).toFixed(0)
      process.stderr.write(
        `${name} step ${step} of ${steps}, ${seconds} s, held-out loss ${loss.toFixed(3)}\n`,
      )
    },
    stop() {},
  }
}
