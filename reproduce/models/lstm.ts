// A character language model: embedding, one LSTM layer, output. Each stream of text continues from
// step to step, and so does the LSTM's state. Gradients go back through the characters of one step.
import type { Text } from '../data.ts'
import { crossEntropy, integers, type Model, type Score, sumSamples } from './model.ts'
import { createProducts } from './products.ts'

export interface LstmSize {
  /** different characters */
  readonly symbols: number
  readonly embedding: number
  readonly hidden: number
  /** streams of text; each worker has an equal share */
  readonly streams: number
  /** characters of each stream in a step */
  readonly length: number
}

/** Steps of an evaluation that is not the last; the last one goes through all held-out text. */
const GLANCE = 8

export async function createLstm(
  text: Text,
  size: LstmSize,
  { seed, workers }: { readonly seed: number; readonly workers: number },
): Promise<Model> {
  const { symbols, embedding, hidden, streams, length } = size
  if (text.symbols > symbols) {
    throw new RangeError(`"symbols": expected ${text.symbols} or more, got ${symbols}`)
  }
  const apart = Math.floor((text.heldOut.length - 1) / streams) // held-out text per stream
  if (apart < length) {
    const least = streams * length + 1
    throw new RangeError(
      `held-out text: expected ${least} characters or more, got ${text.heldOut.length}`,
    )
  }
  const gates = 4 * hidden
  const samples = streams * length
  const own = samples / workers
  const shapes = lstmShapes(size)
  const sizes = shapes.map((shape) => shape.reduce((product, n) => product * n, 1))
  const widths = 2 * gates + 8 * hidden + 4 * embedding + 2 * symbols
  const { alloc, forward, backward, weights, normal } = await createProducts(
    2 * sizes.reduce((sum, size) => sum + size, 0) + widths * (samples + 2 * streams) + 1024,
  )
  const parameters = sizes.map(alloc)
  const gradients = sizes.map(alloc)
  const [table, wx, wh, b, wo, bo] = parameters as Six
  const [dTable, dWx, dWh, dB, dWo, dBo] = gradients as Six
  normal(table, 1, seed, 0)
  normal(wx, 1 / Math.sqrt(embedding), seed, 1)
  normal(wh, 1 / Math.sqrt(hidden), seed, 2)
  b.fill(1, hidden, 2 * hidden) // biases of the forget gate: the LSTM remembers at first
  normal(wo, 0.1 / Math.sqrt(hidden), seed, 4)

  const ofTable = { inputs: embedding, outputs: gates }
  const ofState = { inputs: hidden, outputs: gates }
  const ofOutput = { inputs: hidden, outputs: symbols }
  // Ordered by time, then stream. c and h have one time more: the state from the step before comes
  // first.
  const x = alloc(samples * embedding)
  const a = alloc(samples * gates) // the gates; later the gradients of their sums
  const recurrent = alloc(streams * gates)
  const c = alloc((length + 1) * streams * hidden)
  const h = alloc((length + 1) * streams * hidden)
  const hNow = h.subarray(streams * hidden)
  const tanhC = alloc(samples * hidden)
  const scores = alloc(samples * symbols)
  const dx = alloc(samples * embedding)
  const dh = alloc(samples * hidden)
  const dhNext = alloc(streams * hidden)
  const dcNext = alloc(streams * hidden)
  // Copies of one worker's streams.
  const ownX = alloc(own * embedding)
  const ownDx = alloc(own * embedding)
  const ownA = alloc(own * gates)
  const ownBefore = alloc(own * hidden)
  const ownH = alloc(own * hidden)
  const ownScores = alloc(own * symbols)

  const draw = integers(seed)
  const stretch = Math.floor(text.train.length / streams)
  const first = Array.from({ length: streams }, (_, i) => i * stretch + draw(stretch))
  const inputs = new Uint8Array(samples)
  const targets = new Uint8Array(samples)
  let steps = 0

  return { shapes, parameters, step, gradients: gradientsOf, evaluate }

  function step(): number {
    if (steps > 0) remember()
    read(text.train, first, steps++)
    goForward()
    const { loss } = crossEntropy(scores, targets, symbols, 1 / own)
    goBack()
    return loss / samples
  }

  /**
   * Reads the characters of a step, and those that follow them. The text wraps around at its end.
   */
  function read(from: Uint8Array, starts: readonly number[], step: number): void {
    for (let t = 0, s = 0; t < length; t++) {
      for (let i = 0; i < streams; i++, s++) {
        const at = starts[i]! + step * length + t
        inputs[s] = from[at % from.length]!
        targets[s] = from[(at + 1) % from.length]!
      }
    }
  }

  function goForward(): void {
    for (let s = 0; s < samples; s++) {
      const row = inputs[s]! * embedding
      x.set(table.subarray(row, row + embedding), s * embedding)
    }
    forward(a, wx, x, { ...ofTable, samples })
    for (let t = 0; t < length; t++) {
      const before = t * streams * hidden
      const state = h.subarray(before, before + streams * hidden)
      forward(recurrent, wh, state, { ...ofState, samples: streams })
      for (let i = 0; i < streams; i++) cell(t * streams + i, i)
    }
    forward(scores, wo, hNow, { ...ofOutput, samples })
    for (let s = 0, at = 0; s < samples; s++) {
      for (let k = 0; k < symbols; k++, at++) scores[at] = scores[at]! + bo[k]!
    }
  }

  function cell(s: number, stream: number): void {
    const at = s * gates
    const from = stream * gates
    const before = s * hidden
    const now = before + streams * hidden
    for (let j = 0; j < hidden; j++) {
      const f = j + hidden
      const g = f + hidden
      const o = g + hidden
      const input = sigmoid(a[at + j]! + recurrent[from + j]! + b[j]!)
      const forget = sigmoid(a[at + f]! + recurrent[from + f]! + b[f]!)
      const candidate = tanh(a[at + g]! + recurrent[from + g]! + b[g]!)
      const output = sigmoid(a[at + o]! + recurrent[from + o]! + b[o]!)
      const state = forget * c[before + j]! + input * candidate
      const shown = tanh(state)
      a[at + j] = input
      a[at + f] = forget
      a[at + g] = candidate
      a[at + o] = output
      c[now + j] = state
      tanhC[before + j] = shown
      h[now + j] = output * shown
    }
  }

  /** Goes backward: from the gradient in `scores` to those in `a` and `dx`. */
  function goBack(): void {
    backward(dh, wo, scores, { ...ofOutput, samples })
    dhNext.fill(0)
    dcNext.fill(0)
    for (let t = length - 1; t >= 0; t--) {
      for (let i = 0; i < streams; i++) cellBack(t * streams + i, i)
      const now = a.subarray(t * streams * gates, (t + 1) * streams * gates)
      backward(dhNext, wh, now, { ...ofState, samples: streams })
    }
    backward(dx, wx, a, { ...ofTable, samples })
  }

  function cellBack(s: number, stream: number): void {
    const at = s * gates
    const before = s * hidden
    const next = stream * hidden
    for (let j = 0; j < hidden; j++) {
      const f = at + j + hidden
      const g = f + hidden
      const o = g + hidden
      const input = a[at + j]!
      const forget = a[f]!
      const candidate = a[g]!
      const output = a[o]!
      const shown = tanhC[before + j]!
      const onH = dh[before + j]! + dhNext[next + j]!
      const onC = onH * output * (1 - shown * shown) + dcNext[next + j]!
      a[at + j] = onC * candidate * input * (1 - input)
      a[f] = onC * c[before + j]! * forget * (1 - forget)
      a[g] = onC * input * (1 - candidate * candidate)
      a[o] = onH * shown * output * (1 - output)
      dcNext[next + j] = onC * forget
    }
  }

  /** Makes the last state the first one of the next step. */
  function remember(): void {
    c.copyWithin(0, length * streams * hidden)
    h.copyWithin(0, length * streams * hidden)
  }

  function gradientsOf(worker: number): readonly Float32Array[] {
    take(ownX, x, worker)
    take(ownDx, dx, worker)
    take(ownA, a, worker)
    take(ownBefore, h, worker)
    take(ownH, hNow, worker)
    take(ownScores, scores, worker)
    weights(dWx, ownA, ownX, { ...ofTable, samples: own })
    weights(dWh, ownA, ownBefore, { ...ofState, samples: own })
    weights(dWo, ownScores, ownH, { ...ofOutput, samples: own })
    sumSamples(dB, ownA)
    sumSamples(dBo, ownScores)
    dTable.fill(0)
    const mine = streams / workers
    for (let s = 0; s < own; s++) {
      const t = Math.floor(s / mine)
      const row = inputs[t * streams + worker * mine + (s % mine)]! * embedding
      for (let j = 0; j < embedding; j++) {
        dTable[row + j] = dTable[row + j]! + ownDx[s * embedding + j]!
      }
    }
    return gradients
  }

  /** Copies this worker's part of each time. */
  function take(to: Float32Array, from: Float32Array, worker: number): void {
    const part = to.length / length
    for (let t = 0; t < length; t++) {
      const at = (t * workers + worker) * part
      to.set(from.subarray(at, at + part), t * part)
    }
  }

  function evaluate(last: boolean): Score {
    const kept = [c.slice(), h.slice()]
    const starts = Array.from({ length: streams }, (_, i) => i * apart)
    const steps = last ? Math.floor(apart / length) : GLANCE
    c.fill(0, 0, streams * hidden)
    h.fill(0, 0, streams * hidden)
    let loss = 0
    let right = 0
    for (let step = 0; step < steps; step++) {
      read(text.heldOut, starts, step)
      goForward()
      const found = crossEntropy(scores, targets, symbols, 0)
      remember()
      loss += found.loss
      right += found.right
    }
    c.set(kept[0]!)
    h.set(kept[1]!)
    return { loss: loss / (steps * samples), accuracy: right / (steps * samples) }
  }
}

