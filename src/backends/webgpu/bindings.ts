// Matches a caller's tensors with tiles. Tensors are bound in place, one window of their buffer after
// another, or go through a staging buffer, as much at a time as it holds.
import type { GpuTensor } from '../../backend.ts'
import type { Arena } from './arena.ts'
import { ALIGNED, F16, NONE, PARAM } from './structs.ts'
import type { Tile, Tiling } from './tables.ts'

/** The tiles of one dispatch. They share a segment of M, and a window of the caller's buffer. */
export interface Band {
  /** as many as there are: of frozen parameters, which have no M */
  readonly segment: number
  /** tiles */
  readonly first: number
  readonly count: number
  /** the window, in bytes */
  readonly offset: number
  readonly bytes: number
  /** to the staging buffer, or from it */
  readonly copies: readonly StagedCopy[]
  /** raw tensors whose updates have to be there */
  readonly raws: readonly RawRun[]
}

/** Neighbouring rows of a raw tensor, or some columns of its only row; and where their updates lie. */
export interface RawRun {
  readonly index: number
  /** elements; rows of `length` */
  readonly start: number
  readonly count: number
  readonly length: number
  /** floats; rows are `stride` apart */
  readonly at: number
  readonly stride: number
  /** where the tensor's first element would be: below 0 if the run begins later */
  readonly origin: number
}

/** Neighbouring elements of one tensor, and where they lie in the staging buffer. */
export interface StagedCopy {
  readonly index: number
  /** elements */
  readonly start: number
  readonly count: number
  /** bytes */
  readonly at: number
}

export interface Bindings {
  readonly bands: readonly Band[]
  /** for each band one PARAM a parameter, which says where its tensor lies in the window */
  readonly table: Uint32Array<ArrayBuffer>
  /** F16, ALIGNED or 0, for each kind of tensor there is; settle.wgsl has an entry point a kind */
  readonly modes: ReadonlySet<number>
}

export type TensorType = NonNullable<GpuTensor['type']>

export function bytesPer(kind: TensorType): number {
  return kind === 'f16' ? 2 : 4
}

/** A tensor in one buffer with the others. */
export interface TensorRef {
  readonly kind: TensorType
  /** of its first element, in bytes */
  readonly offset: number
}

/**
 * Binds tensors where they are.
 *
 * @param refs  null: there is no tensor
 * @param base  one PARAM a parameter, without the fields that depend on tensors
 * @param rawRoom  floats of raw tensors' updates that a band may have
 * @param size  bytes of the buffer; at least 16
 * @param limit  most bytes of a window, whose offset is a multiple of `alignment`
 * @throws RangeError  if four rows do not fit a window
 */
export function inPlace(
  tiling: Tiling,
  base: Uint32Array,
  rawRoom: number,
  refs: readonly (TensorRef | null)[],
  size: number,
  limit: number,
  alignment: number,
): Bindings {
  const builder = new BindingsBuilder(base)
  let low = size // and no tensor
  let high = 0
  const close = (span: Span): void => {
    if (high === 0) low = 0
    let offset = low - (low % alignment)
    if (size - offset < 16) offset -= alignment // less cannot be bound
    const bytes = Math.max(16, 4 * Math.ceil((high - offset) / 4))
    builder.add({ ...span, offset, bytes, copies: [] }, (index) => {
      const ref = refs[index]
      if (!ref) return null
      const { kind, offset: at } = ref
      return { kind, at: (at - offset) / bytesPer(kind) }
    })
  }
  cutIntoBands(tiling, rawRoom, close, (tile, fresh) => {
    if (fresh) {
      low = size
      high = 0
    }
    const { matrix, row, rows, col, cols } = tile
    const ref = refs[matrix.parameter.index]
    if (!ref) return true
    const { kind, offset } = ref
    const first = row * matrix.cols + 4 * col
    const last = (row + rows - 1) * matrix.cols + Math.min(matrix.cols, 4 * (col + cols))
    const from = offset + bytesPer(kind) * first
    const to = offset + bytesPer(kind) * last
    const least = Math.min(low, from)
    const most = Math.max(high, to)
    if (most - least + 2 * alignment > limit) {
      if (!fresh) return false
      throw new RangeError(
        `parameter ${matrix.parameter.index}: ${rows} rows of ${matrix.cols} columns are more than ` +
          `this device can bind, ${limit} bytes: give it more rows, { shape, rows }`,
      )
    }
    low = least
    high = most
    return true
  })
  return builder.bindings
}

/** Sends tensors through a staging buffer. @param bytes  its size: `stageBytes` or more */
export function staged(
  tiling: Tiling,
  base: Uint32Array,
  rawRoom: number,
  refs: readonly (TensorRef | null)[],
  bytes: number,
): Bindings {
  const builder = new BindingsBuilder(base)
  let copies: { index: number; start: number; count: number; at: number }[] = []
  let used = 0
  const close = (span: Span): void => {
    const band = copies
    builder.add({ ...span, offset: 0, bytes, copies }, (index) => {
      const ref = refs[index]
      if (!ref) return null
      const { kind } = ref
      const copy = band.find((one) => one.index === index)
      return { kind, at: copy ? copy.at / bytesPer(kind) - copy.start : 0 }
    })
  }
  cutIntoBands(tiling, rawRoom, close, (tile, fresh) => {
    if (fresh) {
      copies = []
      used = 0
    }
    const { matrix, row, col } = tile
    const { index } = matrix.parameter
    const ref = refs[index]
    if (!ref) return true
    if (col > 0 && matrix.rows > 1) return true // its rows came with the tile at their beginning
    const start = row * matrix.cols + 4 * col
    const count = copyLength(tile)
    const last = copies.at(-1)
    const continues = last?.index === index
    const at = continues ? used : 16 * Math.ceil(used / 16)
    const end = at + bytesPer(ref.kind) * count
    if (4 * Math.ceil(end / 4) > bytes && !fresh) return false
    if (continues) last!.count += count
    else copies.push({ index, start, count, at })
    used = end
    return true
  })
  return builder.bindings
}

