// How a caller's tensors meet the tiles: in place, a window of their buffer after the other; or
// through a staging buffer, as much at a time as it holds.
import type { GpuTensor } from '../../backend.ts'
import type { Arena } from './arena.ts'
import { HALF, PARAM_WORDS, type Tile, type Tiling, WHOLE } from './tables.ts'

/** Tiles that one dispatch takes: of one segment of M, and of one window of the caller's buffer. */
export interface Band {
  readonly segment: number
  /** tiles */
  readonly first: number
  readonly count: number
  /** the window, in bytes */
  readonly offset: number
  readonly bytes: number
  /** what is copied to the staging buffer, or from it */
  readonly moves: readonly Move[]
  /** raw tensors whose updates have to be there */
  readonly raws: readonly Run[]
}

/** Neighbouring rows of a raw tensor, or of a single row some columns; where their updates lie. */
export interface Run {
  readonly index: number
  /** elements; rows of `length` */
  readonly start: number
  readonly count: number
  readonly length: number
  /** floats; rows are `stride` apart */
  readonly at: number
  readonly stride: number
  /** where the tensor's first element would be, maybe before the first float */
  readonly origin: number
}

/** Neighbouring elements of one tensor, and where they lie in the staging buffer. */
export interface Move {
  readonly index: number
  /** elements */
  readonly start: number
  readonly count: number
  /** bytes */
  readonly at: number
}

export interface Course {
  readonly bands: readonly Band[]
  /** for each band, all parameters, with where their tensors lie in its window */
  readonly params: Uint32Array<ArrayBuffer>
  /** kinds of tensors there are, HALF, WHOLE or neither: each has its entry point in settle.wgsl */
  readonly modes: ReadonlySet<number>
}

export type Kind = NonNullable<GpuTensor['type']>

export function bytesPer(kind: Kind): number {
  return kind === 'f16' ? 2 : 4
}

/** A tensor in one buffer with the others. */
export interface Spot {
  readonly kind: Kind
  /** of its first element, in bytes */
  readonly offset: number
}

/**
 * @param rawRoom  floats of raw tensors' updates that a band may have
 * @param size  of the buffer, in bytes; at least 16
 * @param limit  bytes of a window; and `alignment` of its beginning
 * @throws RangeError  if four rows do not fit a window
 */
export function inPlace(
  tiling: Tiling,
  base: Uint32Array,
  rawRoom: number,
  spots: readonly Spot[],
  size: number,
  limit: number,
  alignment: number,
): Course {
  const maker = new Maker(base)
  let low = 0
  let high = 0
  const close = (span: Span): void => {
    let offset = low - (low % alignment)
    if (size - offset < 16) offset -= alignment // less cannot be bound
    const bytes = Math.max(16, 4 * Math.ceil((high - offset) / 4))
    maker.add({ ...span, offset, bytes, moves: [] }, (index) => {
      const { kind, offset: at } = spots[index]!
      return { kind, at: (at - offset) / bytesPer(kind) }
    })
  }
  walk(tiling, rawRoom, close, (tile, fresh) => {
    const { shelf, row, rows, col, cols } = tile
    const { kind, offset } = spots[shelf.parameter.index]!
    const first = row * shelf.cols + 4 * col
    const last = (row + rows - 1) * shelf.cols + Math.min(shelf.cols, 4 * (col + cols))
    const from = offset + bytesPer(kind) * first
    const to = offset + bytesPer(kind) * last
    const least = fresh ? from : Math.min(low, from)
    const most = fresh ? to : Math.max(high, to)
    if (most - least + 2 * alignment > limit) {
      if (!fresh) return false
      throw new RangeError(
        `parameter ${shelf.parameter.index}: ${rows} rows of ${shelf.cols} columns are more than ` +
          `this device can bind, ${limit} bytes: give it more rows, { shape, rows }`,
      )
    }
    low = least
    high = most
    return true
  })
  return maker.course
}

/** @param bytes  of the staging buffer: `stageBytes` or more */
export function staged(
  tiling: Tiling,
  base: Uint32Array,
  rawRoom: number,
  kinds: readonly Kind[],
  bytes: number,
): Course {
  const maker = new Maker(base)
  let moves: { index: number; start: number; count: number; at: number }[] = []
  let used = 0
  const close = (span: Span): void => {
    const band = moves
    maker.add({ ...span, offset: 0, bytes, moves }, (index) => {
      const kind = kinds[index]!
      const move = band.find((one) => one.index === index)
      return { kind, at: move ? move.at / bytesPer(kind) - move.start : 0 }
    })
  }
  walk(tiling, rawRoom, close, (tile, fresh) => {
    if (fresh) {
      moves = []
      used = 0
    }
    const { shelf, row, col } = tile
    const { index } = shelf.parameter
    if (col > 0 && shelf.rows > 1) return true // its rows came with the tile at their beginning
    const start = row * shelf.cols + 4 * col
    const count = blockOf(tile)
    const last = moves.at(-1)
    const goesOn = last?.index === index
    const at = goesOn ? used : 16 * Math.ceil(used / 16)
    const end = at + bytesPer(kinds[index]!) * count
    if (4 * Math.ceil(end / 4) > bytes && !fresh) return false
    if (goesOn) last!.count += count
    else moves.push({ index, start, count, at })
    used = end
    return true
  })
  return maker.course
}

