// Brings callers' tensors to the shaders. One buffer that holds them all is bound as it is; tensors in
// several buffers, and arrays, go through a staging buffer, some at a time.
import type { Dense, GpuTensor, Tensor } from '../../backend.ts'
import { isFloats } from '../../validate.ts'
import {
  type Band,
  type Bindings,
  bytesPer,
  inPlace,
  stageBytes,
  staged,
  type TensorRef,
} from './bindings.ts'
import { BindingsCache, type CachedBindings } from './bindings-cache.ts'
import { DATA_USAGE, USAGE } from './gpu.ts'
import type { Memory } from './memory.ts'
import type { Readback } from './readback.ts'
import type { Recorder } from './recorder.ts'
import { SETTLE_BAND } from './structs.ts'

/** Most bytes that are staged at a time, unless one tile takes more. */
const MOST_STAGED = 1 << 26

/** One phase's tensors. */
export interface BoundTensors extends Pick<Bindings, 'bands' | 'modes'> {
  readonly params: GPUBuffer
  readonly uniforms: GPUBuffer
  /** the callers' buffer, bound window after window, or the staging buffer */
  readonly buffer: GPUBuffer
  /** tensors to be staged; null: they are bound in place */
  readonly staged: readonly (Tensor | null)[] | null
}

/** The fields of SETTLE_BAND that all bands share. */
export interface Settling {
  readonly scale: number
  readonly accumulate: boolean
  readonly raw: boolean
}

export class Tensors {
  readonly #recorder: Recorder
  readonly #memory: Memory
  readonly #readback: Readback
  readonly #cache: BindingsCache<Bindings>
  #stage: GPUBuffer | null = null

  constructor(recorder: Recorder, memory: Memory, readback: Readback) {
    this.#recorder = recorder
    this.#memory = memory
    this.#readback = readback
    this.#cache = new BindingsCache(recorder, "callers'")
  }

