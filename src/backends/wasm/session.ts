// One compressor's memory and phases in WebAssembly.
//
// The memory, from low to high addresses: the residual arena, which stays where it is; the tile,
// through which callers' arrays are streamed; the factors; the tables of blocks. Nothing is
// allocated after creation, except where new ranks need larger factors.
import { bytesOf } from '../../bytes.ts'
import type { Dense, Plan, Session, Sink, Slot } from '../../seam.ts'
import { BLOCK_WORDS, type Block, type Tile, tilesOf, wholeMatrices, writeBlock } from './blocks.ts'
import { type Exports, instantiate } from './load.ts'

/** 128 KiB: a tile and the part of M under it fit a core's second cache together. */
const TILE_FLOATS = 1 << 15

const PAGE_BYTES = 1 << 16
const MOST_PAGES = 1 << 16

/** @throws RangeError  if the model does not fit the 4 GiB that wasm can address */
export function createSession(module: WebAssembly.Module, plan: Plan): Session {
  return new WasmSession(module, plan)
}

/** A tile with its table of blocks in wasm memory. */
interface Loaded {
  readonly tile: Tile
  readonly table: number
  /** those of its blocks that belong to matrices */
  readonly compressed: Tile
}

class WasmSession implements Session {
  readonly synchronous = true
  readonly #memory: WebAssembly.Memory
  readonly #kernels: Exports
  readonly #residual: number
  readonly #tile: number
  #plan: Plan
  #left = 0
  #query = 0
  #own = 0
  #mean = 0
  #matrices = 0
  #tiles: Loaded[] = []
  #floats: Float32Array

  constructor(module: WebAssembly.Module, plan: Plan) {
    this.#plan = plan
    this.#memory = new WebAssembly.Memory({ initial: 1 })
    this.#kernels = instantiate(module, this.#memory)
    this.#residual = align(this.#kernels.heapBase.value)
    this.#tile = align(this.#residual + 4 * plan.arenaFloats)
    this.#floats = new Float32Array(this.#memory.buffer)
    this.#arrange(plan)
  }

  replan(plan: Plan): void {
    this.#arrange(plan)
    this.#plan = plan
  }

