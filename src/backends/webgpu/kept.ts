// What accumulateProject.wgsl needs to take a gradient out of M again: for each segment of M the blocks
// that are kept, and copies of their e. There is room for copies only where they have been needed: as
// long as gradients are not much larger than the residual, there are none.
import type { CopyJob } from './copy-out.ts'
import { DATA_USAGE } from './gpu.ts'
import type { Recorder } from './recorder.ts'

/** Words before the bits, by their names in the shader. */
const BEFORE = 2
const BITS = 4

/** The first word of the copies. @param fours  groups of four floats of the segment */
function copiesAt(fours: number): number {
  return Math.ceil((BITS + Math.ceil(fours / 32)) / 4) * 4
}

/** Floats that a segment of M may have if these buffers have `limit` words. */
export function mostFloats(limit: number): number {
  return Math.floor(((limit - 8) * 128) / 129 / 4) * 4
}

export class Kept {
  readonly #recorder: Recorder
  /** groups of four floats of each segment */
  readonly #fours: readonly number[]
  #buffers: GPUBuffer[]
  /** groups of four that each has room for */
  #rooms: number[]
  /** those that the last gradient has needed */
  #reaches: number[]

  /** @param segments  floats of each segment of M */
  constructor(recorder: Recorder, segments: readonly number[]) {
    this.#recorder = recorder
    this.#fours = segments.map((floats) => Math.max(4, floats) / 4)
    this.#rooms = segments.map(() => 0)
    this.#reaches = segments.map(() => 0)
    this.#buffers = segments.map((_, i) => this.#make(i, 0))
  }

  #make(segment: number, room: number): GPUBuffer {
    const words = copiesAt(this.#fours[segment]!) + 4 * room
    return this.#recorder.gpu.buffer(`kept ${segment}`, 4 * words, DATA_USAGE)
  }

  /** The buffer of a segment; of frozen parameters, which have none, any. */
  of(segment: number): GPUBuffer {
    return this.#buffers[segment] ?? this.#buffers[0]!
  }

  /** Forgets the last gradient. Gives room back of which it has needed less than half. */
  clear(): void {
    for (const [i, room] of this.#rooms.entries()) {
      const reach = this.#reaches[i]!
      if (2 * reach < room) {
        this.#buffers[i]!.destroy()
        this.#buffers[i] = this.#make(i, reach)
        this.#rooms[i] = reach
      } else this.#recorder.encoder.clearBuffer(this.#buffers[i]!, 0, 4 * copiesAt(this.#fours[i]!))
    }
  }

  /** Reads what the shader has found. @param refuse  called if an element was too large */
  verdicts(refuse: () => void): CopyJob[] {
    return this.#buffers.map((buffer, i) => ({
      buffer,
      at: 0,
      floats: 4,
      use: ({ buffer: words, byteOffset }) => {
        const [refused, reach] = new Uint32Array(words, byteOffset, 2)
        if (refused !== 0) refuse()
        this.#reaches[i] = reach!
      },
    }))
  }

  /** Whether there is any room. */
  get room(): boolean {
    return this.#rooms.some((room) => room > 0)
  }

  /** Whether blocks wait for room. */
  get full(): boolean {
    return this.#reaches.some((reach, i) => reach > this.#rooms[i]!)
  }

  /** Makes the room that is missing, once the device has it. @throws Error  if it has not */
  async grow(): Promise<void> {
    const more = this.#reaches.map((reach, i) => (reach > this.#rooms[i]! ? reach : null))
    const made: (GPUBuffer | null)[] = []
    try {
      this.#recorder.checked(() => {
        for (const [i, room] of more.entries())
          made.push(room === null ? null : this.#make(i, room))
      })
      await this.#recorder.checkErrors()
    } catch (error) {
      for (const buffer of made) buffer?.destroy()
      throw error
    }
    this.#recorder.checked(() => {
      for (const [i, buffer] of made.entries()) {
        const [before, room] = [this.#buffers[i]!, this.#rooms[i]!]
        if (buffer) {
          const bytes = 4 * (copiesAt(this.#fours[i]!) + 4 * room)
          this.#recorder.encoder.copyBufferToBuffer(before, 0, buffer, 0, bytes)
          this.#recorder.flush()
          before.destroy()
          this.#buffers[i] = buffer
          this.#rooms[i] = more[i]!
        }
        this.#recorder.write(this.#buffers[i]!, 4 * BEFORE, Uint32Array.of(room))
      }
    })
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy()
  }
}
