// Algorithm 2's update of the parameters on the GPU: parameters, updates and momentum stay there.
import type { Dense, GpuTensor, OptimizerRates, SessionOptimizer, Tensor } from '../../backend.ts'
import { BindingsCache, type CachedBindings } from './bindings-cache.ts'
import type { CopyJob } from './copy-out.ts'
import { DATA_USAGE, getOrMake, USAGE } from './gpu.ts'
import { type Memory, MOST_FLOATS } from './memory.ts'
import {
  type BufferRef,
  bindPairs,
  type OptimizerBindings,
  type RefPair,
  type Window,
} from './optimizer-bindings.ts'
import { type Recorder, uniformAt } from './recorder.ts'
import { MOMENTUM_BAND } from './structs.ts'

/** Most bytes that are staged at a time, of the parameters and of the update each. */
const MOST_STAGED = 1 << 24

/** Floats of one parameter's momentum that lie together. */
interface MomentumPart {
  readonly index: number
  readonly start: number
  readonly count: number
  readonly segment: number
  /** floats */
  readonly at: number
}

/**
 * The momentum step on callers' buffers. Buffers with usage STORAGE are bound as they are. Others go
 * through a staging buffer, and so does an update in the buffer of its parameter: WebGPU lets no buffer
 * be read-only and written in one dispatch.
 */
export class GpuOptimizer implements SessionOptimizer {
  readonly #recorder: Recorder
  readonly #memory: Memory
  readonly #copyOut: (jobs: readonly CopyJob[]) => Promise<void>
  /** the momentum; empty before the first step that has any */
  #segments: GPUBuffer[] = []
  readonly #cache: BindingsCache<OptimizerBindings>
  readonly #stages = new Map<'x' | 'g', GPUBuffer>()

  /** @param copyOut  after all that has been recorded */
  constructor(
    recorder: Recorder,
    memory: Memory,
    copyOut: (jobs: readonly CopyJob[]) => Promise<void>,
  ) {
    this.#recorder = recorder
    this.#memory = memory
    this.#copyOut = copyOut
    this.#cache = new BindingsCache(recorder, 'momentum')
  }

  check(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
    name: string,
  ): void {
    const both = [
      ['parameters', parameters, USAGE.COPY_SRC | USAGE.COPY_DST, 'COPY_SRC and COPY_DST'],
      [name, update, USAGE.COPY_SRC, 'COPY_SRC'],
    ] as const
    for (const [of, tensors, usage, spelt] of both) {
      for (const [i, tensor] of tensors.entries()) {
        if (parameters[i] === null) continue
        const { buffer, type = 'f32' } = tensor as GpuTensor
        if (type !== 'f32') {
          throw new RangeError(
            `"${of}[${i}].type": expected 'f32', got '${type}': too coarse to descend`,
          )
        }
        const { x, g } = refsOf(parameters[i] as GpuTensor, update[i] as GpuTensor, () => 0)
        if ((tensors === parameters ? x : g).buffer !== null) continue
        if (((buffer as GPUBuffer).usage & usage) === usage) continue
        throw new TypeError(
          `"${of}[${i}].buffer": expected a GPUBuffer with usage ${spelt}, or one with usage ` +
            'STORAGE apart from the other tensor',
        )
      }
    }
  }

