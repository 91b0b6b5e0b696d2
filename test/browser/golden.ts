// The golden hashes of the built package: the same text in Node and in the browser.
import * as lowrank from 'lowrank'
import { createWasmKernels } from 'lowrank/kernels'
import {
  type GOLDEN,
  goldenBasis,
  goldenNormals,
  goldenRun,
  type Lowrank,
} from '../support/golden.ts'

export async function golden(): Promise<Record<keyof typeof GOLDEN, string>> {
  const kernels = await createWasmKernels()
  // The compiler tells the built Compressor from the source's by its private fields.
  const built = lowrank as unknown as Lowrank
  return {
    run: await goldenRun(built),
    paper: await goldenRun(built, undefined, { preset: 'paper' }),
    normals: await goldenNormals(kernels),
    basis: await goldenBasis(kernels),
  }
}
