// What a peer must do: three products, with M as it lies in a model and factors as it likes them best.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { Unavailable } from '../tools.ts'

export const OPERATIONS = ['M·Q', 'Mᵀ·P', 'P·Qᵀ'] as const

export type Operation = (typeof OPERATIONS)[number]

/** A factor both ways: `rows` length × rank, `columns` rank × length, which is how the package has it. */
export interface Factor {
  readonly rows: Float32Array
  readonly columns: Float32Array
}

export interface Product {
  /** Computes it and throws it away; a promise is part of the work. */
  readonly run: () => unknown
  /** `run` returns a promise */
  readonly later: boolean
  /** The result of one more run. */
  readonly read: () => Promise<Float32Array>
  /** the result of M·Q and Mᵀ·P is rank × length */
  readonly byColumn: boolean
}

export type Products = Readonly<Record<Operation, Product>>

/** M has been given; what follows has factors of some rank. */
export type Prepared = (p: Factor, q: Factor, rank: number) => Promise<Products>

export interface Peer {
  readonly name: string
  /** @throws Unavailable  if it is not installed */
  readonly prepare: (m: Float32Array, rows: number, cols: number) => Promise<Prepared>
}

const require = createRequire(import.meta.url)

/**
 * A package of bench/peers/package.json. Not a type of TypeScript's, for most machines lack it.
 *
 * @throws Unavailable  if it is not there
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
