// What a library must do in the page: the products of one layer's matrix with its factors, on the GPU.
import type { Factor, Operation } from '../../peers/peer.ts'

/** M rows × cols by rows, P rows × rank, Q cols × rank. */
export interface Operands {
  readonly rows: number
  readonly cols: number
  readonly rank: number
  readonly m: Float32Array
  readonly p: Factor
  readonly q: Factor
}

/** One way to compute a product. */
export interface Product {
  /** Computes it so often, throwing it away, and comes back when all of it has been submitted. */
  readonly run: (times: number) => Promise<unknown>
  /** The result of one more run. */
  readonly read: () => Promise<Float32Array>
  /** the result of M·Q and Mᵀ·P is rank × length */
  readonly byColumn: boolean
  /** how, if there are others */
  readonly note?: string
}

export interface Prepared {
  /** all ways that may be the fastest */
  readonly products: Readonly<Record<Operation, readonly Product[]>>
  dispose(): void
}

export interface Library {
  /** that it computes on */
  readonly device: GPUDevice
  /** The operands lie in the device's memory when it comes back. */
  prepare(operands: Operands): Promise<Prepared>
}
