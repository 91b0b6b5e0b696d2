// Matches parameters with their updates: tiles for shaders/momentum.wgsl, and the windows that one
// dispatch binds, of callers' buffers or of staging buffers.
import type { StagedCopy } from './bindings.ts'
import { MOMENTUM_TILE, pack } from './structs.ts'

/** Floats of a tile. */
const TILE_FLOATS = 4096

/** Where a tensor is. */
export interface BufferRef {
  /** number of its buffer; null: it goes through a staging buffer */
  readonly buffer: number | null
  /** of its first float, in bytes; none in a staging buffer */
  readonly offset: number
}

export interface RefPair {
  readonly x: BufferRef
  readonly g: BufferRef
}

/** A part of a buffer, in bytes. */
export interface Window {
  readonly buffer: number | null
  readonly offset: number
  readonly bytes: number
  /** to the staging buffer, and for parameters back from it */
  readonly copies: readonly StagedCopy[]
}

/** Tiles of one dispatch. */
export interface OptimizerBand {
  /** number of the momentum's buffer */
  readonly segment: number
  readonly first: number
  readonly count: number
  readonly x: Window
  readonly g: Window
}

export interface OptimizerBindings {
  readonly bands: readonly OptimizerBand[]
  /** the tiles of all bands, as the shader reads them */
  readonly table: Uint32Array<ArrayBuffer>
}

/** Neighbouring floats of one parameter: where they lie in what is bound of x, g and m. */
interface MomentumTile {
  readonly x: number
  readonly g: number
  readonly m: number
  readonly length: number
}

/** In bytes. */
export interface BindingLimits {
  /** most of a window, and what its beginning is a multiple of */
  readonly limit: number
  readonly alignment: number
  /** of each staging buffer: room for all tensors, or for a tile or more */
  readonly stage: number
  /** of one of the momentum's buffers */
  readonly segment: number
}

/**
 * One band for each pair of buffers, or more where one of them, or the momentum, has to be bound in
 * parts. Momentum is flat: one parameter after another, in order.
 *
 * @param lengths  floats
 * @param pairs  null: this parameter is left alone
 */
export function bindPairs(
  lengths: readonly number[],
  pairs: readonly (RefPair | null)[],
  { limit, alignment, stage, segment: segmentBytes }: BindingLimits,
): OptimizerBindings {
  const bands: OptimizerBand[] = []
  const all: MomentumTile[] = []
  const segmentFloats = segmentBytes / 4
  const reach = ({ buffer }: BufferRef) =>
    buffer === null
      ? new WindowBuilder(null, stage, 1)
      : new WindowBuilder(buffer, limit, alignment)
  let tiles: MomentumTile[] = []
  let [x, g] = [new WindowBuilder(null, 0, 1), new WindowBuilder(null, 0, 1)] // without room
  let [key, segment] = ['', 0]
  const close = () => {
    if (tiles.length === 0) return
    const first = all.length
    for (const tile of tiles) {
      all.push({ ...tile, x: (tile.x - x.low) / 4, g: (tile.g - g.low) / 4 })
    }
    bands.push({ segment, first, count: tiles.length, x: x.window, g: g.window })
    tiles = []
  }
  for (const { index, at } of byBuffers(lengths, pairs)) {
    const [length, pair] = [lengths[index]!, pairs[index]!]
    for (let start = 0; start < length; ) {
      const within = Math.floor((at + start) / segmentFloats)
      const rest = (within + 1) * segmentFloats - at - start
      const count = Math.min(TILE_FLOATS, length - start, rest)
      const now = `${pair.x.buffer} ${pair.g.buffer} ${within}`
      const fits = x.has(pair.x, start, count) && g.has(pair.g, start, count)
      if (now !== key || !fits) {
        close()
        ;[x, g] = [reach(pair.x), reach(pair.g)]
        key = now
        segment = within
      }
      tiles.push({
        x: x.take(pair.x, index, start, count),
        g: g.take(pair.g, index, start, count),
        m: at + start - within * segmentFloats,
        length: count,
      })
      start += count
    }
  }
  close()
  return { bands, table: pack(MOMENTUM_TILE, all) }
}

/** Orders parameters by their buffers, and says where the momentum of each begins. */
function byBuffers(lengths: readonly number[], pairs: readonly (RefPair | null)[]) {
  const groups = new Map<string, { index: number; at: number }[]>()
  let at = 0
  for (const [index, pair] of pairs.entries()) {
    const key = pair && `${pair.x.buffer} ${pair.g.buffer}`
    const group = key && groups.get(key)
    if (group) group.push({ index, at })
    else if (key) groups.set(key, [{ index, at }])
    at += lengths[index]!
  }
  return [...groups.values()].flat()
}

/** The window of one buffer, as it grows: callers' tensors where they are, staged ones one after another. */
class WindowBuilder {
  readonly #buffer: number | null
  readonly #most: number
  readonly #alignment: number
  readonly #copies: { index: number; start: number; count: number; at: number }[] = []
  #low: number | null = null
  #high = 0

  constructor(buffer: number | null, most: number, alignment: number) {
    this.#buffer = buffer
    this.#most = most
    this.#alignment = alignment
  }

  get low(): number {
    return this.#low ?? 0
  }

  get window(): Window {
    const { low } = this
    return { buffer: this.#buffer, offset: low, bytes: this.#high - low, copies: this.#copies }
  }

  #with(ref: BufferRef, start: number, count: number) {
    const at = ref.buffer === null ? this.#high : ref.offset + 4 * start
    const low = Math.min(this.#low ?? at, at - (at % this.#alignment))
    return { at, low, high: Math.max(this.#high, at + 4 * count) }
  }

  /** Whether there is room for more floats of a tensor. */
  has(ref: BufferRef, start: number, count: number): boolean {
    const { low, high } = this.#with(ref, start, count)
    return high - low <= this.#most
  }

  /** Widens the window to hold more floats of a tensor; returns where they are, in bytes. */
  take(ref: BufferRef, index: number, start: number, count: number): number {
    const { at, low, high } = this.#with(ref, start, count)
    this.#low = low
    this.#high = high
    if (ref.buffer !== null) return at
    const last = this.#copies.at(-1)
    if (last?.index === index && last.start + last.count === start) last.count += count
    else this.#copies.push({ index, start, count, at })
    return at
  }
}
