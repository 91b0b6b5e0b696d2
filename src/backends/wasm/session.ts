// One compressor's memory and phases in WebAssembly.
//
// From low to high addresses, the memory holds: the residual arena; a gradient arena, if the caller
// asked for one (these two never move); the tiles, through which the caller's other arrays are
// streamed; the factors; the tables of blocks. After creation, memory grows only when new ranks need
// larger factors. places.ts says where a parameter lies in the residual arena and in the factors.

import type { Dense, Layout, Parameter, Session, Sink, Slot, Tensor } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import { wrongType } from '../../validate.ts'
import {
  BLOCK_WORDS,
  type Block,
  columnBlocksOf,
  type StreamTile,
  startOf,
  tileFloats,
  tilesOf,
  writeBlock,
} from './blocks.ts'
import type { Executor, ExecutorHooks, Unit, Work } from './executor.ts'
import { DWARFED, REFUSED } from './load.ts'
import { type Place, placesOf, type Stretch, stretches } from './places.ts'

const PAGE_BYTES = 1 << 16
const MOST_PAGES = 1 << 16

/** Where kernels find the caller's arrays. */
interface Location {
  /** address of the tiles or of the gradient arena: the kernels' base g or y */
  readonly base: number
  /** units whose blocks have their offsets from `base` */
  readonly work: Work
  /** true: the arrays have to be copied through the tiles; false: they lie in the gradient arena */
  readonly streamed: boolean
}

export class WasmSession implements Session {
  readonly synchronous = true
  readonly #executor: Executor
  /** address of the residual arena */
  readonly #residual: number
  /** address of the gradient arena; 0: there is none */
  readonly #gradients: number
  /** address of the first tile */
  readonly #tile: number
  #layout: Layout
  #places: readonly Place[] = []
  // addresses of the factors' arenas
  #left = 0
  #qHat = 0
  #qLocal = 0
  #qMean = 0
  /** size of a tile */
  #tileFloats = 0
  /** the blocks in each unit's tile */
  #tiles: readonly StreamTile[] = []
  /** all parameters but frozen ones in blocks of rows, with the caller's arrays in tiles */
  #streamed: Work = { units: [], floats: 0 }
  /** the same blocks, with the caller's arrays in the gradient arena */
  #resident: Work = { units: [], floats: 0 }
  /** the matrices in blocks of columns */
  #columns: Work = { units: [], floats: 0 }
  /** view of the whole memory */
  #floats = new Float32Array(0)
  /** views of the gradient arena, one per parameter; null: there is none */
  #lentGradients: readonly Dense[] | null = null
  /** the results of the last `accumulateProject`, one per unit */
  #results: readonly number[] = []
  /**
   * by unit, laid out as its tile: if its result is DWARFED, M as it was before, from which the
   * gradient cannot be subtracted again. Made when first needed, for little of a model does.
   */
  #former: Float32Array[] = []

  /** @throws RangeError  if the model does not fit the 4 GiB that wasm can address */
  constructor(executor: Executor, layout: Layout, resident: boolean) {
    this.#executor = executor
    this.#layout = layout
    this.#residual = align(executor.kernels.heapBase.value)
    const end = align(this.#residual + 4 * placesOf(layout).m)
    this.#gradients = resident ? end : 0
    this.#tile = resident ? align(end + 4 * layout.arenaFloats) : end
    this.#refuse(this.#tile, layout) // before tables are made of a model that is far too large
    this.#arrange(layout)
  }

  get gradients(): readonly Dense[] | null {
    return this.#lentGradients
  }

  rearrange(layout: Layout): void {
    this.#arrange(layout)
    const { parameters } = this.#layout
    this.#layout = layout
    this.#scaleM(({ frozen, index }) => frozen && !parameters[index]!.frozen, 0)
  }

  /** M ← factor · M */
  #scaleM(of: (place: Place) => boolean, factor: number): void {
    for (const { m, rows, wide } of this.#places.filter(of)) {
      this.#executor.kernels.scale(this.#residual + 4 * m, rows * wide, factor)
    }
  }

