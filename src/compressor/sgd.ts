// Algorithm 2 of the PowerSGD paper: SGD with error feedback and momentum, on top of a compressor.

import type { Dense, MaybePromise, OptimizerRates, SessionOptimizer, Tensor } from '../backend.ts'
import { instantiate, type KernelExports, loadModule } from '../backends/wasm/load.ts'
import type { Bytes, BytesLike } from '../bytes.ts'
import {
  decodeSafetensors,
  encodeSafetensors,
  floatsOf,
  quoted,
  type StoredTensor,
} from '../codec/safetensors.ts'
import { RoundError, UnsupportedError } from '../errors.ts'
import { type Task, wait } from '../gensync.ts'
import { flag, isFloats, knownOptions, number, wrongType } from '../validate.ts'
import { checkFormat } from './checkpoint.ts'
import type { Compressor, Exchange } from './compressor.ts'
import type { Outcome } from './step.ts'
import type { WorkerState } from './worker-state.ts'

/** Options of the optimizer. They must be equal on all workers, or the parameters drift apart. */
export interface SgdOptions {
  /** γ ≥ 0, a float32. `Sgd.learningRate` changes it later, for schedules */
  readonly learningRate: number
  /** λ, 0 ≤ λ < 1. With 0 no momentum is stored, and a step is x ← x − γ·d. Default 0.9. */
  readonly momentum?: number
  /**
   * ≥ 0. weightDecay·x is added to the update, not to the gradient, so it is not compressed.
   * Default 0.
   */
  readonly weightDecay?: number
  /** The bytes of `Sgd.save`, for their momentum. Default: the momentum begins at zero. */
  readonly restore?: BytesLike
}

/**
 * Creates the optimizer of one worker: SGD with error feedback and momentum, Algorithm 2 of Vogels,
 * Karimireddy & Jaggi, "PowerSGD" (2019, arXiv 1905.13727), as the authors' code computes it. With
 * the update Δ′, which all workers share,
 *
 *   d ← Δ′ + weightDecay·x      m ← momentum·m + d      x ← x − learningRate·(d + m)
 *
 * The momentum m takes as much memory as the model, from the first step on. Parameters and
 * gradients may be on the GPU (`GpuTensor`, with the backend `webgpu()`); then m is there too, and
 * no tensor is copied to the CPU.
 *
 * @param compressor  a compressor whose steps all go through this optimizer
 * @throws TypeError, RangeError  naming the option that is not valid
 * @throws UnsupportedError  if the host forbids compiling WebAssembly
 */
export async function createSgd(compressor: Compressor, options: SgdOptions): Promise<Sgd> {
  return new Sgd(compressor, options, await loadModule())
}

/** The optimizer of one worker; made by `createSgd`. */
export class Sgd {
  readonly momentum: number
  readonly weightDecay: number
  readonly #compressor: Compressor
  readonly #scratch: Scratch
  #learningRate: number
  /** m, one array per parameter; null before the first step, and while m is on the device */
  #velocities: Dense[] | null
  /** true: m is on the device */
  #onDevice = false
  #busy = false

  /** @internal `createSgd` calls it. */
  constructor(compressor: Compressor, options: SgdOptions, module: WebAssembly.Module) {
    // Not instanceof: a program may have two copies of this library.
    if (!compressor?.workerState) {
      throw wrongType('compressor', 'what `await createCompressor(…)` returns', compressor)
    }
    const known = ['learningRate', 'momentum', 'weightDecay', 'restore']
    const { learningRate, momentum = 0.9, weightDecay = 0, restore } = knownOptions(options, known)
    this.#learningRate = rate(learningRate)
    this.momentum = inRange('momentum', momentum, 'from 0 to less than 1', (m) => m >= 0 && m < 1)
    this.weightDecay = inRange('weightDecay', weightDecay, '≥ 0', (decay) => decay >= 0)
    this.#compressor = compressor
    this.#scratch = new Scratch(module)
    this.#velocities = null
    if (restore !== undefined) {
      const velocities = velocitiesIn(restore, compressor.workerState)
      if (velocities) compressor.workerState.check(velocities, 'restore: momentum')
      if (this.momentum > 0) this.#velocities = velocities
    }
  }

  /**
   * γ; a new value is used from the next update on.
   *
   * @throws RangeError, TypeError  unless it is ≥ 0
   */
  get learningRate(): number {
    return this.#learningRate
  }

  set learningRate(value: number) {
    this.#learningRate = rate(value)
  }

