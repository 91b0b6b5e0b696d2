// One run of a ring, put together from the nodes' reports.
import type { RingMeasurement } from './averaging.ts'
import type { Started } from './processes.ts'
import { probes } from './protocol.ts'
import type { Departure, FromNode, Snapshot, Trained } from './ringprotocol.ts'
import type { Watcher } from './run.ts'

/** A worker that has ended before the run did. */
export interface Lost {
  readonly worker: number
  readonly step: number
  readonly how: string
}

/** The results of a run. */
export interface RingRun {
  readonly measurements: readonly RingMeasurement[]
  /** those that trained to the end */
  readonly workers: readonly (Trained & { readonly worker: number })[]
  readonly lost: readonly Lost[]
  readonly left: readonly (Departure & { readonly worker: number })[]
  readonly seconds: number
}

/** A node's process, and its messages so far. */
export interface Node extends Started {
  readonly number: number
  /** the last step that it has reported */
  step: number
  lost: boolean
  readonly snapshots: Map<number, Snapshot>
  trained: Trained | null
}

/** Collects the nodes' messages of one run. */
export function createRun(
  nodes: readonly Node[],
  steps: number,
  watcher: Watcher,
  measure: (step: number, told: readonly Snapshot[]) => Promise<RingMeasurement>,
) {
  const measurements: RingMeasurement[] = []
  const lost: Lost[] = []
  const left: RingRun['left'][number][] = []
  const due = [...probes(steps)]
  let measuring = Promise.resolve()
  let end: () => void
  let fail: (error: Error) => void
  const over = new Promise<void>((resolve, reject) => {
    end = resolve
    fail = reject
  })
  return {
    over: over.then(result),
    heard(node: Node, message: FromNode): void {
      if (message.type === 'stepped') node.step = message.step
      if (message.type === 'snapshot') node.snapshots.set(message.step, message)
      if (message.type === 'left') left.push({ worker: node.number, ...message.departure })
      if (message.type === 'finished') node.trained = message.trained
      proceed()
    },
    lose(node: Node, how: string): void {
      if (node.trained) return
      node.lost = true
      lost.push({ worker: node.number, step: node.step + 1, how })
      proceed()
    },
  }

  /** Measures once all remaining nodes have sent their snapshots; ends once all have finished. */
  function proceed(): void {
    const there = nodes.filter((node) => !node.lost)
    if (there.length === 0) {
      fail(new Error(`all workers were lost, the last: ${lost.at(-1)!.how}`))
      return
    }
    watcher.step(Math.min(...there.map(({ step }) => step)))
    while (due.length > 0 && there.every(({ snapshots }) => snapshots.has(due[0]!))) {
      const step = due.shift()!
      const told = there.map(({ snapshots }) => snapshots.get(step)!)
      for (const { snapshots } of nodes) snapshots.delete(step)
      measuring = measuring.then(async () => {
        const measurement = await measure(step, told)
        measurements.push(measurement)
        watcher.measured(measurement)
      })
      measuring.catch(fail)
    }
    if (there.every(({ trained }) => trained)) measuring.then(end)
  }

  function result(): Omit<RingRun, 'seconds'> {
    const workers = nodes.flatMap(({ number, trained }) =>
      trained ? [{ worker: number, ...trained }] : [],
    )
    return { measurements, workers, lost, left }
  }
}
