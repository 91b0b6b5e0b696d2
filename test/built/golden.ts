// Computes all golden hashes from the built package, found by its name: the same program in every
// engine.
import * as lowrank from 'lowrank'
import * as frames from 'lowrank/frames'
import { createWasmKernels } from 'lowrank/kernels'
import { paper } from 'lowrank/methods'
import {
  type GOLDEN,
  goldenBasis,
  goldenNormals,
  goldenRun,
  type Lowrank,
} from '../support/golden.ts'
import { goldenFrames, goldenUpdate, WIRES } from '../support/golden-frames.ts'

export async function golden(): Promise<Record<keyof typeof GOLDEN, string>> {
  const kernels = await createWasmKernels()
  // For the compiler, private fields make the built Compressor another type than the source's.
  const built = lowrank as unknown as Lowrank
  return {
    run: await goldenRun(built),
    paper: await goldenRun(built, undefined, { method: paper() }),
    normals: await goldenNormals(kernels),
    basis: await goldenBasis(kernels),
    update: await goldenUpdate(built, frames),
    frames: await goldenFrames(built, frames, WIRES.f32),
    wires: await goldenFrames(built, frames, WIRES.mixed),
  }
}

/** `update` of a worker with relaxed SIMD; null where the engine has none. */
export async function relaxedUpdate(): Promise<string | null> {
  const built = lowrank as unknown as Lowrank
  const backend = lowrank.wasm({ relaxed: true })
  try {
    return await goldenUpdate(built, frames, undefined, { backend })
  } catch (error) {
    if (error instanceof lowrank.UnsupportedError) return null
    throw error
  }
}