  /**
   * One whole step: compresses the gradients, exchanges the frames, and applies the update to the
   * parameters.
   *
   * If `exchange` fails, the parameters are unchanged and the compressor's step stays open. Then
   * either call `compressor.receive` and `decompress` later, and `apply` the update; or
   * `compressor.abort`.
   *
   * @param parameters  x: one array per parameter, in the order of the compressor's shapes; or
   *   tensors on the GPU, all of type 'f32'. A frozen one, and its momentum, are left alone; it may
   *   be null here and in `gradients`
   * @param gradients  of the same form; **overwritten with the update Δ′**
   * @param exchange  sends a frame, and returns the mean of all workers' frames or a promise of it
   * @param options.weight  the weight of this gradient in the mean, as for `compress`. Default 1
   * @returns whose gradients are in the update
   * @throws TypeError, RangeError  if an argument is not valid; nothing has been sent then
   * @throws RoundError  if another call is still running, or if a step is open
   */
  async step(
    parameters: readonly (Tensor | null)[],
    gradients: readonly (Tensor | null)[],
    exchange: Exchange,
    options: { readonly weight?: number } = {},
  ): Promise<Outcome> {
    if (this.#busy) throw new RoundError('step: another call is still running')
    const { weight = 1 } = knownOptions(options, ['weight'])
    this.#check(parameters, gradients, 'gradients')
    this.#busy = true
    try {
      const outcome = await this.#compressor.step(gradients, exchange, { weight })
      await this.#update(parameters, gradients)
      return outcome
    } finally {
      this.#busy = false
    }
  }

  /**
   * Applies an update to the parameters, for callers who run the rounds themselves. Call it exactly
   * once per step, even if the mean had weight 0: the momentum must decay equally on all workers.
   *
   * With arrays it returns nothing, and the parameters have changed on return. Every operation is
   * rounded to float32, in the order written at `createSgd`: equal updates give equal bits on every
   * JavaScript engine.
   *
   * With tensors on the GPU it returns a promise. **Await it**: errors are reported only there.
   * GPUs may fuse a product and a sum into one rounding, so bits differ between kinds of GPU. Once
   * the momentum is on the GPU, arrays are refused.
   *
   * @param parameters  x: one array per parameter; or tensors on the GPU, all of type 'f32'
   * @param update  Δ′, as `compressor.decompress` wrote it: of the same form as `parameters`. It is
   *   only read, and must not overlap them. Frozen parameters are left alone, and may be null in
   *   both
   * @throws TypeError, RangeError  if an argument is not valid; nothing has changed then
   * @throws RoundError  with tensors on the GPU, if another call is still running
   */
  apply(parameters: readonly (Dense | null)[], update: readonly (Dense | null)[]): void
  apply(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
  ): MaybePromise<void>
  apply(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
  ): MaybePromise<void> {
    this.#check(parameters, update, 'update')
    if (this.#busy && !areArrays(parameters)) {
      throw new RoundError('apply: another call is still running')
    }
    return this.#update(parameters, update)
  }

  /** `apply` with checked arguments. */
  #update(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
  ): MaybePromise<void> {
    const { learningRate, momentum, weightDecay } = this
    const rates = { learningRate, momentum, weightDecay }
    const xs = this.#unfrozen(parameters)
    if (!areArrays(xs)) {
      return this.#compressor.runExclusive('apply', this.#updateOnDevice(xs, update, rates))
    }
    if (momentum > 0 && !this.#onDevice) {
      this.#velocities ??= this.#compressor.workerState.lengths.map((n) => new Float32Array(n))
    }
    for (const [i, x] of xs.entries()) {
      if (x === null) continue
      this.#scratch.update(x, this.#velocities?.[i] ?? null, update[i] as Dense, rates)
    }
  }

  *#updateOnDevice(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
    rates: OptimizerRates,
  ): Task<void> {
    if (this.#velocities) {
      yield* wait(this.#optimizer.write(this.#velocities))
      this.#velocities = null
      this.#onDevice = true
    }
    yield* wait(this.#optimizer.step(parameters, update, rates))
    this.#onDevice = this.momentum > 0
  }

  /**
   * Writes a checkpoint of compressor and optimizer: the compressor's, with the momentum added as
   * flat tensors `momentum/<i>`. Give it to `restore` of both `createCompressor` and `createSgd`;
   * it does not matter whether tensors are on the GPU. The momentum is equal on all workers.
   *
   * @param options.residual  false: without the residual. Default true
   * @returns new bytes, which the caller may keep
   * @throws RoundError  in the middle of a step, or if another call is still running
   */
  async save(options: { readonly residual?: boolean } = {}): Promise<Bytes> {
    if (this.#busy) throw new RoundError('save: another call is still running')
    const { residual = true } = knownOptions(options, ['residual'])
    flag('residual', residual)
    if (!this.#onDevice) {
      // A copy, because the momentum may change while the compressor's part is awaited.
      return this.#encode(residual, this.#velocities?.map((data) => data.slice()) ?? [])
    }
    this.#busy = true
    try {
      const momentum = await this.#compressor.runExclusive('save', this.#readDevice())
      return await this.#encode(residual, momentum)
    } finally {
      this.#busy = false
    }
  }

  *#readDevice(): Task<Dense[]> {
    return yield* wait(this.#optimizer.read())
  }

  async #encode(residual: boolean, momentum: readonly Dense[]): Promise<Bytes> {
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

  /** The optimizer of the backend's device. @throws UnsupportedError  if the backend has none */
  get #optimizer(): SessionOptimizer {
    const { optimizer } = this.#compressor.workerState
    if (optimizer) return optimizer
    throw new UnsupportedError('the backend has no momentum where these tensors are: give arrays')
  }

  /** The tensors, with null in place of those of frozen parameters. */
  #unfrozen(tensors: readonly (Tensor | null)[]): readonly (Tensor | null)[] {
    const { ranks } = this.#compressor.workerState
    return tensors.map((tensor, i) => (ranks[i] === 'frozen' ? null : tensor))
  }

  #check(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
    name: string,
  ): void {
    const { workerState } = this.#compressor
    workerState.check(parameters, 'parameters')
    workerState.check(update, name)
    const [xs, updates] = [this.#unfrozen(parameters), this.#unfrozen(update)]
    if (xs.every((x) => x === null)) return
    const arrays = areArrays(xs)
    if (arrays !== areArrays(updates)) {
      throw new TypeError(`"${name}": expected ${arrays ? 'arrays' : 'GPU buffers'}, as parameters`)
    }
    if (!arrays) this.#optimizer.check(xs, updates, name)
    else if (this.#onDevice) {
      throw new TypeError('"parameters": expected GPU buffers: the momentum is on the GPU')
    }
  }
}

