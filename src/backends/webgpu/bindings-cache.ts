// Bindings on the device: their table, and the uniforms of their bands. Callers seldom lay their tensors
// out in more than one way, so a few are kept.
import { USAGE } from './gpu.ts'
import { type Recorder, UNIFORM_STRIDE, uniformTable } from './recorder.ts'
import type { FieldValues, Struct } from './structs.ts'

/** The gradients' way, the parameters', and two more. */
const MOST_CACHED = 4

export interface CachedBindings<Bindings> {
  readonly bindings: Bindings
  readonly table: GPUBuffer
  readonly uniforms: GPUBuffer
  /** what the uniforms were written for */
  written: string
}

interface Plan {
  readonly bands: readonly unknown[]
  readonly table: Uint32Array<ArrayBuffer>
}

export class BindingsCache<Bindings extends Plan> {
  readonly #recorder: Recorder
  readonly #label: string
  /** by signature, the last used last */
  readonly #cached = new Map<string, CachedBindings<Bindings>>()

  constructor(recorder: Recorder, label: string) {
    this.#recorder = recorder
    this.#label = label
  }

  /** Plans and uploads what is new. @param signature  the same for tensors that are laid out alike */
  get(signature: string, plan: () => Bindings): CachedBindings<Bindings> {
    const known = this.#cached.get(signature) ?? this.#upload(plan())
    this.#cached.delete(signature)
    this.#cached.set(signature, known)
    for (const oldest of this.#cached.keys()) {
      if (this.#cached.size > MOST_CACHED) this.#drop(oldest)
    }
    return known
  }

  /** Writes the bands' uniforms, unless they were written for the same rates before. */
  write<Field extends string>(
    known: CachedBindings<Bindings>,
    struct: Struct<Field>,
    rates: object,
    uniforms: () => readonly FieldValues<Field>[],
  ): void {
    const written = JSON.stringify(rates)
    if (known.written === written) return
    this.#recorder.write(known.uniforms, 0, uniformTable(struct, uniforms()))
    known.written = written
  }

  #upload(bindings: Bindings): CachedBindings<Bindings> {
    const { bands, table: words } = bindings
    const table = this.#recorder.table(`${this.#label} table`, words)
    const bytes = UNIFORM_STRIDE * bands.length
    const usage = USAGE.UNIFORM | USAGE.COPY_DST
    const uniforms = this.#recorder.gpu.buffer(`${this.#label} bands`, bytes, usage)
    return { bindings, table, uniforms, written: '' }
  }

  #drop(signature: string): void {
    const { table, uniforms } = this.#cached.get(signature)!
    table.destroy()
    uniforms.destroy()
    this.#cached.delete(signature)
  }

  clear(): void {
    for (const signature of this.#cached.keys()) this.#drop(signature)
  }
}
