// One compressor's phases on the GPU.
import type { Layout, Session, Sink, Slot, Tensor } from '../../backend.ts'
import { isFloats } from '../../validate.ts'
import { type Band, segmentBands } from './bindings.ts'
import { checkTensor } from './check.ts'
import { type CopyJob, copyOut } from './copy-out.ts'
import { allDone, type Gpu } from './gpu.ts'
import { type FloatRange, Memory, type TilingBuffers } from './memory.ts'
import { squaredNorms } from './norm.ts'
import { GpuOptimizer } from './optimizer.ts'
import { Readback } from './readback.ts'
import { Recorder, uniformAt } from './recorder.ts'
import { ALIGNED, BATCH, F16, SCALE_FOURS, SCALE_RANGE, SETTLE_BAND } from './structs.ts'
import { type BoundTensors, Tensors } from './tensors.ts'

export class WebgpuSession implements Session {
  readonly synchronous = false
  readonly gradients = null
  readonly check = checkTensor
  readonly optimizer: GpuOptimizer
  readonly #gpu: Gpu
  readonly #recorder: Recorder
  readonly #readback: Readback
  readonly #memory: Memory
  readonly #tensors: Tensors
  readonly #copyOut: (jobs: readonly CopyJob[]) => Promise<void>
  /** P as it was read with the verdict on the gradient; null: the device's has changed since */
  #leftReadAhead: Float32Array | null = null
  /** the parts of M that a `settle` has left as they were when it failed; null: none has failed */
  #undeflated: readonly Band[] | null = null

  /** @throws RangeError  if the device has not the memory */
  static async open(gpu: Gpu, layout: Layout): Promise<WebgpuSession> {
    const recorder = new Recorder(gpu)
    const memory = recorder.checked(() => new Memory(recorder, layout))
    const session = new WebgpuSession(recorder, memory)
    try {
      await recorder.checkErrors()
      await session.#compile()
    } catch (error) {
      session.dispose()
      throw error
    }
    return session
  }

  private constructor(recorder: Recorder, memory: Memory) {
    this.#gpu = recorder.gpu
    this.#recorder = recorder
    this.#memory = memory
    this.#readback = new Readback(recorder.gpu)
    this.#tensors = new Tensors(recorder, memory, this.#readback)
    this.#copyOut = (jobs) => copyOut(recorder, this.#readback, jobs)
    this.optimizer = new GpuOptimizer(recorder, memory, this.#copyOut)
  }

  /** Compiles the pipelines of every step beforehand: that takes longer than a step. */
  async #compile(): Promise<void> {
    await Promise.all([
      this.#accumulating(true),
      this.#gpu.pipeline('accumulateProject', {}, 'withdraw'),
      this.#backprojecting(),
      this.#gpu.pipeline('reduce'),
      this.#settling(ALIGNED, true, true),
      this.#settling(0, true, true),
    ])
  }

  /** @param add  false: the gradient is not added */
  #accumulating(add: boolean): Promise<GPUComputePipeline> {
    const KEEP = Number(add && this.#memory.kept.room)
    const constants = { ADD: Number(add), KEEP, RANKS: this.#ranks(4) }
    return this.#gpu.pipeline('accumulateProject', constants)
  }

  #backprojecting(): Promise<GPUComputePipeline> {
    return this.#gpu.pipeline('backproject', { RANKS: this.#ranks(8) })
  }