/** Bytes of a staging buffer for these tiles: all tensors at once, or `most`, or a few rows if those take more. */
export function stageBytes({ tiles }: Tiling, { shelves }: Arena, most: number): number {
  const all = shelves.reduce((sum, { parameter }) => sum + 4 * parameter.length + 16, 0)
  const block = tiles.reduce((largest, tile) => Math.max(largest, 4 * blockOf(tile)), 0)
  return Math.max(Math.min(all, most), 16 * Math.ceil(block / 16))
}

/** Elements that move together with a tile: its rows whole; of a single row, its columns. */
function blockOf({ shelf, rows, col, cols }: Tile): number {
  return shelf.rows > 1 ? rows * shelf.cols : Math.min(4 * cols, shelf.cols - 4 * col)
}

/** Floats that raw tensors' updates take, for at least one tile each, if all of them take `all`. */
export function rawRoomOf({ tiles }: Tiling, all: number, most: number): number {
  const block = tiles.reduce((largest, tile) => Math.max(largest, rawFloats(tile)), 0)
  return Math.max(Math.min(all, most), block)
}

function rawFloats({ shelf, rows, cols }: Tile): number {
  if (shelf.parameter.rank > 0) return 0
  return shelf.rows > 1 ? rows * shelf.stride : 4 * cols
}

type Span = Pick<Band, 'segment' | 'first' | 'count' | 'raws'>

/** Joins tiles to bands, for as long as `fits` says so, raw tensors have room, and the segment is the same. */
function walk(
  { tiles, starts }: Tiling,
  rawRoom: number,
  close: (span: Span) => void,
  fits: (tile: Tile, fresh: boolean) => boolean,
): void {
  let raws: Run[] = []
  let used = 0
  const takes = (tile: Tile, fresh: boolean): boolean => {
    if (fresh) {
      raws = []
      used = 0
    }
    const { shelf, row, col } = tile
    const goesOn = col > 0 && shelf.rows > 1
    const more = goesOn ? 0 : rawFloats(tile)
    if ((!fresh && used + more > rawRoom) || !fits(tile, fresh)) return false
    if (more > 0) {
      const start = row * shelf.cols + 4 * col
      const length = shelf.rows > 1 ? shelf.cols : blockOf(tile)
      const stride = shelf.rows > 1 ? shelf.stride : more
      const origin = used - (shelf.rows > 1 ? row * shelf.stride : 4 * col)
      const { index } = shelf.parameter
      raws.push({ index, start, count: blockOf(tile), length, at: used, stride, origin })
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

class Maker {
  readonly #bands: Band[] = []
  readonly #params: Uint32Array[] = []
  readonly #modes = new Set<number>()
  readonly #base: Uint32Array

  constructor(base: Uint32Array) {
    this.#base = base
  }

  /** @param spotOf  where a parameter's first element lies in the window, in elements: maybe before it */
  add(band: Band, spotOf: (index: number) => { kind: Kind; at: number }): void {
    const words = this.#base.slice()
    for (const { index, origin } of band.raws) {
      words[PARAM_WORDS * index + 8] = this.#base[PARAM_WORDS * index + 8]! + origin / 4
    }
    for (let index = 0; PARAM_WORDS * index < words.length; index++) {
      const { kind, at } = spotOf(index)
      const cols = words[PARAM_WORDS * index + 1]!
      const half = kind === 'f16' ? HALF : 0
      const whole = cols % 4 === 0 && at % (half ? 2 : 4) === 0 ? WHOLE : 0
      words.set([at >>> 0, half | whole], PARAM_WORDS * index + 9)
      this.#modes.add(half || whole)
    }
    this.#bands.push(band)
    this.#params.push(words)
  }

  get course(): Course {
    const length = this.#base.length
    const params = new Uint32Array(length * this.#params.length)
    for (const [i, words] of this.#params.entries()) params.set(words, i * length)
    return { bands: this.#bands, params, modes: this.#modes }
  }
}
