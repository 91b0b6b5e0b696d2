// The model: a character language model, a multilayer perceptron over embedded context.
// jax-js counts references: a function consumes an array unless it is given as `.ref`.

import { defaultDevice, init, jit, nn, numpy as np, random, valueAndGrad } from '@jax-js/jax'
import type { Gradient } from 'lowrank/factored'

/** Characters that the model sees before the one it predicts. */
export const CONTEXT = 16
/** Characters that a worker predicts in a step. */
export const BATCH = 64

const EMBEDDING = 64
const HIDDEN = 1024
/** The last matrix among the parameters, which gives each character its score. */
const OUTPUT = 3

/** A model's parameters live outside, as one Float32Array per entry of `shapes`. */
export interface Model {
  readonly shapes: readonly (readonly number[])[]
  /** The same first parameters for the same seed. */
  start(seed: number): Promise<Float32Array[]>
  /** The gradients of the mean loss, in nats per character, over a batch. */
  gradients(parameters: readonly Float32Array[], batch: Batch): Promise<Float32Array[]>
  /**
   * The same gradients, those of the layers' matrices as their two factors. The matrices are stored
   * inputs × outputs, the transpose of lowrank/factored's shape: so a layer's activations are
   * given as `deltas` here, and its deltas as `activations`.
   */
  factors(parameters: readonly Float32Array[], batch: Batch): Promise<Gradient[]>
  /** The mean loss itself. */
  loss(parameters: readonly Float32Array[], batch: Batch): Promise<number>
}

/** BATCH characters to predict, and the CONTEXT before each, one after another. */
export interface Batch {
  readonly contexts: Int32Array
  readonly targets: Int32Array
}

/** Creates a model over `symbols` different characters, on jax-js' wasm backend. */
export async function createModel(symbols: number): Promise<Model> {
  await init('wasm')
  defaultDevice('wasm')
  const shapes = shapesOf(symbols)
  const lossOf = (arrays: np.Array[], targets: np.Array): np.Array =>
    crossEntropy(logits(arrays), targets, symbols)
  const evaluate = jit(lossOf)
  const differentiate = jit(valueAndGrad(lossOf))
  const hiddenOf = jit(hidden)
  // d1 and d2 are zeros added to the layers' sums: their gradients are the layers' deltas.
  const shifted = jit(
    valueAndGrad(([seen, b1, b2, d1, d2]: np.Array[], [w1, w2, targets]: np.Array[]): np.Array => {
      const scores = np
        .matmul(hidden([seen!, w1!, b1!.add(d1!)]), w2!)
        .add(b2!)
        .add(d2!)
      return crossEntropy(scores, targets!, symbols)
    }),
  )
  /**
   * Hands jax-js the embedding's rows that a batch needs, the other parameters, and the targets.
   */
  const load = (parameters: readonly Float32Array[], batch: Batch): [np.Array[], np.Array] => {
    const seen = np.array(rowsOf(parameters[0]!, batch.contexts))
    const others = parameters
      .slice(1)
      .map((values, i) => np.array(values).reshape([...shapes[i + 1]!]))
    const targets = np.array(batch.targets, { dtype: np.int32 })
    return [[seen.reshape([-1, CONTEXT * EMBEDDING]), ...others], targets]
  }
  return {
    shapes,
    async start(seed) {
      const values: Float32Array[] = []
      for (const [i, shape] of shapes.entries()) values.push(await first(shape, i, seed))
      return values
    },
    async gradients(parameters, batch) {
      const [loss, arrays] = differentiate(...load(parameters, batch))
      loss.dispose()
      const [seen, ...others] = await Promise.all(arrays.map((array) => array.data()))
      const embedding = new Float32Array(parameters[0]!.length)
      addRows(embedding, batch.contexts, seen as Float32Array)
      return [embedding, ...(others as Float32Array[])]
    },
    async factors(parameters, batch) {
      const [[seen, w1, b1, w2, b2], targets] = load(parameters, batch)
      const active = hiddenOf([seen!.ref, w1!.ref, b1!.ref])
      const [d1, d2] = [HIDDEN, symbols].map((width) => np.zeros([BATCH, width]))
      const [loss, arrays] = shifted([seen!.ref, b1!, b2!, d1!, d2!], [w1!, w2!, targets])
      loss.dispose()
      const found = await Promise.all([seen!, active, ...arrays].map((array) => array.data()))
      const [input, output, atSeen, onB1, onB2, delta1, delta2] = found as Float32Array[]
      const embedding = new Float32Array(parameters[0]!.length)
      addRows(embedding, batch.contexts, atSeen!)
      return [
        embedding,
        { deltas: input!, activations: delta1! },
        onB1!,
        { deltas: output!, activations: delta2! },
        onB2!,
      ]
    },
    async loss(parameters, batch) {
      return (await evaluate(...load(parameters, batch)).data())[0]!
    },
  }
}

