// All measurements on one device, in order.
import { webgpu } from 'lowrank/webgpu'
import type { Settings } from '../effort.ts'
import type { Model } from '../models.ts'
import type { Progress } from '../progress.ts'
import type { Results, Row, Table } from '../results.ts'
import { Clock } from './clock.ts'
import type { Opened } from './device.ts'
import { goals } from './goals.ts'
import { bandwidth, overheads } from './probes.ts'
import { LAYOUTS, measureSteps } from './step.ts'
import { passesTable, stepTable } from './tables.ts'
import type { TorchRows } from './torch.ts'

export async function measureAll(
  { device, adapter: { software }, check }: Opened,
  models: readonly Model[],
  ranks: readonly number[],
  settings: Settings,
  torch: TorchRows,
  progress: Progress,
): Promise<Pick<Results, 'tables' | 'skipped' | 'goals'>> {
  const tables: Table[] = []
  const skipped: string[] = []
  const add = (table: Table) => tables.push(software ? { ...table, meaningless: true } : table)
  const clock = new Clock(device)
  const backend = await webgpu({ device })
  if (!clock.timestamps) skipped.push('passes: the device has no timestamp queries')

  progress.section('yardsticks')
  const memory = await bandwidth(clock, settings, software, progress.at)
  add({ title: 'bandwidth', ratios: 'percent', against: '% of copy', unit: 'µs', rows: memory })
  const rows = await overheads(clock, settings, progress.at)
  add({ title: 'overheads', ratios: 'times', against: '', unit: 'µs', rows })
  check()

  for (const model of models) {
    progress.section(model.name)
    const measured = { passes: [] as Row[], steps: [] as Row[] }
    for (const layout of LAYOUTS) {
      try {
        const at = (what: string) => progress.at(`${model.name}, ${what}`)
        const found = await measureSteps(clock, backend, model, layout, ranks, settings, at)
        measured.passes.push(...found.passes)
        measured.steps.push(...found.steps)
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
        skipped.push(`${model.name}, ${layout}: ${error.message}`) // the device cannot hold it
      }
      check()
    }
    if (measured.passes.length > 0) add(passesTable(model.name, memory[0]!, measured.passes))
    const others = torch.get(model.name) ?? []
    add(stepTable(model.name, measured.steps, others, ranks, LAYOUTS))
  }
  return { tables, skipped, goals: goals(tables) }
}
