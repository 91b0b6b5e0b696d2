// What is trained: a character language model, a multilayer perceptron over embedded context.
// jax-js counts references: an array given to a function is gone, unless it is given as `.ref`.

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
  /** Of the mean loss, in nats per character, over a batch. */
  gradients(parameters: readonly Float32Array[], batch: Batch): Promise<Float32Array[]>
  /**
   * The same, but of the layers' matrices the two factors that their gradients are products of. Rows of these
   * are a layer's inputs, so what lowrank/factored calls deltas are its activations here, and the other way round.
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

/** A model over so many different characters, on jax-js' wasm backend. */
export async function createModel(symbols: number): Promise<Model> {
  await init('wasm')
  defaultDevice('wasm')
  const shapes = shapesOf(symbols)
  const lossOf = (arrays: np.Array[], targets: np.Array): np.Array =>
    crossEntropy(logits(arrays), targets, symbols)
  const evaluate = jit(lossOf)
  const differentiate = jit(valueAndGrad(lossOf))
  const hiddenOf = jit(hidden)
  // What is added to a layer's scores has their gradient: the deltas.
  const shifted = jit(
    valueAndGrad(([seen, b1, b2, d1, d2]: np.Array[], [w1, w2, targets]: np.Array[]): np.Array => {
      const scores = np
        .matmul(hidden([seen!, w1!, b1!.add(d1!)]), w2!)
        .add(b2!)
        .add(d2!)
      return crossEntropy(scores, targets!, symbols)
    }),
  )
  /** What jax-js is given: the rows of the embedding that a batch has, and the other parameters. */
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

/** What `createModel` has, without creating it. */
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

// The embedding is looked up out here: in jax-js it would be one-hot rows times the table, for jit
// refuses the scatter that is the gradient of `np.take`, and take a fifth to a third of the time.

/** Row after row of the table. */
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

/** Zeros for a vector; for a matrix normals that keep what goes through it about as large as it was. */
async function first(shape: readonly number[], index: number, seed: number): Promise<Float32Array> {
  const [rows, cols] = shape
  if (cols === undefined) return new Float32Array(rows!)
  // Scores begin small, so that the first loss is that of a model that knows nothing.
  const gain = index === 0 ? rows! : index === OUTPUT ? 0.02 : 2
  const drawn = random.normal(keyOf(seed, index), [...shape]).mul(Math.sqrt(gain / rows!))
  return (await drawn.data()) as Float32Array
}

/** Streams 0 … 15 are the parameters', 16 … the workers'. */
function keyOf(seed: number, stream: number): np.Array {
  return np.array(Uint32Array.of(seed, stream), { dtype: np.uint32 })
}
