// Live progress on stderr: a bar on a terminal, else a line for every run.
import cliProgress from 'cli-progress'

export interface Progress {
  at(done: number, total: number, left: TimeLeft): void
  began(what: string): void
  finished(what: string, seconds: number): void
  /** Takes the bar away; may be called twice. */
  stop(): void
}

export interface TimeLeft {
  readonly seconds: number
  /** true: `seconds` leaves out some runs, whose times are not known yet */
  readonly more: boolean
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
    gracefulExit: false, // main.ts handles the signals
  })
  let started = false
  return {
    at(done, total, left) {
      if (!started) bar.start(total, done, { left: '', what: '' })
      started = true
      bar.setTotal(total)
      bar.update(done, { left: show(left) })
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
    at(done, total, left) {
      const line = `${done} of ${total} runs are done, ${show(left)}${last}\n`
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

function show({ seconds, more }: TimeLeft): string {
  if (more && seconds === 0) return 'time left not known yet'
  const known = seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`
  return `${more ? 'more than ' : ''}${known} left`
}