  #settling(mode: number, write: boolean, deflate: boolean): Promise<GPUComputePipeline> {
    const entry = mode === ALIGNED ? 'settle' : mode === F16 ? 'settleF16' : 'settleUnaligned'
    return this.#gpu.pipeline('settle', { WRITE: Number(write), DEFLATE: Number(deflate) }, entry)
  }

  /** Columns that a shader takes at a time: the power of two that holds the highest rank, up to `most`. */
  #ranks(most: number): number {
    const largest = this.#memory.layout.matrices.reduce((r, { rank }) => Math.max(r, rank), 1)
    return Math.min(most, 2 ** Math.ceil(Math.log2(largest)))
  }

  async accumulateProject(gradients: readonly (Tensor | null)[]): Promise<boolean> {
    const { layout, left, kept } = this.#memory
    this.#recorder.checked(() => kept.clear())
    const [add, reduce] = await Promise.all([
      this.#accumulating(true),
      this.#gpu.pipeline('reduce'),
    ])
    this.#leftReadAhead = null
    this.#undeflated = null
    const leftValues = new Float32Array(layout.leftFloats)
    const taken: Promise<boolean>[] = []
    let refused = false
    const refuse = () => {
      refused = true
    }
    try {
      const bound = this.#bindGradients(gradients)
      this.#accumulate('accumulateProject', add, bound, taken)
      this.#recorder.checked(() => this.#reduce(reduce, this.#memory.wide, left))
      const ofP = this.#memory.copyJobs('left', leftValues, 0)
      await this.#copyOut([...kept.verdicts(refuse), ...ofP])
      if (!refused && kept.full) {
        await this.#keep(gradients)
        await this.project() // P of more than a few columns lacks what has been added now
        return true
      }
    } catch (error) {
      const added = await Promise.all(taken)
      if (added.includes(true)) await this.#withdraw(gradients, (i) => added[i]!)
      throw error
    }
    if (refused) await this.withdraw(gradients)
    else this.#leftReadAhead = leftValues
    return !refused
  }

  withdraw(gradients: readonly (Tensor | null)[]): Promise<void> {
    return this.#withdraw(gradients, () => true)
  }

  /** @param taken  whether the gradient's i-th band has been added */
  async #withdraw(
    gradients: readonly (Tensor | null)[],
    taken: (i: number) => boolean,
  ): Promise<void> {
    const pipeline = await this.#gpu.pipeline('accumulateProject', {}, 'withdraw')
    const bound = this.#bindGradients(gradients)
    const bands = bound.bands.filter((_, i) => taken(i))
    this.#accumulate('withdraw', pipeline, bound, [], bands)
    await this.#recorder.checkErrors()
  }

  /** Adds the blocks for which the copies had no room. */
  async #keep(gradients: readonly (Tensor | null)[]): Promise<void> {
    const pipeline = await this.#gpu.pipeline('accumulateProject', {}, 'keep')
    await this.#memory.kept.grow()
    this.#accumulate('keep', pipeline, this.#bindGradients(gradients), [])
    await this.#recorder.checkErrors()
  }

  #bindGradients(gradients: readonly (Tensor | null)[]): BoundTensors {
    const { parameters } = this.#memory.layout
    const live = gradients.map((tensor, i) => (parameters[i]!.frozen ? null : tensor))
    return this.#recorder.checked(() => this.#tensors.bind(live, null))
  }

  /**
   * Runs a pipeline of accumulateProject.wgsl.
   *
   * @param taken  is given, for each band, whether the device has taken it
   * @param bands  some of those that are bound
   */
  #accumulate(
    label: string,
    pipeline: GPUComputePipeline,
    bound: BoundTensors,
    taken: Promise<boolean>[],
    bands: readonly Band[] = bound.bands,
  ): void {
    const { wide, qHat, segments, parts, kept } = this.#memory
    const withM = bands.filter(({ segment }) => segment < segments.length)
    for (const together of this.#togetherOf(bound, withM)) {
      const submitted = this.#recorder.submit(() => {
        for (const band of together) {
          this.#tensors.stage(bound, band)
          const g = windowOf(bound, band)
          const group = this.#gpu.bind('accumulateProject', [
            uniformAt(bound.uniforms, bound.bands.indexOf(band)),
            { buffer: wide.tiles },
            { buffer: bound.params },
            { buffer: qHat },
            g,
            g,
            { buffer: segments[band.segment]! },
            { buffer: parts },
            { buffer: kept.of(band.segment) },
          ])
          this.#recorder.dispatch(label, pipeline, group, band.count)
        }
      })
      for (const _ of together) taken.push(submitted)
    }
  }

  /**
   * Divides bands into those that one submission takes: as many as need nothing written or read by
   * the CPU between them.
   *
   * @param raw  whether raw tensors' updates are written
   */
  #togetherOf({ staged }: BoundTensors, bands: readonly Band[], raw = false): Band[][] {
    const arrays = staged?.some(isFloats)
    const groups: Band[][] = []
    for (const band of bands) {
      const last = groups.at(-1)
      if (!last || arrays || (raw && band.raws.length > 0)) groups.push([band])
      else last.push(band)
    }
    return groups
  }

  async project(): Promise<void> {
    const [pipeline, reduce] = await Promise.all([
      this.#accumulating(false),
      this.#gpu.pipeline('reduce'),
    ])
    this.#leftReadAhead = null
    this.#accumulate('project', pipeline, noTensors(this.#memory), [])
    this.#recorder.checked(() => this.#reduce(reduce, this.#memory.wide, this.#memory.left))
  }

  async backproject(): Promise<void> {
    const [pipeline, reduce] = await Promise.all([
      this.#backprojecting(),
      this.#gpu.pipeline('reduce'),
    ])
    const { tall, params, left, segments, parts, qLocal } = this.#memory
    this.#recorder.checked(() => {
      for (const [i, { segment, count }] of segmentBands(tall.tiling).entries()) {
        const group = this.#gpu.bind('backproject', [
          uniformAt(tall.bands, i),
          { buffer: tall.tiles },
          { buffer: params },
          { buffer: left },
          { buffer: segments[segment]! },
          { buffer: parts },
        ])
        this.#recorder.dispatch('backproject', pipeline, group, count)
      }
      this.#reduce(reduce, tall, qLocal)
    })
  }

  #reduce(
    pipeline: GPUComputePipeline,
    { sums, sumCount, sumBand }: TilingBuffers,
    to: GPUBuffer,
  ): void {
    const group = this.#gpu.bind('reduce', [
      uniformAt(sumBand, 0),
      { buffer: sums },
      { buffer: this.#memory.parts },
      { buffer: to },
    ])
    this.#recorder.dispatch('reduce', pipeline, group, sumCount)
  }

  async settle(deflate: boolean, raw: Uint8Array | null, sink: Sink | null): Promise<void> {
    // If an earlier call has failed after it had changed M, the rest of M comes first.
    const again = deflate && this.#undeflated !== null
    if (deflate && (again || sink === null)) await this.#deflate()
    if (sink) await this.#write(deflate && !again, raw, sink)
    if (deflate) this.#undeflated = null
  }

  /** M ← M − left·qLocalᵀ */
  async #deflate(): Promise<void> {
    const pipeline = await this.#settling(ALIGNED, false, true)
    const bound = noTensors(this.#memory)
    const bands =
      this.#undeflated?.map((band) => ({ ...band, offset: 0, bytes: 16 })) ?? bound.bands
    const taken: Promise<boolean>[] = []
    try {
      const submitted = this.#recorder.submit(() => {
        const fields = { params: 0, scale: 0, accumulate: false, raw: false }
        const values = bands.map(({ first, count }) => ({ first, count, ...fields }))
        const uniforms = this.#recorder.uniforms(SETTLE_BAND, values)
        for (const [i, band] of bands.entries()) {
          this.#settleBand('residual', pipeline, { ...bound, uniforms }, band, i)
        }
      })
      taken.push(...bands.map(() => submitted))
      await this.#recorder.checkErrors()
      this.#undeflated = []
    } catch (error) {
      this.#undeflated = await without(taken, bands)
      throw error
    }
  }

  /** Writes the update; in the same pass, if `deflate`, M ← M − left·qLocalᵀ. */
  async #write(deflate: boolean, raw: Uint8Array | null, sink: Sink): Promise<void> {
    const { scale, accumulate } = sink
    const { layout, segments } = this.#memory
    const frozen = (i: number) => layout.parameters[i]!.frozen
    const into = sink.into.map((tensor, i) =>
      frozen(i) && (accumulate || isFloats(tensor)) ? null : tensor,
    )
    const bound = this.#recorder.checked(() =>
      this.#tensors.bind(into, { scale, accumulate, raw: raw !== null }),
    )
    const { modes } = bound
    const ofM = bound.bands.filter(({ segment }) => segment < segments.length)
    const bands = into.some((tensor, i) => tensor && frozen(i)) ? bound.bands : ofM
    const pipelines = await Promise.all(
      [...modes].map((mode) => this.#settling(mode, true, deflate)),
    )
    // A word may hold an f16 that is not ours beside one that is: staged, it must survive.
    const stage = accumulate || modes.has(F16)
    const label = deflate ? 'settle' : 'reconstruct'
    const taken: Promise<boolean>[] = []
    const out: Promise<void>[] = []
    try {
      for (const together of this.#togetherOf(bound, bands, raw !== null)) {
        const submitted = this.#recorder.submit(() => {
          for (const band of together) {
            if (raw && band.raws.length > 0) this.#memory.writeRaw(band.raws, raw)
            if (stage) this.#tensors.stage(bound, band)
            const i = bound.bands.indexOf(band)
            for (const pipeline of pipelines) this.#settleBand(label, pipeline, bound, band, i)
            const done = this.#tensors.unstage(bound, band)
            if (!done) continue
            done.catch(() => undefined) // awaited below, unless another fails first
            out.push(done)
          }
        })
        for (const _ of together) taken.push(submitted)
        if (out.length > 1) await out.shift()
      }
      await allDone([this.#recorder.checkErrors(), ...out])
    } catch (error) {
      await Promise.allSettled(out) // none writes to the caller's arrays afterwards
      if (deflate) this.#undeflated = await without(taken, ofM)
      throw error
    }
    if (accumulate) return
    for (const [i, tensor] of sink.into.entries()) {
      if (frozen(i) && isFloats(tensor)) tensor.fill(0)
    }
  }

  /** @param i  of its uniform */
  #settleBand(
    label: string,
    pipeline: GPUComputePipeline,
    bound: BoundTensors,
    band: Band,
    i: number,
  ): void {
    const { wide, left, qLocal, qMean, segments, nothing } = this.#memory
    const group = this.#gpu.bind('settle', [
      uniformAt(bound.uniforms, i),
      { buffer: wide.tiles },
      { buffer: bound.params },
      { buffer: left },
      { buffer: qLocal },
      { buffer: qMean },
      { buffer: segments[band.segment] ?? nothing },
      windowOf(bound, band),
    ])
    this.#recorder.dispatch(label, pipeline, group, band.count)
  }

  async read(slots: readonly Slot[], into: Float32Array): Promise<void> {
    const ahead = slots[0] === 'left' ? this.#leftReadAhead : null
    if (ahead) into.set(ahead)
    let at = ahead?.length ?? 0
    const jobs: CopyJob[] = []
    for (const slot of ahead ? slots.slice(1) : slots) {
      jobs.push(...this.#memory.copyJobs(slot, into, at))
      at += this.#floatsOf(slot)
    }
    await this.#copyOut(jobs)
  }

  #floatsOf(slot: Slot): number {
    const { denseFloats, rawFloats, leftFloats, rightFloats } = this.#memory.layout
    if (slot === 'residual') return denseFloats
    if (slot === 'raw') return rawFloats
    return slot === 'left' ? leftFloats : rightFloats
  }

  write(slot: Slot, values: Uint8Array): void {
    if (slot === 'left') this.#leftReadAhead = null
    this.#recorder.checked(() => this.#memory.write(slot, values))
  }

  scale(slot: 'residual' | 'raw', factor: number): Promise<void> | undefined {
    const ranges = this.#memory.ranges(slot)
    const { segments } = this.#memory
    if (factor !== 0) return this.#multiply(ranges, factor)
    this.#recorder.checked(() => {
      for (const [segment, first, count] of ranges) {
        this.#recorder.encoder.clearBuffer(segments[segment]!, 4 * first, 4 * count)
      }
    })
    return undefined
  }

  async #multiply(ranges: readonly FloatRange[], factor: number): Promise<void> {
    const pipeline = await this.#gpu.pipeline('scale')
    this.#recorder.checked(() => {
      const fours = ranges.map(([, first, count]) => {
        return { first: first / 4, count: count / 4, factor }
      })
      const uniforms = this.#recorder.uniforms(SCALE_RANGE, fours)
      for (const [i, [segment]] of ranges.entries()) {
        const x = { buffer: this.#memory.segments[segment]! }
        const group = this.#gpu.bind('scale', [uniformAt(uniforms, i), x])
        const workgroups = Math.ceil(fours[i]!.count / SCALE_FOURS)
        this.#recorder.dispatch('scale', pipeline, group, workgroups)
      }
      this.#recorder.flush()
    })
    await this.#recorder.checkErrors()
  }

  norms(): Promise<Float64Array> {
    return squaredNorms(this.#recorder, this.#memory, this.#copyOut)
  }

  async orthonormalize(seed: number, step: number): Promise<void> {
    const pipeline = await this.#gpu.pipeline('orthonormalize')
    this.#leftReadAhead = null
    const { params, left, arena } = this.#memory
    const count = arena.matrices.length
    this.#recorder.checked(() => {
      const uniforms = this.#recorder.uniforms(BATCH, [{ count, seed, step }])
      const group = this.#gpu.bind('orthonormalize', [
        uniformAt(uniforms, 0),
        { buffer: params },
        { buffer: left },
      ])
      this.#recorder.dispatch('orthonormalize', pipeline, group, count)
    })
  }

  rearrange(layout: Layout): void {
    this.#leftReadAhead = null
    this.#recorder.checked(() => {
      this.#recorder.flush()
      this.#tensors.clear()
      this.#memory.arrange(layout)
    })
  }

  dispose(): void {
    this.#tensors.clear()
    this.optimizer.destroy()
    this.#readback.destroy()
    this.#memory.destroy()
  }
}

/** The part of a buffer that a band binds. */
function windowOf({ buffer }: BoundTensors, { offset, bytes }: Band): GPUBufferBinding {
  return { buffer, offset, size: bytes }
}

/** The bands that the device has not taken. */
async function without(taken: Promise<boolean>[], bands: readonly Band[]): Promise<Band[]> {
  const there = await Promise.all(taken)
  return bands.filter((_, i) => !there[i])
}

/** Bindings for phases on M alone. */
function noTensors({ wide, params, nothing }: Memory): BoundTensors {
  const bands = segmentBands(wide.tiling)
  return { bands, modes: new Set(), params, uniforms: wide.bands, buffer: nothing, staged: null }
}
