// The buffers of one session: M, factors, partial sums, and the tables that lead shaders through
// them. Only those of M are as large as the model; they are made once.

import type { Layout, Slot } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import {
  type Arena,
  type Factors,
  layoutArena,
  layoutFactors,
  type MatrixLayout,
  overlaps,
  packRuns,
  type StridedRuns,
  spreadRuns,
} from './arena.ts'
import { type RawRun, rawRoomOf, segmentBands } from './bindings.ts'
import type { CopyJob } from './copy-out.ts'
import { DATA_USAGE, USAGE } from './gpu.ts'
import { Kept, mostFloats } from './kept.ts'
import { type Recorder, uniformTable } from './recorder.ts'
import { BAND, SUM } from './structs.ts'
import { paramWords, type Tiling, tallTiles, tileWords, wideTiles } from './tables.ts'

/** Most that partial sums may take, in bytes. */
const MOST_PART_BYTES = 1 << 26

/** Most floats of raw tensors' updates on the device at a time, unless one tile takes more. */
const MOST_RAW_FLOATS = 1 << 22

/** Floats of M that are packed or spread at a time. */
export const MOST_FLOATS = 1 << 22

/** Tiles of a phase on the device. */
export interface TilingBuffers {
  readonly tiling: Tiling
  readonly tiles: GPUBuffer
  /** one for each segment of M */
  readonly bands: GPUBuffer
  readonly sums: GPUBuffer
  readonly sumCount: number
  /** of all sums */
  readonly sumBand: GPUBuffer
}

/** Neighbouring floats of one segment of M. */
export type FloatRange = [segment: number, first: number, count: number]

type FactorSlot = 'left' | 'qHat' | 'qLocal' | 'qMean'

export class Memory {
  layout!: Layout
  arena!: Arena
  factors!: Factors
  segments: GPUBuffer[] = []
  kept!: Kept
  left!: GPUBuffer
  qHat!: GPUBuffer
  qLocal!: GPUBuffer
  /** behind the factors are raw tensors' updates, those of one band */
  qMean!: GPUBuffer
  rawRoom!: number
  parts!: GPUBuffer
  wide!: TilingBuffers
  tall!: TilingBuffers
  params!: GPUBuffer
  paramWords!: Uint32Array<ArrayBuffer>
  /** bound where nothing is read or written */
  readonly nothing: GPUBuffer
  readonly #recorder: Recorder
  /** buffers to be made anew for other ranks */
  #made: GPUBuffer[] = []
  /** scratch for factors: as they lie here, and as they travel */
  #padded = new Float32Array(0)
  #packed = new Float32Array(0)

  constructor(recorder: Recorder, layout: Layout) {
    this.#recorder = recorder
    this.arrange(layout)
    this.nothing = recorder.gpu.buffer('nothing', 16, USAGE.STORAGE)
  }

