// One compressor's phases on the GPU.
import type { Layout, Session, Sink, Slot, Tensor } from '../../backend.ts'
import type { Band } from './bindings.ts'
import { checkTensor } from './check.ts'
import { type Gpu, USAGE } from './gpu.ts'
import { type CopyJob, Memory, type Stretch, type TilingBuffers } from './memory.ts'
import { combine } from './norm.ts'
import { GpuOptimizer } from './optimizer.ts'
import { MOST_BYTES, Readback } from './readback.ts'
import { Recorder, uniformAt, uniformTable } from './recorder.ts'
import { HALF, WHOLE } from './tables.ts'
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
  /** left, as it came back with the verdict on the gradient; null: not as it is now */
  #ahead: Float32Array | null = null

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
    this.optimizer = new GpuOptimizer(recorder, memory, (jobs) => this.#copyOut(jobs))
  }

  /** What every step needs: compiling takes longer than a step. */
  async #compile(): Promise<void> {
    await Promise.all([
      this.#accumulating(1),
      this.#backprojecting(),
      this.#gpu.pipeline('reduce'),
      this.#settling(WHOLE, true, true),
      this.#settling(0, true, true),
    ])
  }

  /** @param sign  of the gradient; 0: M as it is */
  #accumulating(sign: -1 | 0 | 1): Promise<GPUComputePipeline> {
    const constants = { ADD: Math.abs(sign), SIGN: sign || 1, RANKS: this.#ranks(4) }
    return this.#gpu.pipeline('accumulateProject', constants)
  }

  #backprojecting(): Promise<GPUComputePipeline> {
    return this.#gpu.pipeline('backproject', { RANKS: this.#ranks(8) })
  }

  #settling(mode: number, write: boolean, deflate: boolean): Promise<GPUComputePipeline> {
    const entry = mode === WHOLE ? 'settle' : mode === HALF ? 'settleF16' : 'settleOdd'
    return this.#gpu.pipeline('settle', { WRITE: Number(write), DEFLATE: Number(deflate) }, entry)
  }

  /** Columns that a shader takes at a time: a power of two, and no more than there are. */
  #ranks(most: number): number {
    const largest = this.#memory.layout.matrices.reduce((r, { rank }) => Math.max(r, rank), 1)
    return Math.min(most, 2 ** Math.ceil(Math.log2(largest)))
  }

  async accumulateProject(gradients: readonly Tensor[]): Promise<boolean> {
    const { refused, layout, left } = this.#memory
    const [add, reduce] = await Promise.all([this.#accumulating(1), this.#gpu.pipeline('reduce')])
    this.#ahead = null
    const ahead = new Float32Array(layout.leftFloats)
    let bad = false
    const verdict: CopyJob = {
      buffer: refused,
      at: 0,
      floats: 4,
      use: (values) => {
        bad = new Uint32Array(values.buffer, values.byteOffset, 1)[0] !== 0
      },
    }
    this.#recorder.checked(() => {
      const place = this.#tensors.place(gradients, null)
      this.#recorder.encoder.clearBuffer(refused)
      this.#accumulate('accumulateProject', add, place)
      this.#reduce(reduce, this.#memory.wide, left)
    })
    await this.#copyOut([verdict, ...this.#memory.jobs('left', ahead, 0)])
    if (bad) await this.withdraw(gradients)
    else this.#ahead = ahead
    return !bad
  }

  async withdraw(gradients: readonly Tensor[]): Promise<void> {
    const subtract = await this.#accumulating(-1)
    this.#recorder.checked(() => {
      const place = this.#tensors.place(gradients, null)
      this.#accumulate('withdraw', subtract, place)
      this.#recorder.flush()
    })
    await this.#recorder.checkErrors()
  }

  #accumulate(label: string, pipeline: GPUComputePipeline, place: BoundTensors): void {
    for (const [i, band] of place.bindings.bands.entries()) {
      this.#tensors.fill(place, band)
      const g = { buffer: place.buffer, offset: band.offset, size: band.bytes }
      this.#project(label, pipeline, uniformAt(place.uniforms, i), place.params, g, band)
    }
  }

  async project(): Promise<void> {
    const [pipeline, reduce] = await Promise.all([
      this.#accumulating(0),
      this.#gpu.pipeline('reduce'),
    ])
    this.#ahead = null
    const { nothing, params, wide, left } = this.#memory
    this.#recorder.checked(() => {
      for (const [i, band] of bandsOf(wide)) {
        this.#project(
          'project',
          pipeline,
          uniformAt(wide.bands, i),
          params,
          { buffer: nothing },
          band,
        )
      }
      this.#reduce(reduce, wide, left)
    })
  }

  #project(
    label: string,
    pipeline: GPUComputePipeline,
    uniform: GPUBufferBinding,
    params: GPUBuffer,
    g: GPUBufferBinding,
    { segment, count }: Pick<Band, 'segment' | 'count'>,
  ): void {
    const { wide, qHat, segments, parts, refused } = this.#memory
    const group = this.#gpu.bind('accumulateProject', [
      uniform,
      { buffer: wide.tiles },
      { buffer: params },
      { buffer: qHat },
      g,
      g,
      { buffer: segments[segment]! },
      { buffer: parts },
      { buffer: refused },
    ])
    this.#recorder.dispatch(label, pipeline, group, count)
  }

  async backproject(): Promise<void> {
    const [pipeline, reduce] = await Promise.all([
      this.#backprojecting(),
      this.#gpu.pipeline('reduce'),
    ])
    const { tall, params, left, segments, parts, qLocal } = this.#memory
    this.#recorder.checked(() => {
      for (const [i, { segment, count }] of bandsOf(tall)) {
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
    { tiling, sums, sumBand }: TilingBuffers,
    to: GPUBuffer,
  ): void {
    const group = this.#gpu.bind('reduce', [
      uniformAt(sumBand, 0),
      { buffer: sums },
      { buffer: this.#memory.parts },
      { buffer: to },
    ])
    this.#recorder.dispatch('reduce', pipeline, group, tiling.sums.length / 8)
  }

  async settle(deflate: boolean, raw: Uint8Array | null, sink: Sink | null): Promise<void> {
    if (sink === null) {
      if (deflate) await this.#deflate()
      return
    }
    const { into, scale, accumulate } = sink
    const settling = { scale, accumulate, raw: raw !== null }
    const place = this.#recorder.checked(() => this.#tensors.place(into, settling))
    const { bands, modes } = place.bindings
    const entries = [...modes]
    const pipelines = await Promise.all(entries.map((mode) => this.#settling(mode, true, deflate)))
    // Halves of words that are not ours come and go with those that are.
    const fill = accumulate || modes.has(HALF)
    const label = deflate ? 'settle' : 'reconstruct'
    const out: Promise<void>[] = []
    for (const [i, band] of bands.entries()) {
      this.#recorder.checked(() => {
        if (raw && band.raws.length > 0) this.#memory.writeRaw(band.raws, raw)
        if (fill) this.#tensors.fill(place, band)
        const y = { buffer: place.buffer, offset: band.offset, size: band.bytes }
        for (const pipeline of pipelines) {
          const uniform = uniformAt(place.uniforms, i)
          this.#settleBand(label, pipeline, uniform, place.params, y, band)
        }
        const done = this.#tensors.empty(place, band)
        if (!done) return
        done.catch(() => undefined) // heard below; but another may fail before, and end the wait
        out.push(done)
      })
      if (out.length > 1) await out.shift()
    }
    this.#recorder.checked(() => this.#recorder.flush())
    await Promise.all(out)
    await this.#recorder.checkErrors()
  }

  /** M ← M − left·qLocalᵀ */
  async #deflate(): Promise<void> {
    const pipeline = await this.#settling(WHOLE, false, true)
    const { wide, params, nothing } = this.#memory
    this.#recorder.checked(() => {
      for (const [i, band] of bandsOf(wide)) {
        const uniform = uniformAt(wide.bands, i)
        this.#settleBand('residual', pipeline, uniform, params, { buffer: nothing }, band)
      }
      this.#recorder.flush()
    })
    await this.#recorder.checkErrors()
  }

  #settleBand(
    label: string,
    pipeline: GPUComputePipeline,
    uniform: GPUBufferBinding,
    params: GPUBuffer,
    y: GPUBufferBinding,
    { segment, count }: Pick<Band, 'segment' | 'count'>,
  ): void {
    const { wide, left, qLocal, qMean, segments } = this.#memory
    const group = this.#gpu.bind('settle', [
      uniform,
      { buffer: wide.tiles },
      { buffer: params },
      { buffer: left },
      { buffer: qLocal },
      { buffer: qMean },
      { buffer: segments[segment]! },
      y,
    ])
    this.#recorder.dispatch(label, pipeline, group, count)
  }

  async read(slots: readonly Slot[], into: Float32Array): Promise<void> {
    const ahead = slots[0] === 'left' ? this.#ahead : null
    if (ahead) into.set(ahead)
    let at = ahead?.length ?? 0
    const jobs: CopyJob[] = []
    for (const slot of ahead ? slots.slice(1) : slots) {
      jobs.push(...this.#memory.jobs(slot, into, at))
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

  /** Copies out, after all that has been recorded; as much at a time as a mapped buffer may hold. */
  async #copyOut(jobs: readonly CopyJob[]): Promise<void> {
    for (let first = 0; first < jobs.length; ) {
      let bytes = 0
      let end = first
      while (end < jobs.length && (end === first || bytes + 4 * jobs[end]!.floats <= MOST_BYTES)) {
        bytes += 4 * jobs[end++]!.floats
      }
      const some = jobs.slice(first, end)
      const back = this.#recorder.checked(() => {
        const back = this.#readback.take(bytes)
        let to = 0
        for (const { buffer, at, floats } of some) {
          if (floats)
            this.#recorder.encoder.copyBufferToBuffer(buffer, 4 * at, back, to, 4 * floats)
          to += 4 * floats
        }
        this.#recorder.flush()
        return back
      })
      const read = this.#readback.read(back, bytes, (mapped) => {
        let from = 0
        for (const { floats, use } of some) {
          use(new Float32Array(mapped, from, floats))
          from += 4 * floats
        }
      })
      await Promise.all([this.#recorder.checkErrors(), read])
      first = end
    }
  }

  write(slot: Slot, values: Uint8Array): void {
    if (slot === 'left') this.#ahead = null
    this.#recorder.checked(() => this.#memory.write(slot, values))
  }

  scale(slot: 'residual' | 'raw', factor: number): Promise<void> | undefined {
    const stretches = this.#memory.stretches(slot)
    const { segments } = this.#memory
    if (factor !== 0) return this.#multiply(stretches, factor)
    this.#recorder.checked(() => {
      for (const [segment, first, count] of stretches) {
        this.#recorder.encoder.clearBuffer(segments[segment]!, 4 * first, 4 * count)
      }
    })
    return undefined
  }

  async #multiply(stretches: readonly Stretch[], factor: number): Promise<void> {
    const pipeline = await this.#gpu.pipeline('scale')
    this.#recorder.checked(() => {
      for (const [segment, first, count] of stretches) {
        const words = [first / 4, count / 4]
        const group = this.#gpu.bind('scale', [
          this.#recorder.uniform(words, [factor]),
          { buffer: this.#memory.segments[segment]! },
        ])
        this.#recorder.dispatch('scale', pipeline, group, Math.ceil(count / 4 / 256))
      }
      this.#recorder.flush()
    })
    await this.#recorder.checkErrors()
  }

  async norms(): Promise<Float64Array> {
    const pipeline = await this.#gpu.pipeline('norm')
    const { segments, arena, layout } = this.#memory
    const squares = new Float64Array(layout.parameters.length)
    let groups = 0
    const pieces = arena.matrices.flatMap(({ parameter, stride, pieces }) =>
      pieces.map(({ segment, at, rows }) => {
        const piece = { index: parameter.index, segment, first: at / 4, count: (rows * stride) / 4 }
        const to = groups
        groups += Math.ceil(piece.count / 1024)
        return { ...piece, to, end: groups }
      }),
    )
    const use = (values: Float32Array) => {
      const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
      for (const { index, to, end } of pieces) {
        squares[index]! += combine(words.subarray(2 * to, 2 * end))
      }
    }
    const sums = this.#recorder.checked(() => {
      const { STORAGE, COPY_SRC, COPY_DST, UNIFORM } = USAGE
      const table = uniformTable(
        pieces.map(({ first, count, to }) => ({ first, count, params: to })),
      )
      this.#recorder.flush() // so that nothing is submitted, and no buffer goes, before the dispatches
      const bands = this.#recorder.transient('norm bands', table.length, UNIFORM | COPY_DST)
      this.#recorder.write(bands, 0, table)
      const sums = this.#recorder.transient('norms', 8 * groups, STORAGE | COPY_SRC)
      for (const [i, { segment, to, end }] of pieces.entries()) {
        const m = { buffer: segments[segment]! }
        const group = this.#gpu.bind('norm', [uniformAt(bands, i), m, { buffer: sums }])
        this.#recorder.dispatch('norm', pipeline, group, end - to)
      }
      return sums
    })
    await this.#copyOut([{ buffer: sums, at: 0, floats: 2 * groups, use }])
    return squares
  }

  async orthonormalize(seed: number, step: number): Promise<void> {
    const pipeline = await this.#gpu.pipeline('orthonormalize')
    this.#ahead = null
    const { params, left, arena } = this.#memory
    const count = arena.matrices.length
    this.#recorder.checked(() => {
      const uniform = this.#recorder.uniform([count, seed, step])
      const group = this.#gpu.bind('orthonormalize', [
        uniform,
        { buffer: params },
        { buffer: left },
      ])
      this.#recorder.dispatch('orthonormalize', pipeline, group, count)
    })
  }

  rearrange(layout: Layout): void {
    this.#ahead = null
    this.#recorder.checked(() => {
      this.#recorder.flush()
      this.#tensors.forget()
      this.#memory.arrange(layout)
    })
  }

  dispose(): void {
    this.#tensors.forget()
    this.optimizer.destroy()
    this.#readback.destroy()
    this.#memory.destroy()
  }
}

/** M alone: its segments, one after another. */
function bandsOf({
  tiling: { starts },
}: TilingBuffers): [number, Pick<Band, 'segment' | 'count'>][] {
  return starts
    .slice(1)
    .map((end, segment) => [segment, { segment, count: end - starts[segment]! }])
}