  /**
   * Binds tensors for one phase. Only their layout is kept, no buffer.
   *
   * @param tensors  null: there is none
   * @param settling  if they are written to
   * @throws TypeError  if a buffer's usage does not allow that
   */
  bind(tensors: readonly (Tensor | null)[], settling: Settling | null): BoundTensors {
    const buffer = commonBuffer(tensors)
    const all = USAGE.COPY_SRC | (settling ? USAGE.COPY_DST : 0)
    if (!buffer) {
      for (const [i, tensor] of tensors.entries()) {
        if (tensor === null || isFloats(tensor)) continue
        if (((tensor.buffer as GPUBuffer).usage & all) === all) continue
        throw new TypeError(
          `tensor ${i}: expected a GPUBuffer with usage ${settling ? 'COPY_SRC and COPY_DST' : 'COPY_SRC'}, ` +
            'or one buffer with usage STORAGE for all tensors',
        )
      }
    }
    const known = this.#bindingsOf(tensors, buffer)
    const { bands, modes } = known.bindings
    const how = settling ?? { scale: 1, accumulate: false, raw: false }
    const { length } = this.#memory.arena.matrices
    this.#cache.write(known, SETTLE_BAND, how, () =>
      bands.map(({ first, count }, i) => ({ first, count, params: length * i, ...how })),
    )
    return {
      bands,
      modes,
      params: known.table,
      uniforms: known.uniforms,
      buffer: buffer ?? this.#staging(),
      staged: buffer ? null : tensors,
    }
  }

  #bindingsOf(
    tensors: readonly (Tensor | null)[],
    buffer: GPUBuffer | null,
  ): CachedBindings<Bindings> {
    const refs = tensors.map((tensor): TensorRef | null => {
      if (tensor === null) return null
      if (isFloats(tensor)) return { kind: 'f32', offset: 0 }
      return { kind: tensor.type ?? 'f32', offset: tensor.offset ?? 0 }
    })
    const signature = buffer
      ? `${buffer.size}: ${refs.map((ref) => ref && `${ref.kind} ${ref.offset}`).join()}`
      : refs.map((ref) => ref?.kind).join()
    return this.#cache.get(signature, () => this.#plan(refs, buffer))
  }

  #plan(refs: readonly (TensorRef | null)[], buffer: GPUBuffer | null): Bindings {
    const { gpu } = this.#recorder
    const { wide, paramWords, rawRoom } = this.#memory
    if (buffer) {
      const limit = 4 * Math.floor(gpu.limit / 4)
      return inPlace(wide.tiling, paramWords, rawRoom, refs, buffer.size, limit, gpu.alignment)
    }
    return staged(wide.tiling, paramWords, rawRoom, refs, this.#staging().size)
  }

  #staging(): GPUBuffer {
    if (!this.#stage) {
      const { gpu } = this.#recorder
      const { wide, arena } = this.#memory
      const bytes = stageBytes(wide.tiling, arena, Math.min(gpu.limit, MOST_STAGED))
      this.#stage = gpu.buffer('staging', bytes, DATA_USAGE)
    }
    return this.#stage
  }

  /** Copies a band's tensors into the staging buffer. */
  stage({ staged, buffer }: BoundTensors, { copies }: Band): void {
    for (const { index, start, count, at } of staged ? copies : []) {
      const tensor = staged![index]!
      if (isFloats(tensor)) {
        this.#recorder.write(buffer, at, unshared(tensor.subarray(start, start + count)))
        continue
      }
      const { from, offset, bytes } = byteRange(tensor, start, count)
      this.#recorder.encoder.copyBufferToBuffer(from, offset, buffer, at, bytes)
    }
  }

  /** Copies a band's tensors out of the staging buffer; into arrays by the time the promise resolves. */
  unstage({ staged, buffer }: BoundTensors, { copies }: Band): Promise<void> | null {
    const arrays = isFloats(staged?.find((tensor) => tensor !== null))
    for (const { index, start, count, at } of staged && !arrays ? copies : []) {
      const { from, offset, bytes } = byteRange(staged![index] as GpuTensor, start, count)
      this.#recorder.encoder.copyBufferToBuffer(buffer, at, from, offset, bytes)
    }
    const last = copies.at(-1)
    if (!arrays || !last) return null
    const bytes = last.at + 4 * last.count
    const back = this.#readback.take(bytes)
    this.#recorder.encoder.copyBufferToBuffer(buffer, 0, back, 0, bytes)
    this.#recorder.flush()
    return this.#readback.read(back, bytes, (mapped) => {
      for (const { index, start, count, at } of copies) {
        ;(staged![index] as Dense).set(new Float32Array(mapped, at, count), start)
      }
    })
  }

  /** Drops all bindings: they do not outlive a change of ranks. */
  clear(): void {
    this.#cache.clear()
    this.#stage?.destroy()
    this.#stage = null
  }
}

/** The buffer that holds all tensors, if one does and can be bound. */
function commonBuffer(tensors: readonly (Tensor | null)[]): GPUBuffer | null {
  const given = tensors.filter((tensor) => tensor !== null)
  const buffers = given.map((one) => (isFloats(one) ? null : one.buffer))
  const [first] = buffers as (GPUBuffer | null)[]
  if (!first || (first.usage & USAGE.STORAGE) === 0 || first.size < 16) return null
  return buffers.every((one) => one === first) ? first : null
}

/** The bytes of some elements, in whole words. */
function byteRange({ buffer, offset = 0, type = 'f32' }: GpuTensor, start: number, count: number) {
  const bytes = 4 * Math.ceil((bytesPer(type) * count) / 4)
  return { from: buffer as GPUBuffer, offset: offset + bytesPer(type) * start, bytes }
}

/** The array, or a copy of it if it lies in shared memory. */
function unshared(array: Float32Array): Float32Array<ArrayBuffer> {
  const shared = Object.prototype.toString.call(array.buffer) === '[object SharedArrayBuffer]'
  return shared ? array.slice() : (array as Float32Array<ArrayBuffer>)
}