  /** Assigns addresses to tiles, factors and tables, and writes the tables. */
  #arrange(layout: Layout): void {
    const { all, p, q } = placesOf(layout)
    const floats = Math.ceil(tileFloats(all) / 4) * 4
    const tiles = tilesOf(all, floats)
    const columns = columnBlocksOf(all, this.#executor.threads)
    const left = align(this.#tile + 4 * floats * this.#executor.tiles)
    const qHat = align(left + 4 * p)
    const qLocal = align(qHat + 4 * q)
    const qMean = align(qLocal + 4 * q)
    const tables = align(qMean + 4 * q)
    const copies = this.#gradients ? 2 : 1
    const blocks = tiles.reduce((sum, tile) => sum + copies * tile.length, columns.length)
    this.#reserve(tables + 4 * BLOCK_WORDS * blocks, layout)

    this.#places = all
    this.#left = left
    this.#qHat = qHat
    this.#qLocal = qLocal
    this.#qMean = qMean
    this.#tileFloats = floats
    this.#tiles = tiles
    this.#former = []
    let at = tables
    const writeUnit = (list: readonly Block[], tile: number, inPlace: boolean): Unit => {
      const table = new Int32Array(this.#executor.memory.buffer, at, BLOCK_WORDS * list.length)
      for (const [i, block] of list.entries()) {
        const former = this.#tileAt(tile) + block.at
        const g = inPlace ? block.parameter.offset + block.start : former
        writeBlock(table, i, block, g, !inPlace, former)
      }
      const unit = { table: at, blocks: list.length }
      at += table.byteLength
      return unit
    }
    const inMatrices = layout.matrices.reduce((sum, { length }) => sum + length, 0)
    const workOf = (inPlace: boolean): Work => ({
      units: tiles.map((tile, i) => writeUnit(tile, i, inPlace)),
      floats: inMatrices + layout.rawFloats,
    })
    this.#streamed = workOf(false)
    if (this.#gradients) this.#resident = workOf(true)
    const units = columns.map((block) => writeUnit([block], 0, true))
    this.#columns = { units, floats: inMatrices }
  }

  /** @throws RangeError  if the model needs so many bytes that no memory has them */
  #refuse(bytes: number, { denseFloats }: Layout): void {
    if (bytes <= MOST_PAGES * PAGE_BYTES) return
    throw new RangeError(
      `"shapes": ${denseFloats} floats need ${bytes} bytes, more than the 4 GiB of one ` +
        'WebAssembly memory: share the parameters out among several compressors',
    )
  }

  /** Grows the memory until it has so many bytes. @throws RangeError  if that is impossible */
  #reserve(bytes: number, layout: Layout): void {
    const { memory } = this.#executor
    const pages = Math.ceil(bytes / PAGE_BYTES)
    const missing = pages - memory.buffer.byteLength / PAGE_BYTES
    this.#refuse(bytes, layout)
    if (missing > 0) {
      try {
        memory.grow(missing)
      } catch (cause) {
        throw new RangeError(`"shapes": this host cannot give ${bytes} bytes to WebAssembly`, {
          cause,
        })
      }
    }
    if (missing > 0 || this.#floats.length === 0) this.#renewViews(layout)
  }

  /** Renews the views of the memory: after growth, older ones are detached or too short. */
  #renewViews({ parameters }: Layout): void {
    this.#floats = new Float32Array(this.#executor.memory.buffer)
    if (this.#gradients === 0) return
    const view = ({ offset, length }: Parameter) => this.#view(this.#gradients + 4 * offset, length)
    this.#lentGradients = parameters.map(view)
  }

  check(tensor: unknown, _length: number, name: string): void {
    throw wrongType(name, 'a Float32Array', tensor)
  }

  accumulateProject(tensors: readonly (Tensor | null)[]): boolean {
    const gradients = arraysOf(tensors)
    const { base, work, streamed } = this.#locationOf(gradients)
    // The kernel leaves the former M in the tile, over the gradient if that is there too.
    const before = [this.#left, this.#residual, base, this.#qHat, this.#tile]
    const fill = (i: number) => this.#fill(i, this.#tiles[i]!, gradients)
    const empty = (i: number, result: number) => {
      if (result !== DWARFED) return
      const tile = this.#view(this.#tile + 4 * this.#tileAt(i), this.#tileFloats)
      if (this.#former[i]) this.#former[i].set(tile)
      else this.#former[i] = tile.slice()
    }
    const hooks = streamed ? { fill, empty } : { empty }
    this.#results = this.#executor.run('accumulateProject', before, [], work, hooks)
    if (!this.#results.includes(REFUSED)) return true
    this.withdraw(tensors)
    return false
  }

  withdraw(tensors: readonly (Tensor | null)[]): void {
    const gradients = arraysOf(tensors)
    const { base, streamed } = this.#locationOf(gradients)
    for (const [i, tile] of this.#tiles.entries()) {
      const result = this.#results[i]
      if (result === REFUSED) continue // M is as it was
      const former = result === DWARFED && this.#former[i]!
      if (streamed && !former) this.#fill(i, tile, gradients)
      for (const block of tile) {
        const { parameter, start, rows, cols, at } = block
        let g = streamed ? this.#tileAt(i) + at : parameter.offset + start
        let from = at
        const stride = parameter.wide - parameter.cols + cols
        for (const row of stretches(startOf(block).m, rows, cols, stride)) {
          const m = this.#residual + 4 * row.at
          const { count } = row
          if (former) this.#view(m, count).set(former.subarray(from, from + count))
          else this.#executor.kernels.accumulate(m, base + 4 * g, count, -1)
          g += count
          from += count
        }
      }
    }
  }

  project(): void {
    const before = [this.#left, this.#residual, this.#qHat]
    this.#executor.run('project', before, [], this.#streamed)
  }

  backproject(): void {
    const before = [this.#qLocal, this.#residual, this.#left]
    this.#executor.run('backproject', before, [], this.#columns)
  }

  settle(deflate: boolean, raw: Uint8Array | null, sink: Sink | null): void {
    const [m, p, qLocal] = [this.#residual, this.#left, this.#qLocal]
    if (sink === null) {
      if (deflate) this.#executor.run('residual', [m, p, qLocal], [], this.#streamed)
      return
    }
    const into = arraysOf(sink.into)
    if (!sink.accumulate) {
      for (const { index, frozen } of this.#layout.parameters) if (frozen) into[index]?.fill(0)
    }
    const { base, work, streamed } = this.#locationOf(into)
    const after = [sink.scale, sink.accumulate ? 1 : 0]
    const { singleThread, threads } = this.#executor
    const qMean = this.#qMean
    if (!streamed) {
      if (deflate) this.#executor.run('settle', [base, m, p, qLocal, qMean], after, work)
      else this.#executor.run('reconstruct', [base, p, qMean], after, work)
    } else {
      const tileHooks = this.#tileHooks(sink)
      const write = () => singleThread.run('reconstruct', [base, p, qMean], after, work, tileHooks)
      if (!deflate) write()
      else if (threads === 1)
        singleThread.run('settle', [base, m, p, qLocal, qMean], after, work, tileHooks)
      // This thread writes the updates through its own tile while the others subtract from M. So no
      // tile moves from one core's cache to another's. With two threads this is a third faster than
      // `settle` on both.
      else this.#executor.run('residual', [m, p, qLocal], [], work, { meanwhile: write })
    }
    if (raw) this.#settleRaw(raw, sink)
  }

  /**
   * Hooks that copy matrices between the caller's arrays and the tiles. Skips raw tensors, and those
   * that are not written.
   */
  #tileHooks({ into, accumulate }: Sink): ExecutorHooks {
    const arrays = arraysOf(into)
    const written = (i: number) =>
      this.#tiles[i]!.filter(({ parameter: { rank, index } }) => rank > 0 && arrays[index])
    const empty = (i: number) => this.#empty(i, written(i), arrays)
    return accumulate ? { fill: (i) => this.#fill(i, written(i), arrays), empty } : { empty }
  }

  /**
   * into ← scale · raw, or into ← into + scale · raw. `raw` may be unaligned, so it is copied to a
   * tile.
   */
  #settleRaw(raw: Uint8Array, { into, scale, accumulate }: Sink): void {
    const tile = this.#view(this.#tile, this.#tileFloats)
    const factor = Math.fround(scale) // as in the matrices' kernel
    for (const parameter of this.#layout.raws) {
      const to = arraysOf(into)[parameter.index]
      if (!to) continue
      for (let start = 0; start < parameter.length; start += tile.length) {
        const count = Math.min(tile.length, parameter.length - start)
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
    let to = 0
    for (const slot of slots) {
      for (const { at, count } of this.#parts(slot)) {
        into.set(this.#view(at, count), to)
        to += count
      }
    }
  }

  write(slot: Slot, values: Uint8Array): void {
    let from = 0
    for (const { at, count } of this.#parts(slot)) {
      bytesOf(this.#view(at, count)).set(values.subarray(from, from + 4 * count))
      from += 4 * count
    }
    if (slot === 'residual') this.#scaleM(({ frozen }) => frozen, 0)
  }

  scale(slot: 'residual' | 'raw', factor: number): void {
    this.#scaleM(({ rank, frozen }) => slot === 'residual' || (rank === 0 && !frozen), factor)
  }

  norms(): Float64Array {
    const { kernels } = this.#executor
    // Zeros between rows add nothing, and are so many that each element stays in its lane.
    return Float64Array.from(this.#places, ({ m, rows, wide, frozen }) =>
      frozen ? 0 : kernels.norm(this.#residual + 4 * m, rows * wide),
    )
  }

  dispose(): void {
    this.#executor.release()
  }

  /** The parts of memory that hold a slot's values, in order; `at` is an address. */
  #parts(slot: Slot): Stretch[] {
    if (slot === 'residual' || slot === 'raw') {
      const held = slot === 'raw' ? this.#layout.raws : this.#layout.parameters
      return held.flatMap(({ index, rows, cols }) => {
        const { m, wide } = this.#places[index]!
        return stretches(m, rows, cols, wide).map(inArena(this.#residual))
      })
    }
    const arena = { left: this.#left, qHat: this.#qHat, qLocal: this.#qLocal, qMean: this.#qMean }
    return this.#layout.matrices.flatMap(({ index, rank, rows, cols }) => {
      const { p, q, wide, tall } = this.#places[index]!
      const columns =
        slot === 'left' ? stretches(p, rank, rows, tall) : stretches(q, rank, cols, wide)
      return columns.map(inArena(arena[slot]))
    })
  }

  /**
   * In place if these are the arrays that `gradients` returned, all of them but frozen ones;
   * otherwise through the tiles.
   */
  #locationOf(arrays: readonly (Dense | null)[]): Location {
    const { parameters } = this.#layout
    const areLent = this.#lentGradients?.every(
      ({ buffer, byteOffset }, i) =>
        parameters[i]!.frozen ||
        (arrays[i]?.buffer === buffer && arrays[i].byteOffset === byteOffset),
    )
    return areLent
      ? { base: this.#gradients, work: this.#resident, streamed: false }
      : { base: this.#tile, work: this.#streamed, streamed: true }
  }

  /** Offset of unit i's tile from the first tile, in floats. */
  #tileAt(i: number): number {
    return (i % this.#executor.tiles) * this.#tileFloats
  }

  /** Copies blocks from the caller's arrays into unit i's tile. null: zeros */
  #fill(i: number, blocks: readonly Block[], from: readonly (Dense | null)[]): void {
    const tile = this.#tile / 4 + this.#tileAt(i)
    for (const { parameter, start, rows, cols, at } of blocks) {
      const [array, count] = [from[parameter.index], rows * cols]
      if (array) this.#floats.set(array.subarray(start, start + count), tile + at)
      else this.#floats.fill(0, tile + at, tile + at + count)
    }
  }

  /** Copies blocks from unit i's tile into the caller's arrays. */
  #empty(i: number, blocks: readonly Block[], to: readonly (Dense | null)[]): void {
    const tile = this.#tile + 4 * this.#tileAt(i)
    for (const { parameter, start, rows, cols, at } of blocks) {
      to[parameter.index]!.set(this.#view(tile + 4 * at, rows * cols), start)
    }
  }

  #view(address: number, floats: number): Float32Array {
    return this.#floats.subarray(address / 4, address / 4 + floats)
  }
}

/** The tensors as arrays: `check` has refused all others. */
function arraysOf(tensors: readonly (Tensor | null)[]): readonly (Dense | null)[] {
  return tensors as readonly (Dense | null)[]
}

/** Stretches of the arena at this address, by their own addresses. */
function inArena(arena: number) {
  return ({ at, count }: Stretch): Stretch => ({ at: arena + 4 * at, count })
}

function align(address: number): number {
  return Math.ceil(address / 16) * 16
}
