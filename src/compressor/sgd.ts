// Algorithm 2 of PowerSGD: error-feedback SGD with momentum, on a compressor.

import type { Dense, MaybePromise, OptimizerRates, SessionOptimizer, Tensor } from '../backend.ts'
import { instantiate, type KernelExports, loadModule } from '../backends/wasm/load.ts'
import {
  decodeSafetensors,
  encodeSafetensors,
  floatsOf,
  type StoredTensor as Stored,
} from '../codec/safetensors.ts'
import { RoundError, UnsupportedError } from '../errors.ts'
import { type Task, wait } from '../gensync.ts'
import { show } from '../validate.ts'
import type { Compressor } from './compressor.ts'
import type { Outcome } from './step.ts'

/** All workers must have the same, or their parameters drift apart. */
export interface SgdOptions {
  /** γ > 0; a property of the optimiser too, for schedules */
  readonly learningRate: number
  /** λ, from 0 to less than 1. 0: none is kept, and a step is x ← x − γ·d. Default 0.9. */
  readonly momentum?: number
  /** Added to the update, not to the gradient: it is not compressed. ≥ 0. Default 0. */
  readonly weightDecay?: number
  /** The bytes of this optimiser's `save`: the momentum. Without one, it begins at zero. */
  readonly restore?: Uint8Array
}

/**
 * Creates one worker's optimiser: error-feedback SGD with momentum, Algorithm 2 of Vogels,
 * Karimireddy & Jaggi, "PowerSGD" (2019, arXiv 1905.13727), as the authors' code computes it. With
 * the update Δ′ that all workers share,
 *
 *   d ← Δ′ + weightDecay·x      m ← momentum·m + d      x ← x − learningRate·(d + m)
 *
 * It keeps m: as much memory as the model, made in the first step. Parameters and gradients may be on
 * the GPU (`GpuTensor`, with the backend `webgpu()`): then so is m, and none of them leaves it.
 *
 * @param compressor  all of whose steps go through this optimiser
 * @throws TypeError, RangeError  naming the option at fault
 * @throws UnsupportedError  if this host does not let WebAssembly be compiled
 */
export async function createSgd(compressor: Compressor, options: SgdOptions): Promise<Sgd> {
  return new Sgd(compressor, options, await loadModule())
}

/** One worker's optimiser; made by `createSgd`. */
export class Sgd {
  readonly momentum: number
  readonly weightDecay: number
  readonly #compressor: Compressor
  readonly #scratch: Scratch
  #learningRate: number
  /** null until the first step, and once the momentum is on the device */
  #velocities: Dense[] | null
  /** whether it is */
  #away = false
  #busy = false

