// The interface of a library in the page: the products of one layer's matrix with its factors, on
// the GPU.
import type { Factor, Operation } from '../../peers/peer.ts'

/** M is rows × cols, by row; P is rows × rank; Q is cols × rank. */
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
  /**
   * Computes the product so many times and discards the results. Resolves when all of it has been
   * submitted.
   */
  readonly run: (times: number) => Promise<unknown>
  /** The result of one more run. */
  readonly read: () => Promise<Float32Array>
  /** the result of M·Q and Mᵀ·P is rank × length */
  readonly byColumn: boolean
  /** the way, if there are several */
  readonly note?: string
}

export interface Prepared {
  /** all ways that may be the fastest */
  readonly products: Readonly<Record<Operation, readonly Product[]>>
  dispose(): void
}

export interface Library {
  /** the device that it computes on */
  readonly device: GPUDevice
  /** Resolves when the operands lie in the device's memory. */
  prepare(operands: Operands): Promise<Prepared>
}