  async step(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
    rates: OptimizerRates,
  ): Promise<void> {
    const pipeline = await this.#recorder.gpu.pipeline('momentum')
    if (rates.momentum > 0) await this.#begin()
    this.#recorder.checked(() => {
      const xs = parameters as readonly (GpuTensor | null)[]
      const gs = update as readonly (GpuTensor | null)[]
      const buffers: GPUBuffer[] = []
      const known = this.#layOut(xs, gs, buffers)
      const { bands } = known.bindings
      this.#cache.write(known, MOMENTUM_BAND, rates, () =>
        bands.map(({ first, count }) => ({ first, count, ...rates })),
      )
      for (const [i, { segment, count, x, g }] of bands.entries()) {
        this.#copyStaged('x', x, xs, false)
        this.#copyStaged('g', g, gs, false)
        const m = rates.momentum > 0 ? this.#segments[segment]! : this.#memory.nothing
        const group = this.#recorder.gpu.bind('momentum', [
          uniformAt(known.uniforms, i),
          { buffer: known.table },
          this.#bound('x', x, buffers),
          this.#bound('g', g, buffers),
          { buffer: m },
        ])
        this.#recorder.dispatch('momentum', pipeline, group, count)
        this.#copyStaged('x', x, xs, true)
      }
      this.#recorder.flush()
    })
    await this.#recorder.checkErrors()
  }

  /** Makes the momentum, zero, before its first use. @throws Error  if the device has not the memory */
  async #begin(): Promise<void> {
    if (this.#segments.length > 0) return
    const most = this.#segmentFloats
    const { denseFloats } = this.#memory.layout
    const made = this.#recorder.checked(() =>
      Array.from({ length: Math.ceil(denseFloats / most) }, (_, i) => {
        const floats = Math.min(most, denseFloats - i * most)
        return this.#recorder.gpu.buffer(`momentum ${i}`, 4 * floats, DATA_USAGE)
      }),
    )
    try {
      await this.#recorder.checkErrors()
    } catch (error) {
      for (const buffer of made) buffer.destroy()
      throw error
    }
    this.#segments = made
  }

  get #segmentFloats(): number {
    return Math.floor(this.#recorder.gpu.limit / 4)
  }

  /** @param buffers  is given the buffers, so that bands can number them */
  #layOut(
    xs: readonly (GpuTensor | null)[],
    gs: readonly (GpuTensor | null)[],
    buffers: GPUBuffer[],
  ): CachedBindings<OptimizerBindings> {
    const numbers = new Map<unknown, number>()
    const numberOf = (buffer: GPUBuffer) => {
      const number = numbers.get(buffer) ?? buffers.push(buffer) - 1
      numbers.set(buffer, number)
      return number
    }
    const pairs = xs.map((x, i) => x && refsOf(x, gs[i]!, numberOf))
    const signature = JSON.stringify(pairs)
    return this.#cache.get(signature, () => {
      const { gpu } = this.#recorder
      return bindPairs(this.#lengths, pairs, {
        limit: gpu.limit,
        alignment: gpu.alignment,
        stage: this.#stageBytes,
        segment: 4 * this.#segmentFloats,
      })
    })
  }

  #bound(side: 'x' | 'g', window: Window, buffers: readonly GPUBuffer[]): GPUBufferBinding {
    const { buffer, offset, bytes } = window
    const bound = buffer === null ? this.#stage(side) : buffers[buffer]!
    return { buffer: bound, offset, size: bytes }
  }

  /** Copies tensors to their staging buffer, or back. */
  #copyStaged(
    side: 'x' | 'g',
    { copies }: Window,
    tensors: readonly (GpuTensor | null)[],
    back: boolean,
  ): void {
    for (const { index, start, count, at } of copies) {
      const { buffer, offset = 0 } = tensors[index]!
      const [theirs, from] = [buffer as GPUBuffer, offset + 4 * start]
      const [stage, { encoder }] = [this.#stage(side), this.#recorder]
      if (back) encoder.copyBufferToBuffer(stage, at, theirs, from, 4 * count)
      else encoder.copyBufferToBuffer(theirs, from, stage, at, 4 * count)
    }
  }

  #stage(side: 'x' | 'g'): GPUBuffer {
    return getOrMake(this.#stages, side, () => {
      return this.#recorder.gpu.buffer(`momentum's staging, ${side}`, this.#stageBytes, DATA_USAGE)
    })
  }

  get #stageBytes(): number {
    const { denseFloats } = this.#memory.layout
    return 4 * Math.floor(Math.min(4 * denseFloats, this.#recorder.gpu.limit, MOST_STAGED) / 4)
  }

  get #lengths(): number[] {
    return this.#memory.layout.parameters.map(({ length }) => length)
  }

  async read(): Promise<Dense[]> {
    await this.#begin()
    const into = this.#lengths.map((length) => new Float32Array(length))
    const jobs = this.#parts().map(({ index, start, count, segment, at }): CopyJob => {
      const use = (values: Float32Array) => into[index]!.set(values, start)
      return { buffer: this.#segments[segment]!, at, floats: count, use }
    })
    await this.#copyOut(jobs)
    return into
  }

  async write(momentum: readonly Dense[]): Promise<void> {
    await this.#begin()
    this.#recorder.checked(() => {
      for (const { index, start, count, segment, at } of this.#parts()) {
        const values = momentum[index]!.slice(start, start + count)
        this.#recorder.write(this.#segments[segment]!, 4 * at, values)
      }
    })
    await this.#recorder.checkErrors()
  }

  /** The whole momentum, in parts that lie in one buffer and parameter each. */
  #parts(): MomentumPart[] {
    const parts: MomentumPart[] = []
    const most = this.#segmentFloats
    let before = 0
    for (const [index, length] of this.#lengths.entries()) {
      for (let start = 0; start < length; ) {
        const [segment, at] = [Math.floor((before + start) / most), (before + start) % most]
        const count = Math.min(MOST_FLOATS, length - start, most - at)
        parts.push({ index, start, count, segment, at })
        start += count
      }
      before += length
    }
    return parts
  }

  destroy(): void {
    for (const buffer of [...this.#segments, ...this.#stages.values()]) buffer.destroy()
    this.#cache.clear()
  }
}

/** Says for a parameter and its update whether they are bound in place, and in which buffer. */
function refsOf(x: GpuTensor, g: GpuTensor, numberOf: (buffer: GPUBuffer) => number): RefPair {
  const ref = ({ buffer, offset = 0 }: GpuTensor, other?: unknown): BufferRef => {
    const there = buffer as GPUBuffer
    const bindable = (there.usage & USAGE.STORAGE) !== 0 && buffer !== other
    return bindable ? { buffer: numberOf(there), offset } : { buffer: null, offset: 0 }
  }
  return { x: ref(x), g: ref(g, x.buffer) }
}
