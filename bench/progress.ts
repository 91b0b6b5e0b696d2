// Live progress on stderr: a bar on a terminal, else a line for every section.

export interface Progress {
  /** A section begins. */
  section(name: string): void
  /** Shows what is being measured now. */
  at(what: string): void
  /** Takes the bar away; may be called twice. */
  stop(): void
}

export async function createProgress(sections: number): Promise<Progress> {
  return process.stderr.isTTY ? createBar(sections) : createLines()
}

async function createBar(sections: number): Promise<Progress> {
  const { default: cliProgress } = await import('cli-progress') // a machine with a GPU may lack it
  const bar = new cliProgress.SingleBar({
    format: '{bar} {value} of {total} sections, {duration_formatted}  {what}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 16,
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false, // main.ts handles the signals
  })
  let begun = 0
  bar.start(sections, 0, { what: '' })
  return {
    section: (name) => bar.update(begun++, { what: name }),
    at: (what) => bar.update({ what }),
    stop: () => bar.stop(),
  }
}

function createLines(): Progress {
  return {
    section: (name) => process.stderr.write(`${name} …\n`),
    at() {},
    stop() {},
  }
}