  /** @internal `createSgd` calls it. */
  constructor(compressor: Compressor, options: SgdOptions, module: WebAssembly.Module) {
    if (typeof options !== 'object' || options === null) {
      throw new TypeError(`"options": expected an object, got ${show(options)}`)
    }
    const { learningRate, momentum = 0.9, weightDecay = 0, restore, ...others } = options
    for (const name of Object.keys(others)) throw new TypeError(`"${name}": no such option`)
    this.#learningRate = rate(learningRate)
    this.momentum = inRange('momentum', momentum, 'from 0 to less than 1', (m) => m >= 0 && m < 1)
    this.weightDecay = inRange('weightDecay', weightDecay, '≥ 0', (decay) => decay >= 0)
    this.#compressor = compressor
    this.#scratch = new Scratch(module)
    this.#velocities = null
    if (restore !== undefined && this.momentum > 0) {
      this.#velocities = velocitiesIn(restore, compressor.stats.ranks.length)
      if (this.#velocities) compressor.state.check(this.#velocities, 'restore: momentum')
    }
  }

  get learningRate(): number {
    return this.#learningRate
  }

  /** From the next update on. @throws RangeError, TypeError  if it is no finite number > 0 */
  set learningRate(value: number) {
    this.#learningRate = rate(value)
  }

  /**
   * A whole step: sends the gradients' compressed frames, and changes the parameters by what comes
   * back. If `exchange` fails, the parameters are as they were and the compressor's step is open:
   * receive the means later, decompress and `apply`; or abort.
   *
   * @param parameters  one array per parameter, in the order of the compressor's shapes; or tensors
   *   on the GPU, 'f32' all of them
   * @param gradients  the same; **overwritten with the update Δ′**
   * @param exchange  sends a frame, and resolves to the mean of all workers' frames
   * @param options.weight  of this gradient in the mean. Default 1.
   * @throws RangeError, TypeError  if they do not fit; nothing has been sent then
   */
  async step(
    parameters: readonly Tensor[],
    gradients: readonly Tensor[],
    exchange: (frame: Uint8Array) => Uint8Array | PromiseLike<Uint8Array>,
    { weight = 1 }: { readonly weight?: number } = {},
  ): Promise<Outcome> {
    if (this.#busy) throw new RoundError('step: another call is still running')
    this.#check(parameters, gradients, 'gradients')
    this.#busy = true
    try {
      const outcome = await this.#compressor.step(gradients, exchange, { weight })
      await this.#descend(parameters, gradients)
      return outcome
    } finally {
      this.#busy = false
    }
  }

  /**
   * Changes the parameters by an update, for callers who drive the rounds themselves: what
   * `compressor.decompress(update)` wrote. Once for every step, also if its mean had weight 0: then
   * it only coasts, as on every worker.
   *
   * Arrays have changed when it returns. Every operation is rounded to float32, in the order written
   * at `createSgd`: equal updates give equal bits on every engine.
   *
   * Of tensors on the GPU it returns a promise, **to be awaited**: what goes wrong there is heard in
   * it alone. GPUs may round a product and a sum together, so each kind has bits of its own. Once
   * the momentum is there, arrays are refused.
   *
   * @param update  one array per parameter, or tensors on the GPU, 'f32' all of them; only read, and
   *   none of the parameters' own
   * @throws RangeError, TypeError  if they do not fit; nothing has changed then
   * @throws RoundError  for tensors on the GPU, if another call is still running
   */
  apply(parameters: readonly Dense[], update: readonly Dense[]): void
  apply(parameters: readonly Tensor[], update: readonly Tensor[]): MaybePromise<void>
  apply(parameters: readonly Tensor[], update: readonly Tensor[]): MaybePromise<void> {
    this.#check(parameters, update, 'update')
    if (this.#busy && !areArrays(parameters)) {
      throw new RoundError('apply: another call is still running')
    }
    return this.#descend(parameters, update)
  }

  /** @param parameters, update  checked */
  #descend(parameters: readonly Tensor[], update: readonly Tensor[]): MaybePromise<void> {
    const { learningRate, momentum, weightDecay } = this
    const rates = { learningRate, momentum, weightDecay }
    if (!areArrays(parameters)) {
      return this.#compressor.runExclusive('apply', () =>
        this.#descendOnDevice(parameters, update, rates),
      )
    }
    if (momentum > 0) {
      this.#velocities ??= parameters.map(({ length }) => new Float32Array(length))
    }
    for (const [i, x] of parameters.entries()) {
      this.#scratch.descend(x, this.#velocities?.[i] ?? null, update[i] as Dense, rates)
    }
  }

