// PowerGossip's poster in kind: trainings without a coordinator, and how fast nodes agree.
import { SHAKESPEARE } from '../data.ts'
import type { Experiment } from '../experiment.ts'
import { average } from './averaging.ts'
import { reportAveraging } from './consensus.ts'
import { described } from './methods.ts'
import { finder, type Result, type Run, runsOf } from './runs.ts'
import { reportTraining } from './table.ts'
import { train } from './training.ts'

export const gossip: Experiment<Run, Result> = {
  name: 'gossip',
  title: 'Gossip: training without a coordinator',
  files: SHAKESPEARE,
  runs: (effort, done) => runsOf(effort, finder(done)),
  describe(run) {
    const { kind, nodes, seed, gossip } = run
    const extent = kind === 'training' ? `${nodes} nodes, ${run.steps} steps` : `${nodes} nodes`
    return `${kind}, ${extent}, ${gossip ? described(gossip) : 'all-reduce'}, seed ${seed}`
  },
  execute: (run, { data }) => (run.kind === 'training' ? train(run, data) : average(run)),
  report(done, effort) {
    const find = finder(done)
    const parts = [reportTraining(effort, find), reportAveraging(effort, find)] as const
    return {
      markdown: parts.map(({ markdown }) => markdown).join('\n\n'),
      charts: { ...parts[0].charts, ...parts[1].charts },
      claims: parts.flatMap(({ claims }) => claims),
      figures: { training: parts[0].figures, averaging: parts[1].figures },
    }
  },
}
