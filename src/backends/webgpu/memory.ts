// The buffers of one session: M, factors, partial sums, and the tables that lead shaders through
// them. Model-sized are those of M alone; they are made once.

import type { Plan, Slot } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import {
  type Arena,
  type Factors,
  layoutArena,
  layoutFactors,
  overlaps,
  pack,
  type Runs,
  type Shelf,
  spread,
} from './arena.ts'
import { type Run, rawRoomOf } from './bindings.ts'
import { USAGE } from './gpu.ts'
import { type Recorder, uniformTable } from './recorder.ts'
import { paramWords, SUM_WORDS, type Tiling, tallTiles, tileWords, wideTiles } from './tables.ts'

/** Most that partial sums may take, in bytes. */
const MOST_PART_BYTES = 1 << 26

/** Most floats of raw tensors' updates that are on the device at a time, unless four rows are more. */
const MOST_RAW_FLOATS = 1 << 22

/** Floats of M that are packed or spread at a time. */
export const MOST_FLOATS = 1 << 22

/** Tiles of a phase on the device. */
export interface Laid {
  readonly tiling: Tiling
  readonly tiles: GPUBuffer
  /** one for each segment of M */
  readonly bands: GPUBuffer
  readonly sums: GPUBuffer
  /** the only one, of all sums */
  readonly sumBand: GPUBuffer
}

/** Floats to be copied out, and what becomes of them. */
export interface Job {
  readonly buffer: GPUBuffer
  /** floats */
  readonly at: number
  readonly floats: number
  readonly use: (values: Float32Array) => void
}

/** Neighbouring floats of one segment of M. */
export type Stretch = [segment: number, first: number, count: number]

type FactorSlot = 'left' | 'query' | 'own' | 'mean'

export class Memory {
  plan!: Plan
  arena!: Arena
  factors!: Factors
  segments: GPUBuffer[] = []
  left!: GPUBuffer
  query!: GPUBuffer
  own!: GPUBuffer
  /** and, behind the factors, raw tensors' updates: those of a band */
  mean!: GPUBuffer
  rawRoom!: number
  parts!: GPUBuffer
  wide!: Laid
  tall!: Laid
  params!: GPUBuffer
  paramWords!: Uint32Array<ArrayBuffer>
  /** ← 1 by a gradient that is too large */
  readonly refused: GPUBuffer
  /** bound where nothing is read or written */
  readonly nothing: GPUBuffer
  readonly #recorder: Recorder
  /** what has to be made anew with other ranks */
  #made: GPUBuffer[] = []
  /** factors on their way, as they lie here and as they travel */
  #padded = new Float32Array(0)
  #packed = new Float32Array(0)

  constructor(recorder: Recorder, plan: Plan) {
    const { gpu } = recorder
    this.#recorder = recorder
    this.refused = gpu.buffer('refused', 16, USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST)
    this.nothing = gpu.buffer('nothing', 16, USAGE.STORAGE)
    this.arrange(plan)
  }

  /** Divides M into matrices and raw tensors. @throws RangeError  where the device is too small */
  arrange(plan: Plan): void {
    const { gpu } = this.#recorder
    const limit = 4 * Math.floor(gpu.limit / 16)
    const arena = layoutArena(plan, limit)
    const factors = layoutFactors(plan)
    const { leftFloats, rightFloats } = factors
    const partLimit = Math.min(limit, MOST_PART_BYTES / 4)
    const wide = wideTiles(plan, arena, factors, partLimit)
    const tall = tallTiles(plan, arena, factors, partLimit)
    const partFloats = Math.max(wide.partFloats, tall.partFloats)
    const raws = plan.raws.reduce((sum, { index }) => {
      const { rows, stride } = arena.shelves[index]!
      return sum + rows * stride
    }, 0)
    const rawRoom = rawRoomOf(wide, raws, Math.min(MOST_RAW_FLOATS, limit - rightFloats))
    const largest = Math.max(leftFloats, rightFloats + rawRoom, partFloats)
    if (largest > limit) {
      throw new RangeError(
        `"rank": factors of ${largest} floats are more than this device can bind, ${limit}: take a ` +
          'lower rank, or share the parameters out among several compressors',
      )
    }
    this.#moveInto(arena)
    for (const buffer of this.#made.splice(0)) buffer.destroy()
    this.plan = plan
    this.arena = arena
    this.factors = factors
    this.left = this.#floats('left', leftFloats)
    this.query = this.#floats('query', rightFloats)
    this.own = this.#floats('own', rightFloats)
    this.mean = this.#floats('mean', rightFloats + rawRoom)
    this.rawRoom = rawRoom
    this.parts = this.#floats('parts', partFloats)
    this.paramWords = paramWords(arena, factors)
    this.params = this.#table('params', this.paramWords)
    this.wide = this.#lay('wide', wide)
    this.tall = this.#lay('tall', tall)
    this.#padded = new Float32Array(Math.max(leftFloats, rightFloats, rawRoom))
    this.#packed = new Float32Array(
      Math.max(plan.leftFloats, plan.rightFloats, Math.min(raws, rawRoom)),
    )
  }

