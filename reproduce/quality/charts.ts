// Quality's pictures.
import * as Plot from '@observablehq/plot'
import { COLOURS, draw } from '../charts.ts'
import { bytes } from '../markdown.ts'
import { ABOUT } from '../tasks.ts'
import type { Task } from '../training.ts'
import type { Outcome } from './report.ts'

/** Lines in the picture over steps: more would hide each other. */
const LINES = [
  'uncompressed',
  'rank 1',
  'rank 2',
  'rank 4',
  'rank 2, no feedback',
  'top K',
  'random K',
]

/** Mean loss of the seeds at each glance, with 4 workers. */
export function overSteps(task: Task, outcomes: readonly Outcome[]): string {
  const shown = outcomes.filter(({ name, workers }) => workers === 4 && LINES.includes(name))
  const points = shown.flatMap(({ name, trained }) =>
    trained[0]!.curve.map(({ step }, i) => {
      const losses = trained.flatMap(({ curve }) => curve[i]?.loss ?? [])
      return { name, step, loss: losses.reduce((sum, loss) => sum + loss, 0) / losses.length }
    }),
  )
  return draw(`${ABOUT[task.name].title}, 4 workers: mean over seeds`, {
    color: { legend: false, domain: LINES, range: [...COLOURS] },
    x: { label: 'step', labelAnchor: 'center', labelArrow: 'none' },
    y: {
      grid: true,
      label: ABOUT[task.name].loss,
      labelAnchor: 'center',
      labelArrow: 'none',
    },
    marginRight: 150,
    marks: [
      Plot.line(points, { x: 'step', y: 'loss', stroke: 'name', strokeWidth: 1.75 }),
      ...names(points.filter(({ step }) => step === task.steps)),
    ],
  })
}

/** Beside the ends of lines, moved apart where they would overlap. */
function names(ends: readonly { name: string; step: number; loss: number }[]): Plot.Markish[] {
  return [
    Plot.text(ends, {
      x: 'step',
      y: 'loss',
      text: 'name',
      fill: 'name',
      textAnchor: 'start',
      dx: 6,
    }),
  ]
}

/** Loss at the end against bytes, with bars from the least to the greatest of the seeds. */
export function againstBytes(task: Task, outcomes: readonly Outcome[]): string {
  const shown = outcomes
    .filter(({ loss }) => Number.isFinite(loss.mean))
    .map(({ name, workers, sentBytes, loss }) => ({
      name,
      workers: `${workers} workers`,
      sentBytes,
      ...loss,
    }))
  return draw(`${ABOUT[task.name].title}: loss at the end, bars over seeds`, {
    x: {
      type: 'log',
      grid: true,
      label: 'bytes that a worker sends in a step (log scale)',
      labelAnchor: 'center',
      labelArrow: 'none',
      ticks: 6,
      tickFormat: bytes,
    },
    y: { grid: true, label: ABOUT[task.name].loss, labelAnchor: 'center', labelArrow: 'none' },
    marks: [
      Plot.ruleX(shown, {
        x: 'sentBytes',
        y1: 'least',
        y2: 'most',
        stroke: 'workers',
        strokeWidth: 2,
      }),
      Plot.dot(shown, { x: 'sentBytes', y: 'mean', fill: 'workers', r: 4 }),
      Plot.text(shown, {
        x: 'sentBytes',
        y: 'mean',
        text: 'name',
        textAnchor: 'start',
        dx: 7,
        fontSize: 11,
      }),
    ],
  })
}
