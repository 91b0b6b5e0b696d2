// One tab's training: D-PSGD (Lian et al., "Can Decentralized Algorithms Outperform Centralized
// Algorithms?", 2017). The gradient is of the parameters whose frames travel meanwhile,
//
//   x ← gossip(x) − learningRate · (g + m)        m ← momentum · m + g, which stays in this tab
//
// Nothing waits for a timer, for browsers slow timers down in hidden tabs.
import { createGossip, plain, powerGossip } from 'lowrank/gossip'
import { ring } from 'lowrank/topology'
import { descend, USUAL, warmthAt } from '../demo/learning-rate.ts'
import { BATCH, batchAt, CONTEXT, createModel, drawPositions } from '../demo/model.ts'
import type { Circle } from './circle.ts'
import { Exchange } from './exchange.ts'
import type { Method, Start } from './protocol.ts'

const SEED = 0 // of first parameters, batches and factors: the same in all tabs
const RANK = 12
const MEASUREMENTS = 10 // and one before the first step
const PROBE = 8 // batches that the held-out loss is measured on
const SAMPLE = 997 // a sample has one of so many parameters

/** Text as small integers: this tab's share to train on, and the part that no tab trains on. */
export interface Texts {
  readonly share: Uint8Array
  readonly heldOut: Uint8Array
}

/** Taken before a step; losses are in nats per character. */
export interface Measurement {
  readonly step: number
  /** on the step's batch */
  readonly loss: number
  readonly heldOut: number
  /** some of the parameters: comparing tabs' samples shows how far apart the tabs are */
  readonly sample: readonly number[]
}

/** Trains to the end. @param watch  is called as each step begins, sometimes with a measurement */
export async function train(
  { self, tabs, steps, symbols }: Start,
  method: Method,
  texts: Texts,
  circle: Circle,
  watch: (step: number, measurement?: Measurement) => void,
): Promise<void> {
  const model = await createModel(symbols)
  const x = await model.start(SEED)
  const momenta = x.map(({ length }) => new Float32Array(length))
  const positions = await drawPositions(texts.share, steps + 1, SEED, self)
  const { neighbours } = ring(tabs)[self]!
  const gossip = await createGossip(model.shapes, {
    self,
    seed: SEED,
    ...(method === 'plain'
      ? { method: plain() }
      : { method: powerGossip({ rank: RANK }), wire: 'f16' }),
  })
  const connecting = () => [...circle.neighbours.values()].some((n) => n.state === 'connecting')
  while (connecting()) await circle.news()
  const exchange = new Exchange(gossip, circle, Math.min(...Object.values(neighbours)))
  for (let step = 0; step < steps; step++) {
    const batch = batchOf(step)
    const due = step % Math.ceil(steps / MEASUREMENTS) === 0
    watch(step, due ? await measure(step) : undefined)
    await exchange.begin(x)
    const gradients = await model.gradients(x, batch)
    await turn() // else a tab without neighbours would do nothing but train
    await exchange.end(x)
    descend(x, gradients, momenta, USUAL.learningRate * warmthAt(step, steps))
  }
  circle.finish(gossip.neighbours)
  watch(steps, await measure(steps))

  function batchOf(step: number) {
    return batchAt(texts.share, positions.subarray(step * BATCH, (step + 1) * BATCH))
  }

  async function measure(step: number): Promise<Measurement> {
    const loss = await model.loss(x, batchOf(step))
    const stride = (texts.heldOut.length - CONTEXT) / (PROBE * BATCH)
    let sum = 0
    for (let batch = 0; batch < PROBE; batch++) {
      const at = (_: unknown, i: number) => CONTEXT + Math.floor((batch * BATCH + i) * stride)
      sum += await model.loss(x, batchAt(texts.heldOut, Array.from({ length: BATCH }, at)))
    }
    const sample = x.flatMap((array) => Array.from(array.filter((_, i) => i % SAMPLE === 0)))
    return { step, loss, heldOut: sum / PROBE, sample }
  }
}

/** Lets the browser do its other work. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(null)
  })
}
