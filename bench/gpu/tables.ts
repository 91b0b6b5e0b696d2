// Makes tables of the measurements: passes beside the copy, whole steps beside PyTorch's.
import { withRatios } from '../measure.ts'
import type { Row, Table } from '../results.ts'
import { COPY } from './probes.ts'
import { type Layout, stepName } from './step.ts'
import { fullSteps } from './torch.ts'

export function passesTitle(model: string): string {
  return `passes, ${model}`
}

export function stepTitle(model: string): string {
  return `step, ${model}`
}

/** @param copy  the row `COPY`, if it has been measured */
export function passesTable(model: string, copy: Row, passes: readonly Row[]): Table {
  const rows = passes.map((row) => (row.bytes > 0 ? { ...row, yardstick: COPY } : row))
  return {
    title: passesTitle(model),
    ratios: 'percent',
    against: '% of copy',
    unit: 'µs',
    rows: withRatios([copy, ...rows]),
  }
}

/** Holds the wall times against the faster one of those in PyTorch that do the same work. */
export function stepTable(
  model: string,
  steps: readonly Row[],
  torch: readonly Row[],
  ranks: readonly number[],
  layouts: readonly Layout[],
): Table {
  const yardsticks = new Map<string, string>()
  for (const rank of ranks) {
    const full = torch.filter(({ name }) => fullSteps(rank).includes(name))
    if (full.length === 0) continue
    const fastest = full.reduce((a, b) => (b.ms < a.ms ? b : a)).name
    for (const layout of layouts) yardsticks.set(stepName(rank, layout, 'wall'), fastest)
  }
  const held = steps.map((row) => {
    const yardstick = yardsticks.get(row.name)
    return yardstick === undefined ? row : { ...row, yardstick }
  })
  return {
    title: stepTitle(model),
    ratios: 'faster',
    against: 'than PyTorch',
    rows: withRatios([...torch, ...held]),
  }
}