  *#descendOnDevice(
    parameters: readonly Tensor[],
    update: readonly Tensor[],
    rates: OptimizerRates,
  ): Task<void> {
    if (this.#velocities) {
      yield* wait(this.#optimizer.write(this.#velocities))
      this.#velocities = null
      this.#away = true
    }
    yield* wait(this.#optimizer.step(parameters, update, rates))
    this.#away = this.momentum > 0
  }

  /**
   * The compressor's checkpoint with the momentum in it, `momentum/<i>`, flat: `restore` of both
   * takes this one file, wherever parameters are. The momentum is the same on all workers.
   *
   * @throws RoundError  in the middle of a step
   */
  async save({ residual = true }: { readonly residual?: boolean } = {}): Promise<Uint8Array> {
    if (this.#busy) throw new RoundError('save: another call is still running')
    if (!this.#away) {
      // As of now: the compressor's part may be waited for.
      return this.#encode(residual, this.#velocities?.map((data) => data.slice()) ?? [])
    }
    this.#busy = true
    try {
      const reading = () => wait(this.#optimizer.read())
      return await this.#encode(residual, await this.#compressor.runExclusive('save', reading))
    } finally {
      this.#busy = false
    }
  }

  async #encode(residual: boolean, momentum: readonly Dense[]): Promise<Uint8Array> {
    const { metadata, tensors } = decodeSafetensors(await this.#compressor.save({ residual }))
    const others = [...tensors].map(([name, tensor]) => ({
      name,
      shape: tensor.shape,
      data: floatsOf(tensor),
    }))
    const velocities = momentum.map((data, i) => ({
      name: `momentum/${i}`,
      shape: [data.length],
      data,
    }))
    return encodeSafetensors([...others, ...velocities], metadata)
  }

  /** @throws UnsupportedError  if the backend has none */
  get #optimizer(): SessionOptimizer {
    const { optimizer: descent } = this.#compressor.state
    if (descent) return descent
    throw new UnsupportedError('the backend has no momentum where these tensors are: give arrays')
  }

  #check(parameters: readonly Tensor[], update: readonly Tensor[], name: string): void {
    const { state } = this.#compressor
    state.check(parameters, 'parameters')
    state.check(update, name)
    const arrays = areArrays(parameters)
    if (arrays !== areArrays(update)) {
      throw new TypeError(`"${name}": expected ${arrays ? 'arrays' : 'GPU buffers'}, as parameters`)
    }
    if (!arrays) this.#optimizer.check(parameters, update, name)
    else if (this.#away) {
      throw new TypeError('"parameters": expected GPU buffers: the momentum is on the GPU')
    }
  }
}

/** Of tensors that have been checked: they are of one kind. */
function areArrays(tensors: readonly Tensor[]): tensors is readonly Dense[] {
  return tensors[0] instanceof Float32Array
}

/**
 * Through here go the caller's arrays, in parts that stay in cache. One thread of an x86 server, 1 M
 * and 11 M parameters: 0.8 ms and 52 ms; the kernel on whole copies, which a model-sized wasm
 * memory has to hold, 1.8 ms and 87 ms; a loop in JS with Math.fround 6.4 ms and 140 ms.
 */
class Scratch {
  readonly #kernels: KernelExports
  readonly #x: Float32Array
  readonly #m: Float32Array
  readonly #g: Float32Array

  constructor(module: WebAssembly.Module) {
    const memory = new WebAssembly.Memory({ initial: 1 + (12 * TILE_FLOATS) / PAGE_BYTES })
    this.#kernels = instantiate(module, memory)
    const base = Math.ceil(this.#kernels.heapBase.value / 16) * 16
    const part = (k: number) =>
      new Float32Array(memory.buffer, base + 4 * k * TILE_FLOATS, TILE_FLOATS)
    this.#x = part(0)
    this.#m = part(1)
    this.#g = part(2)
  }

  /** The kernel `momentum`; without m, x ← x − learningRate·d. */
  descend(
    x: Dense,
    m: Dense | null,
    g: Dense,
    { learningRate, momentum, weightDecay }: OptimizerRates,
  ): void {
    const [tileX, tileM, tileG] = [this.#x, this.#m, this.#g]
    // Without momentum d + m is d + d: twice and half of a float32 are exact.
    const rate = m ? learningRate : learningRate / 2
    for (let at = 0; at < x.length; at += TILE_FLOATS) {
      const n = Math.min(TILE_FLOATS, x.length - at)
      tileX.set(x.subarray(at, at + n))
      tileG.set(g.subarray(at, at + n))
      if (m) tileM.set(m.subarray(at, at + n))
      else tileM.fill(0) // not what was there: 0 times infinity is not 0
      this.#kernels.momentum(
        tileX.byteOffset,
        tileM.byteOffset,
        tileG.byteOffset,
        n,
        rate,
        momentum,
        weightDecay,
      )
      x.set(tileX.subarray(0, n), at)
      m?.set(tileM.subarray(0, n), at)
    }
  }
}

/** Three of them fit a level-2 cache; 4 Ki and 64 Ki were no faster. */
const TILE_FLOATS = 1 << 14

const PAGE_BYTES = 1 << 16

function rate(value: unknown): number {
  return inRange('learningRate', value, '> 0', (rate) => rate > 0)
}

/** As float32, in which all arithmetic is done. */
function inRange(
  name: string,
  value: unknown,
  range: string,
  within: (value: number) => boolean,
): number {
  if (typeof value !== 'number') {
    throw new TypeError(`"${name}": expected a number, got ${show(value)}`)
  }
  const rounded = Math.fround(value)
  if (!Number.isFinite(rounded) || !within(rounded)) {
    throw new RangeError(`"${name}": expected a finite number ${range}, got ${value}`)
  }
  return rounded
}

/** The momentum in a checkpoint; null where there is none. */
function velocitiesIn(bytes: Uint8Array, count: number): Dense[] | null {
  const { tensors } = decodeSafetensors(bytes)
  const found = new Map<number, Stored>()
  for (const [name, tensor] of tensors) {
    const index = /^momentum\/(\d+)$/.exec(name)?.[1]
    if (index !== undefined) found.set(Number(index), tensor)
  }
  if (found.size === 0) return null
  return Array.from({ length: Math.max(count, ...found.keys()) }, (_, i) => {
    const tensor = found.get(i)
    if (!tensor || i >= count) {
      throw new RangeError(
        `"restore": expected momentum/0 … momentum/${count - 1}, got ${[...found.keys()].join(', ')}`,
      )
    }
    const floats = floatsOf(tensor).slice()
    if (!floats.every(Number.isFinite)) {
      throw new RangeError(`"restore": momentum/${i}: expected finite numbers only`)
    }
    return floats
  })
}