/** The `shapes` of the model, without creating it. */
export function shapesOf(symbols: number): readonly (readonly number[])[] {
  return [
    [symbols, EMBEDDING],
    [CONTEXT * EMBEDDING, HIDDEN],
    [HIDDEN],
    [HIDDEN, symbols],
    [symbols],
  ]
}

/** Characters to predict at these positions of a text; each has CONTEXT before it. */
export function batchAt(text: Uint8Array, positions: ArrayLike<number>): Batch {
  const contexts = new Int32Array(BATCH * CONTEXT)
  const targets = new Int32Array(BATCH)
  for (let i = 0; i < BATCH; i++) {
    const position = positions[i]!
    contexts.set(text.subarray(position - CONTEXT, position), i * CONTEXT)
    targets[i] = text[position]!
  }
  return { contexts, targets }
}

/** steps × BATCH random positions in a text, each worker its own. */
export async function drawPositions(
  text: Uint8Array,
  steps: number,
  seed: number,
  worker: number,
): Promise<Int32Array> {
  const shape = [steps * BATCH]
  const range = { minval: CONTEXT, maxval: text.length, shape }
  const drawn = random.randint(keyOf(seed, 16 + worker), range)
  return (await drawn.data()) as Int32Array
}

// TypeScript looks the embedding up, not jax-js: jit refuses the scatter that is the gradient of
// `np.take`, so jax-js would multiply one-hot rows by the table, in a fifth to a third of a step's
// time.

/** Copies these rows out of the table. */
function rowsOf(table: Float32Array, rows: Int32Array): Float32Array {
  const found = new Float32Array(rows.length * EMBEDDING)
  for (const [i, row] of rows.entries()) {
    found.set(table.subarray(row * EMBEDDING, (row + 1) * EMBEDDING), i * EMBEDDING)
  }
  return found
}

/** The gradient of `rowsOf`: adds each row to its place in the table. */
function addRows(table: Float32Array, rows: Int32Array, values: Float32Array): void {
  for (const [i, row] of rows.entries()) {
    for (let j = 0; j < EMBEDDING; j++) table[row * EMBEDDING + j]! += values[i * EMBEDDING + j]!
  }
}

function hidden([seen, w1, b1]: np.Array[]): np.Array {
  return nn.relu(np.matmul(seen!, w1!).add(b1!))
}

function logits([seen, w1, b1, w2, b2]: np.Array[]): np.Array {
  return np.matmul(hidden([seen!, w1!, b1!]), w2!).add(b2!)
}

function crossEntropy(scores: np.Array, targets: np.Array, symbols: number): np.Array {
  const each = nn.logSoftmax(scores).mul(nn.oneHot(targets, symbols))
  return each.sum().mul(-1 / BATCH)
}

/** Zeros for a vector; for a matrix normals that keep the size of the signal through the layer. */
async function first(shape: readonly number[], index: number, seed: number): Promise<Float32Array> {
  const [rows, cols] = shape
  if (cols === undefined) return new Float32Array(rows!)
  // Scores begin small, so that the first loss is that of a model that knows nothing.
  const gain = index === 0 ? rows! : index === OUTPUT ? 0.02 : 2
  const drawn = random.normal(keyOf(seed, index), [...shape]).mul(Math.sqrt(gain / rows!))
  return (await drawn.data()) as Float32Array
}

/** Parameters draw from streams 0 … 15, workers from 16 on. */
function keyOf(seed: number, stream: number): np.Array {
  return np.array(Uint32Array.of(seed, stream), { dtype: np.uint32 })
}