/** A band for each segment of M, without a caller's tensors. */
export function segmentBands({ starts }: Tiling): Band[] {
  return starts.slice(1, -1).map((end, segment) => {
    const first = starts[segment]!
    return { segment, first, count: end - first, offset: 0, bytes: 16, copies: [], raws: [] }
  })
}

/** Bytes of a staging buffer: enough for all tensors, but at most `most`, unless one tile takes more. */
export function stageBytes({ tiles }: Tiling, { matrices }: Arena, most: number): number {
  const all = matrices.reduce((sum, { parameter }) => sum + 4 * parameter.length + 16, 0)
  const block = tiles.reduce((largest, tile) => Math.max(largest, 4 * copyLength(tile)), 0)
  return Math.max(Math.min(all, most), 16 * Math.ceil(block / 16))
}

/** Elements that are copied for a tile: its whole rows, or its columns if the matrix is a single row. */
function copyLength({ matrix, rows, col, cols }: Tile): number {
  return matrix.rows > 1 ? rows * matrix.cols : Math.min(4 * cols, matrix.cols - 4 * col)
}

/** Floats for raw tensors' updates: `all`, but at most `most`, unless one tile takes more. */
export function rawRoomOf({ tiles }: Tiling, all: number, most: number): number {
  const block = tiles.reduce((largest, tile) => Math.max(largest, rawFloats(tile)), 0)
  return Math.max(Math.min(all, most), block)
}

function rawFloats({ matrix, rows, cols }: Tile): number {
  if (matrix.parameter.rank > 0 || matrix.parameter.frozen) return 0
  return matrix.rows > 1 ? rows * matrix.stride : 4 * cols
}

type Span = Pick<Band, 'segment' | 'first' | 'count' | 'raws'>

/** Joins tiles to bands. One ends where `fits` says no, raw tensors lack room, or the segment does. */
function cutIntoBands(
  { tiles, starts }: Tiling,
  rawRoom: number,
  close: (span: Span) => void,
  fits: (tile: Tile, fresh: boolean) => boolean,
): void {
  let raws: RawRun[] = []
  let used = 0
  const takes = (tile: Tile, fresh: boolean): boolean => {
    if (fresh) {
      raws = []
      used = 0
    }
    const { matrix, row, col } = tile
    const continues = col > 0 && matrix.rows > 1
    const more = continues ? 0 : rawFloats(tile)
    if ((!fresh && used + more > rawRoom) || !fits(tile, fresh)) return false
    if (more > 0) {
      const start = row * matrix.cols + 4 * col
      const length = matrix.rows > 1 ? matrix.cols : copyLength(tile)
      const stride = matrix.rows > 1 ? matrix.stride : more
      const origin = used - (matrix.rows > 1 ? row * matrix.stride : 4 * col)
      const { index } = matrix.parameter
      raws.push({ index, start, count: copyLength(tile), length, at: used, stride, origin })
      used += more
    }
    return true
  }
  for (let segment = 0; segment + 1 < starts.length; segment++) {
    const end = starts[segment + 1]!
    let first = starts[segment]!
    for (let i = first; i < end; i++) {
      if (takes(tiles[i]!, i === first)) continue
      close({ segment, first, count: i - first, raws })
      first = i
      takes(tiles[i]!, true)
    }
    if (first < end) close({ segment, first, count: end - first, raws })
  }
}

class BindingsBuilder {
  readonly #bands: Band[] = []
  readonly #params: Uint32Array[] = []
  readonly #modes = new Set<number>()
  readonly #base: Uint32Array

  constructor(base: Uint32Array) {
    this.#base = base
  }

  /**
   * @param refOf  finds a parameter's first element, in elements from the window: below 0 if before
   *   it; null: there is no tensor
   */
  add(band: Band, refOf: (index: number) => { kind: TensorType; at: number } | null): void {
    const words = this.#base.slice()
    const { size, offset } = PARAM
    for (const { index, origin } of band.raws) {
      const raw = size * index + offset.raw
      words[raw] = this.#base[raw]! + origin / 4
    }
    for (let index = 0; size * index < words.length; index++) {
      const ref = refOf(index)
      if (!ref) {
        words[size * index + offset.tensor] = NONE
        words[size * index + offset.mode] = ALIGNED // one entry point has to settle its M
        this.#modes.add(ALIGNED)
        continue
      }
      const { kind, at } = ref
      const cols = words[size * index + offset.cols]!
      const f16 = kind === 'f16' ? F16 : 0
      const aligned = cols % 4 === 0 && at % (f16 ? 2 : 4) === 0 ? ALIGNED : 0
      words[size * index + offset.at] = at // below 0 it wraps around, as sums in shaders do
      words[size * index + offset.mode] = f16 | aligned
      this.#modes.add(f16 || aligned)
    }
    this.#bands.push(band)
    this.#params.push(words)
  }

  get bindings(): Bindings {
    const length = this.#base.length
    const table = new Uint32Array(length * this.#params.length)
    for (const [i, words] of this.#params.entries()) table.set(words, i * length)
    return { bands: this.#bands, table, modes: this.#modes }
  }
}
