// Live progress on stderr: a bar where it is a terminal, else a line for every run.
import cliProgress from 'cli-progress'

export interface Progress {
  /** @param secondsLeft  NaN: not known yet */
  at(done: number, total: number, secondsLeft: number): void
  began(what: string): void
  finished(what: string, seconds: number): void
  /** Takes the bar away; may be called twice. */
  stop(): void
}

export function createProgress(): Progress {
  return process.stderr.isTTY ? createBar() : createLines()
}

function createBar(): Progress {
  const bar = new cliProgress.SingleBar({
    format: '{bar} {value} of {total} runs, {duration_formatted}, {left}  {what}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 20,
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false, // main.ts has the signals
  })
  let started = false
  return {
    at(done, total, secondsLeft) {
      if (!started) bar.start(total, done, { left: '', what: '' })
      started = true
      bar.setTotal(total)
      bar.update(done, { left: show(secondsLeft) })
    },
    began: (what) => bar.update({ what }),
    finished() {},
    stop: () => bar.stop(),
  }
}

function createLines(): Progress {
  let last = ''
  let told = ''
  return {
    at(done, total, secondsLeft) {
      const line = `${done} of ${total} runs are done, ${show(secondsLeft)}${last}\n`
      if (line !== told) process.stderr.write(line)
      told = line
    },
    began() {},
    finished(what, seconds) {
      last = `  (${what}: ${seconds.toFixed(1)} s)`
    },
    stop() {},
  }
}

function show(seconds: number): string {
  if (Number.isNaN(seconds)) return 'time left not known yet'
  return seconds < 90 ? `${Math.ceil(seconds)} s left` : `${Math.ceil(seconds / 60)} min left`
}
