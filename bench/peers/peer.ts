// The interface of a peer: three products, with M as it lies in a model and factors in the order
// that suits the peer.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { Unavailable } from '../tools.ts'

export const OPERATIONS = ['M·Q', 'Mᵀ·P', 'P·Qᵀ'] as const

export type Operation = (typeof OPERATIONS)[number]

/**
 * A factor in both orders: `rows` is length × rank; `columns` is rank × length, the package's
 * order.
 */
export interface Factor {
  readonly rows: Float32Array
  readonly columns: Float32Array
}

export interface Product {
  /** Computes the product and discards it; a promise is part of the work. */
  readonly run: () => unknown
  /** `run` returns a promise */
  readonly later: boolean
  /** The result of one more run. */
  readonly read: () => Promise<Float32Array>
  /** the result of M·Q and Mᵀ·P is rank × length */
  readonly byColumn: boolean
}

export type Products = Readonly<Record<Operation, Product>>

/** Prepares the products for one pair of factors; M has been given before. */
export type Prepared = (p: Factor, q: Factor, rank: number) => Promise<Products>

export interface Peer {
  readonly name: string
  /** @throws Unavailable  if it is not installed */
  readonly prepare: (m: Float32Array, rows: number, cols: number) => Promise<Prepared>
}

const require = createRequire(import.meta.url)

/**
 * Loads a package of bench/peers/package.json. Its types are the caller's, for most machines lack
 * the package.
 *
 * @throws Unavailable  if it is not installed
 */
export async function load<T>(name: string): Promise<T> {
  let path: string
  try {
    path = require.resolve(name)
  } catch {
    throw new Unavailable(`${name} is not installed: npm ci --prefix bench/peers`)
  }
  const loaded = await import(pathToFileURL(path).href)
  return (loaded.default ?? loaded) as T
}