/**
 * Shapes of the parameters: embedding, input to gates, state to gates, bias of gates, output, its
 * bias.
 */
export function lstmShapes({ symbols, embedding, hidden }: LstmSize): number[][] {
  const gates = 4 * hidden
  return [
    [symbols, embedding],
    [gates, embedding],
    [gates, hidden],
    [gates],
    [symbols, hidden],
    [symbols],
  ]
}

type Six = [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array]

function sigmoid(x: number): number {
  return 0.5 + 0.5 * tanh(0.5 * x)
}

/**
 * tanh to 3e-8, by the quotient of polynomials that Eigen has for floats. A cell computes five of
 * them. With Math.tanh and Math.exp they took half of a step's time: 30 to 40 ns each; this takes
 * 4.
 */
function tanh(z: number): number {
  const x = z > 9 ? 9 : z < -9 ? -9 : z
  const s = x * x
  const high = (-2.76076847742355e-16 * s + 2.00018790482477e-13) * s - 8.60467152213735e-11
  const low = ((high * s + 5.12229709037114e-8) * s + 1.48572235717979e-5) * s
  const above = (low + 6.37261928875436e-4) * s + 4.89352455891786e-3
  const below = (1.19825839466702e-6 * s + 1.18534705686654e-4) * s + 2.268434632439e-3
  return (x * above) / (below * s + 4.89352518554385e-3)
}