  #lay(name: string, tiling: Tiling): Laid {
    const bands = tiling.starts
      .slice(1)
      .map((end, i) => ({ first: tiling.starts[i]!, count: end - tiling.starts[i]!, params: 0 }))
    const count = tiling.sums.length / SUM_WORDS
    return {
      tiling,
      tiles: this.#table(`${name} tiles`, tileWords(tiling.tiles)),
      bands: this.#table(`${name} bands`, uniformTable(bands), USAGE.UNIFORM),
      sums: this.#table(`${name} sums`, tiling.sums),
      sumBand: this.#table(
        `${name} sums' band`,
        uniformTable([{ first: 0, count, params: 0 }]),
        USAGE.UNIFORM,
      ),
    }
  }

  #floats(label: string, floats: number): GPUBuffer {
    const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST
    const buffer = this.#recorder.gpu.buffer(label, 4 * floats, usage)
    this.#made.push(buffer)
    return buffer
  }

  #table(
    label: string,
    values: Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>,
    usage: number = USAGE.STORAGE,
  ): GPUBuffer {
    const buffer = this.#recorder.gpu.buffer(label, values.byteLength, usage | USAGE.COPY_DST)
    this.#made.push(buffer)
    this.#recorder.write(buffer, 0, values)
    return buffer
  }

  /** Makes the buffers of M, and brings over what the former held. */
  #moveInto(arena: Arena): void {
    const before = this.segments
    const shelves = before.length > 0 ? this.arena.shelves : []
    const same = arena.shelves.every((shelf, i) => sameShelf(shelf, shelves[i]))
    if (same) return
    const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST
    const { gpu, encoder } = this.#recorder
    this.segments = arena.segments.map((floats, i) => gpu.buffer(`m ${i}`, 4 * floats, usage))
    for (const [i, shelf] of shelves.entries()) {
      for (const { from, at, to, into, floats } of overlaps(shelf, arena.shelves[i]!)) {
        const [source, target] = [before[from]!, this.segments[to]!]
        encoder.copyBufferToBuffer(source, 4 * at, target, 4 * into, 4 * floats)
      }
    }
    this.#recorder.flush()
    for (const buffer of before) buffer.destroy()
  }

  /** What is to be copied out for a slot, to lie packed in `into` from `at` on. */
  jobs(slot: Slot, into: Float32Array, at: number): Job[] {
    const factor = this.#factor(slot)
    if (factor) {
      const { buffer, runs, floats } = factor
      return [{ buffer, at: 0, floats, use: (values) => pack(runs, values, into.subarray(at)) }]
    }
    return this.#shelves(slot).flatMap(({ shelf, packed }) =>
      eachPart(shelf).map(({ piece, row, rows }): Job => {
        const { cols, stride } = shelf
        const run = { at: 0, packed: at + packed + row * cols, count: rows, length: cols, stride }
        return {
          buffer: this.segments[piece.segment]!,
          at: piece.at + (row - piece.row) * stride,
          floats: rows * stride,
          use: (values) => pack([run], values, into),
        }
      }),
    )
  }

  /** Overwrites a slot. @param values  little-endian float32 at any alignment */
  write(slot: Slot, values: Uint8Array): void {
    const factor = this.#factor(slot)
    if (factor) {
      this.#send(factor.buffer, factor.runs, factor.floats, values)
      return
    }
    for (const { shelf, packed } of this.#shelves(slot)) {
      const { cols, stride } = shelf
      for (const { piece, row, rows } of eachPart(shelf)) {
        const floats = new Float32Array(rows * stride)
        const from = 4 * (packed + row * cols)
        const given = aligned(values.subarray(from, from + 4 * rows * cols))
        spread([{ at: 0, packed: 0, count: rows, length: cols, stride }], given, floats)
        const at = piece.at + (row - piece.row) * stride
        this.#recorder.write(this.segments[piece.segment]!, 4 * at, floats)
      }
    }
  }

  /** Puts a band's updates of raw tensors behind the mean's right factors. @param values  of all */
  writeRaw(raws: readonly Run[], values: Uint8Array): void {
    const end = raws.reduce(
      (sum, { at, count, length, stride }) => Math.max(sum, at + (count / length) * stride),
      0,
    )
    const scratch = this.#padded.subarray(0, end)
    scratch.fill(0)
    for (const { index, start, count, length, stride, at } of raws) {
      const from = 4 * (this.plan.parameters[index]!.raw + start)
      const given = this.#packed.subarray(0, count)
      bytesOf(given).set(values.subarray(from, from + 4 * count))
      spread([{ at, packed: 0, count: count / length, length, stride }], given, scratch)
    }
    this.#recorder.write(this.mean, 4 * this.factors.rightFloats, scratch)
  }

  #send(
    buffer: GPUBuffer,
    runs: readonly (Runs | undefined)[],
    floats: number,
    values: Uint8Array,
  ): void {
    bytesOf(this.#packed).set(values)
    this.#padded.fill(0, 0, floats)
    spread(runs, this.#packed, this.#padded)
    this.#recorder.write(buffer, 0, this.#padded.subarray(0, floats))
  }

  /** Floats of M that hold a slot; padding included. */
  stretches(slot: 'residual' | 'raw'): Stretch[] {
    const found: Stretch[] = []
    for (const { shelf } of this.#shelves(slot)) {
      for (const { segment, at, rows } of shelf.pieces) {
        const last = found.at(-1)
        const count = rows * shelf.stride
        if (last?.[0] === segment && last[1] + last[2] === at) last[2] += count
        else found.push([segment, at, count])
      }
    }
    return found
  }

  #factor(slot: Slot): { buffer: GPUBuffer; runs: Factors['left']; floats: number } | null {
    if (slot === 'residual' || slot === 'raw') return null
    const { left, leftFloats, right, rightFloats } = this.factors
    return slot === 'left'
      ? { buffer: this.left, runs: left, floats: leftFloats }
      : { buffer: this[slot satisfies FactorSlot], runs: right, floats: rightFloats }
  }

  /** The parameters of a slot, in the order of M, and where they begin in the packed values. */
  #shelves(slot: Slot): { shelf: Shelf; packed: number }[] {
    let length = 0
    const all = this.arena.shelves.map((shelf) => {
      const packed = slot === 'raw' ? shelf.parameter.raw : length
      length += shelf.parameter.length
      return { shelf, packed }
    })
    const wanted = all.filter(({ shelf }) => slot === 'residual' || shelf.parameter.rank === 0)
    const place = ({ pieces: [first] }: Shelf) => first!.segment * 2 ** 32 + first!.at
    return wanted.sort((a, b) => place(a.shelf) - place(b.shelf))
  }

  destroy(): void {
    const all = [...this.segments, ...this.#made, this.refused, this.nothing]
    for (const buffer of all) buffer.destroy()
  }
}

/** A parameter's rows in parts of a bounded size. */
function eachPart({ pieces, stride }: Shelf) {
  const most = Math.max(1, Math.floor(MOST_FLOATS / stride))
  return pieces.flatMap((piece) =>
    Array.from({ length: Math.ceil(piece.rows / most) }, (_, i) => {
      const row = piece.row + i * most
      return { piece, row, rows: Math.min(most, piece.row + piece.rows - row) }
    }),
  )
}

function sameShelf(a: Shelf, b: Shelf | undefined): boolean {
  if (!b || a.stride !== b.stride || a.pieces.length !== b.pieces.length) return false
  return a.pieces.every(({ segment, at }, i) => {
    const other = b.pieces[i]!
    return segment === other.segment && at === other.at
  })
}

function aligned(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.slice().buffer)
}