  /** Gives the factors and tables their places, and writes the tables. */
  #arrange(plan: Plan): void {
    const tiles = tilesOf(plan, TILE_FLOATS)
    const left = align(this.#tile + 4 * TILE_FLOATS)
    const query = align(left + 4 * plan.leftFloats)
    const own = align(query + 4 * plan.rightFloats)
    const mean = align(own + 4 * plan.rightFloats)
    const matrices = align(mean + 4 * plan.rightFloats)
    const blocks = tiles.reduce((sum, tile) => sum + tile.length, plan.matrices.length)
    const end = matrices + 4 * BLOCK_WORDS * blocks
    this.#reserve(end, plan)

    this.#left = left
    this.#query = query
    this.#own = own
    this.#mean = mean
    this.#matrices = matrices
    const write = (at: number, list: readonly Block[]): number => {
      const table = new Int32Array(this.#memory.buffer, at, BLOCK_WORDS * list.length)
      for (const [i, block] of list.entries()) writeBlock(table, i, block)
      return at + table.byteLength
    }
    let at = write(matrices, wholeMatrices(plan))
    this.#tiles = tiles.map((tile) => {
      const table = at
      at = write(at, tile)
      return { tile, table, compressed: tile.filter(({ parameter }) => parameter.rank > 0) }
    })
  }

  #reserve(bytes: number, plan: Plan): void {
    const pages = Math.ceil(bytes / PAGE_BYTES)
    const missing = pages - this.#memory.buffer.byteLength / PAGE_BYTES
    if (pages > MOST_PAGES) {
      throw new RangeError(
        `"shapes": ${plan.denseFloats} floats need ${bytes} bytes, more than the 4 GiB of one ` +
          'WebAssembly memory: share the parameters out among several compressors',
      )
    }
    if (missing > 0) {
      try {
        this.#memory.grow(missing)
      } catch (cause) {
        throw new RangeError(`"shapes": this host cannot give ${bytes} bytes to WebAssembly`, {
          cause,
        })
      }
      this.#floats = new Float32Array(this.#memory.buffer) // the old view is detached now
    }
  }

  accumulateProject(gradients: readonly Dense[]): boolean {
    for (const [i, { tile, table }] of this.#tiles.entries()) {
      for (const block of tile) this.#fill(block, gradients)
      const done = this.#kernels.accumulateProject(
        this.#left,
        this.#residual,
        this.#tile,
        this.#query,
        table,
        tile.length,
      )
      if (done < tile.length) {
        this.#subtract(tile.slice(0, done))
        for (const { tile } of this.#tiles.slice(0, i)) this.#withdrawTile(tile, gradients)
        return false
      }
    }
    return true
  }

  withdraw(gradients: readonly Dense[]): void {
    for (const { tile } of this.#tiles) this.#withdrawTile(tile, gradients)
  }

  #withdrawTile(tile: Tile, gradients: readonly Dense[]): void {
    for (const block of tile) this.#fill(block, gradients)
    this.#subtract(tile)
  }

  /** M ← M − tile, for these blocks. */
  #subtract(blocks: readonly Block[]): void {
    for (const { parameter, start, rows, cols, at } of blocks) {
      const m = this.#residual + 4 * (parameter.offset + start)
      this.#kernels.accumulate(m, this.#tile + 4 * at, rows * cols, -1)
    }
  }

  project(): void {
    const count = this.#plan.matrices.length
    this.#kernels.project(this.#left, this.#residual, this.#query, this.#matrices, count)
  }

  backproject(): void {
    const count = this.#plan.matrices.length
    this.#kernels.backproject(this.#own, this.#residual, this.#left, this.#matrices, count)
  }

  settle(deflate: boolean, raw: Uint8Array | null, sink: Sink | null): void {
    if (sink === null) {
      if (!deflate) return
      const count = this.#plan.matrices.length
      this.#kernels.residual(this.#residual, this.#left, this.#own, this.#matrices, count)
      return
    }
    for (const loaded of this.#tiles) this.#settleTile(loaded, deflate, sink)
    if (raw) this.#settleRaw(raw, sink)
  }

  #settleTile({ tile, table, compressed }: Loaded, deflate: boolean, sink: Sink): void {
    if (compressed.length === 0) return
    if (sink.accumulate) for (const block of compressed) this.#fill(block, sink.into)
    const { scale } = sink
    const add = sink.accumulate ? 1 : 0
    const [y, m, p] = [this.#tile, this.#residual, this.#left]
    if (deflate) {
      this.#kernels.settle(y, m, p, this.#own, this.#mean, table, tile.length, scale, add)
    } else {
      this.#kernels.reconstruct(y, p, this.#mean, table, tile.length, scale, add)
    }
    for (const block of compressed) this.#empty(block, sink.into)
  }

  /** into ← scale · raw, or into ← into + scale · raw; through the tile, for alignment. */
  #settleRaw(raw: Uint8Array, { into, scale, accumulate }: Sink): void {
    const tile = this.#view(this.#tile, TILE_FLOATS)
    const factor = Math.fround(scale) // as in the matrices' kernel
    for (const parameter of this.#plan.raws) {
      const to = into[parameter.index]!
      for (let start = 0; start < parameter.length; start += TILE_FLOATS) {
        const count = Math.min(TILE_FLOATS, parameter.length - start)
        const from = 4 * (parameter.raw + start)
        bytesOf(tile).set(raw.subarray(from, from + 4 * count))
        if (factor === 1 && !accumulate) {
          to.set(tile.subarray(0, count), start)
          continue
        }
        for (let i = 0; i < count; i++) {
          const update = Math.fround(factor * tile[i]!)
          to[start + i] = accumulate ? to[start + i]! + update : update
        }
      }
    }
  }

  read(slots: readonly Slot[], into: Float32Array): void {
    let at = 0
    for (const slot of slots) {
      for (const [start, count] of this.#parts(slot)) {
        into.set(this.#view(start, count), at)
        at += count
      }
    }
  }

  write(slot: Slot, values: Uint8Array): void {
    let at = 0
    for (const [start, count] of this.#parts(slot)) {
      bytesOf(this.#view(start, count)).set(values.subarray(at, at + 4 * count))
      at += 4 * count
    }
  }

  scale(slot: Slot, factor: number): void {
    for (const [start, count] of this.#parts(slot)) this.#kernels.scale(start, count, factor)
  }

  norm(): number {
    return this.#kernels.norm(this.#residual, this.#plan.arenaFloats) // padding is zero
  }

  dispose(): void {
    // The memory goes with the session; nothing outside it holds a view.
  }

  /** Where a slot's values lie, in order: [address, floats]. */
  #parts(slot: Slot): [number, number][] {
    const { parameters, raws, leftFloats, rightFloats } = this.#plan
    switch (slot) {
      case 'residual':
        return parameters.map(({ offset, length }) => [this.#residual + 4 * offset, length])
      case 'raw':
        return raws.map(({ offset, length }) => [this.#residual + 4 * offset, length])
      case 'left':
        return [[this.#left, leftFloats]]
      case 'query':
        return [[this.#query, rightFloats]]
      case 'own':
        return [[this.#own, rightFloats]]
      case 'mean':
        return [[this.#mean, rightFloats]]
    }
  }

  /** Copies a block of the caller's arrays into the tile. */
  #fill({ parameter, start, rows, cols, at }: Block, from: readonly Dense[]): void {
    const part = from[parameter.index]!.subarray(start, start + rows * cols)
    this.#floats.set(part, this.#tile / 4 + at)
  }

  /** Copies a block of the tile into the caller's arrays. */
  #empty({ parameter, start, rows, cols, at }: Block, to: readonly Dense[]): void {
    to[parameter.index]!.set(this.#view(this.#tile + 4 * at, rows * cols), start)
  }

  #view(address: number, floats: number): Float32Array {
    return this.#floats.subarray(address / 4, address / 4 + floats)
  }
}

function align(address: number): number {
  return Math.ceil(address / 16) * 16
}