  /** Divides M into matrices and raw tensors. @throws RangeError  where the device is too small */
  arrange(layout: Layout): void {
    const { gpu } = this.#recorder
    const limit = 4 * Math.floor(gpu.limit / 16)
    const arena = layoutArena(layout, mostFloats(limit))
    const factors = layoutFactors(layout)
    const { leftFloats, rightFloats } = factors
    const partLimit = Math.min(limit, MOST_PART_BYTES / 4)
    const wide = wideTiles(layout, arena, factors, partLimit)
    const tall = tallTiles(layout, arena, factors, partLimit)
    const partFloats = Math.max(wide.partFloats, tall.partFloats)
    const raws = layout.raws.reduce((sum, { index }) => {
      const { rows, stride } = arena.matrices[index]!
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
    this.layout = layout
    this.arena = arena
    this.factors = factors
    this.left = this.#floats('left', leftFloats)
    this.qHat = this.#floats('qHat', rightFloats)
    this.qLocal = this.#floats('qLocal', rightFloats)
    this.qMean = this.#floats('qMean', rightFloats + rawRoom)
    this.rawRoom = rawRoom
    this.parts = this.#floats('parts', partFloats)
    this.paramWords = paramWords(arena, factors)
    this.params = this.#table('params', this.paramWords)
    this.wide = this.#upload('wide', wide)
    this.tall = this.#upload('tall', tall)
    this.#padded = new Float32Array(Math.max(leftFloats, rightFloats, rawRoom))
    this.#packed = new Float32Array(
      Math.max(layout.leftFloats, layout.rightFloats, Math.min(raws, rawRoom)),
    )
  }

  #upload(name: string, tiling: Tiling): TilingBuffers {
    const bands = segmentBands(tiling).map((band) => ({ ...band, params: 0 }))
    const sumCount = tiling.sums.length / SUM.size
    const sumBand = { first: 0, count: sumCount, params: 0 }
    return {
      tiling,
      tiles: this.#table(`${name} tiles`, tileWords(tiling.tiles)),
      bands: this.#table(`${name} bands`, uniformTable(BAND, bands), USAGE.UNIFORM),
      sums: this.#table(`${name} sums`, tiling.sums),
      sumCount,
      sumBand: this.#table(`${name} sum band`, uniformTable(BAND, [sumBand]), USAGE.UNIFORM),
    }
  }

