// Nodes of a ring that hold a matrix each and agree on the mean of all.
import { createWasmKernels } from 'lowrank/kernels'
import { create, type Setting } from './methods.ts'
import { createRing, disagreement, meanOf } from './net.ts'

/**
 * A run's description. The run ends after so many iterations, or when each node has sent so many
 * bytes.
 */
export interface Averaging {
  readonly kind: 'averaging'
  readonly nodes: number
  /** rows and columns */
  readonly size: number
  readonly seed: number
  readonly gossip: Setting
  readonly iterations: number
  readonly bytes: number
}

export interface Averaged {
  readonly points: readonly Point[]
}

export interface Point {
  readonly iteration: number
  /** sent by a node so far */
  readonly bytes: number
  /** mean of ‖Xᵢ − X̄‖², as a part of its first value; X̄ is the mean at this iteration */
  readonly error: number
}

/**
 * Errors outside of this range end a run: below is float32's rounding, above it can only have
 * diverged.
 */
const LEAST = 1e-11
const MOST = 1e4

export async function average(run: Averaging): Promise<Averaged> {
  const { nodes, size, seed, gossip, iterations, bytes } = run
  const kernels = await createWasmKernels({ floats: size * size + 4 })
  const drawn = kernels.alloc(size * size)
  const models = Array.from({ length: nodes }, (_, node) => {
    kernels.normal(drawn, seed, node, 0, 0, 0)
    return [drawn.slice()]
  })
  const net = await createRing(create(gossip), [[size, size]], models)
  const error = () => disagreement(models, meanOf(models))
  const first = error()
  const points: Point[] = []
  const marked = marks(iterations)
  for (let iteration = 1; iteration <= iterations && net.bytes < bytes; iteration++) {
    net.iterate()
    if (!marked.has(iteration)) continue
    const now = error() / first
    if (!(now > LEAST && now < MOST)) break
    points.push({ iteration, bytes: net.bytes, error: now })
  }
  return { points }
}

/**
 * The iterations at which the error is taken: some twenty in each factor of ten, and a hundred in
 * all.
 */
function marks(iterations: number): ReadonlySet<number> {
  const some = new Set([iterations])
  for (let k = 1; k < iterations; k = Math.max(k + 1, Math.round(1.12 * k))) some.add(k)
  for (let k = 1; k < 100; k++) some.add(Math.round((k * iterations) / 100))
  return some
}

/**
 * The slope of ln(error) per iteration, by least squares over the second half of the iterations.
 */
export function slopeOf(points: readonly Point[]): number {
  const half = (points.at(-1)?.iteration ?? 0) / 2
  const late = points.filter(({ iteration }) => iteration >= half)
  return lineOf(late.map(({ iteration, error }) => [iteration, Math.log(error)])).slope
}

/** Fits a line by least squares. */
export function lineOf(points: readonly (readonly [number, number])[]): { slope: number } {
  const mean = (k: 0 | 1) => points.reduce((sum, point) => sum + point[k], 0) / points.length
  const [x, y] = [mean(0), mean(1)]
  const above = points.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0)
  const below = points.reduce((sum, [a]) => sum + (a - x) ** 2, 0)
  return { slope: above / below }
}

/** Bytes that a node has sent when the error is first this small; null: it never is. */
export function bytesTo(points: readonly Point[], error: number): number | null {
  return points.find((point) => point.error <= error)?.bytes ?? null
}