/** Whether tensors are arrays, or all null; they have been checked to be all of one kind. */
function areArrays(tensors: readonly (Tensor | null)[]): tensors is readonly (Dense | null)[] {
  const first = tensors.find((tensor) => tensor !== null)
  return first === undefined || isFloats(first)
}

/**
 * A WebAssembly memory for three tiles. The caller's arrays pass through it tile by tile, so that
 * the kernel works on data in cache. With 1 M and 11 M parameters on one thread of an x86 server
 * this took 0.8 ms and 52 ms. Copying whole arrays, which needs a WebAssembly memory as large as
 * the model, took 1.8 ms and 87 ms; a loop in JavaScript with Math.fround took 6.4 ms and 140 ms.
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

  /**
   * Runs the kernel `momentum` over x, m and g of equal length. If m is null: x ← x −
   * learningRate·d.
   */
  update(
    x: Dense,
    m: Dense | null,
    g: Dense,
    { learningRate, momentum, weightDecay }: OptimizerRates,
  ): void {
    const [tileX, tileM, tileG] = [this.#x, this.#m, this.#g]
    // From m = 0 the kernel makes m = d and d + m = 2d. Doubling and halving a float32 are exact.
    const rate = m ? learningRate : learningRate / 2
    for (let at = 0; at < x.length; at += TILE_FLOATS) {
      const n = Math.min(TILE_FLOATS, x.length - at)
      tileX.set(x.subarray(at, at + n))
      tileG.set(g.subarray(at, at + n))
      if (m) tileM.set(m.subarray(at, at + n))
      else tileM.fill(0) // the last tile's m may be infinite, and 0·∞ is not 0
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

/** Floats of a tile, 64 KiB: three tiles fit a level-2 cache. 4 Ki and 64 Ki were no faster. */
const TILE_FLOATS = 1 << 14

const PAGE_BYTES = 1 << 16

function rate(value: unknown): number {
  return inRange('learningRate', value, '≥ 0', (rate) => rate >= 0)
}

/** The value rounded to float32, the type of all arithmetic here. @throws TypeError, RangeError */
function inRange(
  name: string,
  value: unknown,
  range: string,
  within: (value: number) => boolean,
): number {
  const valid = (x: number) => Number.isFinite(Math.fround(x)) && within(Math.fround(x))
  number(name, value, `a finite number ${range}`, valid)
  return Math.fround(value as number)
}

/** The momentum in a checkpoint of this worker; null if it has none. @throws RangeError */
function velocitiesIn(bytes: BytesLike, workerState: WorkerState): Dense[] | null {
  const { metadata, tensors } = decodeSafetensors(bytes, 'restore')
  checkFormat(metadata, '"restore"')
  workerState.checkNames(metadata)
  const count = workerState.lengths.length
  const found = new Map<number, StoredTensor>()
  for (const [name, tensor] of tensors) {
    const index = /^momentum\/(\d+)$/.exec(name)?.[1]
    if (index !== undefined) found.set(Number(index), tensor)
  }
  if (found.size === 0) return null
  return Array.from({ length: count }, (_, i) => {
    const tensor = found.get(i)
    if (!tensor || found.size > count) {
      const got = quoted([...found.keys()])
      throw new RangeError(`"restore": expected momentum/0 … momentum/${count - 1}, got ${got}`)
    }
    const floats = floatsOf(tensor).slice()
    if (!floats.every(Number.isFinite)) {
      throw new RangeError(`"restore": momentum/${i}: expected finite numbers only`)
    }
    return floats
  })
}
