// Tables 3 and 4 in kind: what compression does to training.
import type { Experiment } from './experiment.ts'

interface Run {
  readonly seed: number
}

export const quality: Experiment<Run, number> = {
  name: 'quality',
  title: 'Quality',
  files: [],
  runs: () => [{ seed: 0 }, { seed: 1 }],
  describe: ({ seed }) => `seed ${seed}`,
  execute: ({ seed }) => seed,
  report: (done) => ({ markdown: `${done.length} runs`, charts: {}, claims: [], figures: done }),
}
