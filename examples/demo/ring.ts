// A ring of worker processes. This process starts them, tells each where the previous one listens,
// and collects their reports. Frames go from neighbour to neighbour, never through this process.
//
// When a worker is lost, its neighbours leave it, and the others go on as a path.
import { randomUUID } from 'node:crypto'
import { measure } from './averaging.ts'
import { createModel } from './model.ts'
import { endOf, start } from './processes.ts'
import type { FromNode, GossipName, RingSettings, ToNode } from './ringprotocol.ts'
import { createRun, type Node, type RingRun } from './ringrun.ts'
import type { Watcher } from './run.ts'
import type { Corpus } from './text.ts'

/** Workers that are connected, for one run. */
export interface Ring {
  readonly processes: readonly number[]
  /** @throws Error  if all workers are lost, or training diverges */
  train(watcher: Watcher): Promise<RingRun>
  /** Ends the ring, whether the run succeeded or not. */
  close(): Promise<void>
}

/**
 * Starts the workers, gives each its share of the text, and introduces each to its neighbours.
 *
 * @param signal  ends all workers, whatever they do
 * @throws Error  if a worker is lost before all are connected
 */
export async function createRing(
  corpus: Corpus,
  settings: RingSettings,
  gossip: GossipName,
  signal: AbortSignal,
): Promise<Ring> {
  signal.throwIfAborted()
  const { workers } = settings
  const nodes = Array.from({ length: workers }, (_, number): Node => {
    const state = { number, step: 0, lost: false, snapshots: new Map(), trained: null }
    return Object.assign(start('node.ts', { channel: true }), state)
  })
  const kill = (): void => {
    for (const { process } of nodes) process.kill('SIGKILL')
  }
  process.on('exit', kill)
  let fail: (error: Error) => void
  const failed = new Promise<never>((_, reject) => {
    fail = reject
  })
  failed.catch(() => {}) // every phase races it, and reports it
  let heard: (node: Node, message: FromNode) => void = () => {}
  let lose = ({ number }: Node, how: string): void => {
    fail(new Error(`worker ${number} was lost before training began: ${how}`))
  }
  const abort = (): void => fail(signal.reason)
  signal.addEventListener('abort', abort)
  for (const node of nodes) {
    node.process.on('error', (error) => fail(error))
    node.process.on('message', (message: FromNode) => heard(node, message))
    node.process.on('close', (code, killer) => {
      lose(node, `${endOf(code, killer)}${node.complaint}`)
    })
  }

  const ring: Ring = {
    processes: nodes.map(({ process }) => process.pid!),
    async train(watcher) {
      const model = await createModel(corpus.symbols)
      const begun = performance.now()
      const run = createRun(nodes, settings.steps, watcher, (step, told) =>
        measure(model, corpus.heldOut, step, told, settings.steps),
      )
      heard = run.heard
      lose = run.lose
      for (const node of nodes) tell(node, { type: 'begin' })
      const came = await Promise.race([failed, run.over])
      return { ...came, seconds: (performance.now() - begun) / 1000 }
    },
    async close() {
      heard = () => {}
      lose = () => {}
      kill()
      await Promise.all(nodes.map(({ ended }) => ended))
      process.off('exit', kill)
      signal.removeEventListener('abort', abort)
    },
  }
  try {
    await Promise.race([failed, introduce()])
  } catch (error) {
    await ring.close()
    throw error
  }
  return ring

  /** Resolves when all are connected to their neighbours. */
  function introduce(): Promise<void> {
    return new Promise((resolve) => {
      const ports: number[] = []
      const token = randomUUID() // keeps strangers out
      let [listening, connected] = [0, 0]
      heard = ({ number }, message) => {
        if (message.type === 'connected' && ++connected === workers) resolve()
        if (message.type !== 'listening') return
        ports[number] = message.port
        if (++listening < workers) return
        for (const node of nodes) {
          const previous = (node.number - 1 + workers) % workers
          tell(node, { type: 'connect', port: ports[previous]! })
        }
      }
      for (const node of nodes) {
        const { symbols, heldOut } = corpus
        const share = corpus.shares[node.number]!
        const task = { ...settings, worker: node.number, token, gossip, symbols }
        tell(node, { type: 'prepare', task, share, heldOut })
      }
    })
  }
}

function tell({ process }: Node, message: ToNode): void {
  if (process.connected) process.send(message) // else its 'close' event follows soon
}
