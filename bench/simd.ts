// Finds which of the two modules is measured: the one that `wasm()` takes here.
import { UnsupportedError } from 'lowrank'
import { createWasmKernels } from 'lowrank/kernels'

/** Whether this host has relaxed SIMD. */
export async function hasRelaxedSimd(): Promise<boolean> {
  try {
    await createWasmKernels({ relaxed: true })
    return true
  } catch (error) {
    if (error instanceof UnsupportedError) return false
    throw error
  }
}