  #floats(label: string, floats: number): GPUBuffer {
    const buffer = this.#recorder.gpu.buffer(label, 4 * floats, DATA_USAGE)
    this.#made.push(buffer)
    return buffer
  }

  #table(label: string, words: Uint32Array<ArrayBuffer>, usage?: number): GPUBuffer {
    const buffer = this.#recorder.table(label, words, usage)
    this.#made.push(buffer)
    return buffer
  }

  /** Makes the buffers of M, and copies the contents of the former ones. */
  #moveInto(arena: Arena): void {
    const before = this.segments
    const matrices = before.length > 0 ? this.arena.matrices : []
    const same = arena.matrices.every((matrix, i) => sameLayout(matrix, matrices[i]))
    if (same) return
    const { gpu, encoder } = this.#recorder
    const { kept } = this
    this.kept = new Kept(this.#recorder, arena.segments)
    this.segments = arena.segments.map((floats, i) => gpu.buffer(`m ${i}`, 4 * floats, DATA_USAGE))
    for (const [i, matrix] of matrices.entries()) {
      for (const { from, at, to, into, floats } of overlaps(matrix, arena.matrices[i]!)) {
        const [source, target] = [before[from]!, this.segments[to]!]
        encoder.copyBufferToBuffer(source, 4 * at, target, 4 * into, 4 * floats)
      }
    }
    this.#recorder.flush()
    for (const buffer of before) buffer.destroy()
    kept?.destroy()
  }

  /**
   * Copies that put a slot, packed, into `into` from `at` on. Zeros, of frozen parameters, are there
   * at once.
   */
  copyJobs(slot: Slot, into: Float32Array, at: number): CopyJob[] {
    const factor = this.#factor(slot)
    if (factor) {
      const { buffer, runs, floats } = factor
      return [{ buffer, at: 0, floats, use: (values) => packRuns(runs, values, into.subarray(at)) }]
    }
    if (slot === 'residual') {
      let from = at
      for (const { length, frozen } of this.layout.parameters) {
        if (frozen) into.fill(0, from, from + length)
        from += length
      }
    }
    return this.#matricesOf(slot).flatMap(({ matrix, packed }) =>
      eachPart(matrix).map(({ piece, row, rows }): CopyJob => {
        const { cols, stride } = matrix
        const run = { at: 0, packed: at + packed + row * cols, count: rows, length: cols, stride }
        return {
          buffer: this.segments[piece.segment]!,
          at: piece.at + (row - piece.row) * stride,
          floats: rows * stride,
          use: (values) => packRuns([run], values, into),
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
    for (const { matrix, packed } of this.#matricesOf(slot)) {
      const { cols, stride } = matrix
      for (const { piece, row, rows } of eachPart(matrix)) {
        const floats = new Float32Array(rows * stride)
        const from = 4 * (packed + row * cols)
        const given = aligned(values.subarray(from, from + 4 * rows * cols))
        spreadRuns([{ at: 0, packed: 0, count: rows, length: cols, stride }], given, floats)
        const at = piece.at + (row - piece.row) * stride
        this.#recorder.write(this.segments[piece.segment]!, 4 * at, floats)
      }
    }
  }

  /** Writes a band's raw updates behind qMean's factors. @param values  of all raw tensors */
  writeRaw(raws: readonly RawRun[], values: Uint8Array): void {
    const end = raws.reduce(
      (sum, { at, count, length, stride }) => Math.max(sum, at + (count / length) * stride),
      0,
    )
    const scratch = this.#padded.subarray(0, end)
    scratch.fill(0)
    for (const { index, start, count, length, stride, at } of raws) {
      const from = 4 * (this.layout.parameters[index]!.raw + start)
      const given = this.#packed.subarray(0, count)
      bytesOf(given).set(values.subarray(from, from + 4 * count))
      spreadRuns([{ at, packed: 0, count: count / length, length, stride }], given, scratch)
    }
    this.#recorder.write(this.qMean, 4 * this.factors.rightFloats, scratch)
  }

  #send(
    buffer: GPUBuffer,
    runs: readonly (StridedRuns | undefined)[],
    floats: number,
    values: Uint8Array,
  ): void {
    bytesOf(this.#packed).set(values)
    this.#padded.fill(0, 0, floats)
    spreadRuns(runs, this.#packed, this.#padded)
    this.#recorder.write(buffer, 0, this.#padded.subarray(0, floats))
  }

  /** The floats of M that hold a slot, with their padding. */
  ranges(slot: 'residual' | 'raw'): FloatRange[] {
    const found: FloatRange[] = []
    for (const { matrix } of this.#matricesOf(slot)) {
      for (const { segment, at, rows } of matrix.pieces) {
        const last = found.at(-1)
        const count = rows * matrix.stride
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

  /** The parameters of a slot that have an M, in the order of M, and where they begin in the packed values. */
  #matricesOf(slot: Slot): { matrix: MatrixLayout; packed: number }[] {
    let length = 0
    const all = this.arena.matrices.map((matrix) => {
      const packed = slot === 'raw' ? matrix.parameter.raw : length
      length += matrix.parameter.length
      return { matrix, packed }
    })
    const wanted = all.filter(({ matrix: { parameter } }) => {
      return !parameter.frozen && (slot === 'residual' || parameter.rank === 0)
    })
    const place = ({ pieces: [first] }: MatrixLayout) => first!.segment * 2 ** 32 + first!.at
    return wanted.sort((a, b) => place(a.matrix) - place(b.matrix))
  }

  destroy(): void {
    for (const buffer of [...this.segments, ...this.#made, this.nothing]) buffer.destroy()
    this.kept.destroy()
  }
}

/** Cuts a parameter's rows into parts of MOST_FLOATS at most. */
function eachPart({ pieces, stride }: MatrixLayout) {
  const most = Math.max(1, Math.floor(MOST_FLOATS / stride))
  return pieces.flatMap((piece) =>
    Array.from({ length: Math.ceil(piece.rows / most) }, (_, i) => {
      const row = piece.row + i * most
      return { piece, row, rows: Math.min(most, piece.row + piece.rows - row) }
    }),
  )
}

function sameLayout(a: MatrixLayout, b: MatrixLayout | undefined): boolean {
  if (!b || a.stride !== b.stride || a.pieces.length !== b.pieces.length) return false
  return a.pieces.every(({ segment, at }, i) => {
    const other = b.pieces[i]!
    return segment === other.segment && at === other.at
  })
}

function aligned(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.slice().buffer)
}
