// The kernels on a GPU, on single matrices in arrays, for tests and for trying a device. Each call
// copies its operands there and back: the fast way is a session, on buffers.

import type { Dims, Kernels, Layout, Session, Slot } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import { wrongType } from '../../validate.ts'
import type { WebgpuBackend } from './index.ts'

/** The kernels that a GPU has. Those whose bits workers must agree on are on wasm alone. */
export type WebgpuKernels = Pick<
  Kernels,
  'name' | 'accumulateProject' | 'project' | 'backproject' | 'reconstruct' | 'residual' | 'settle'
> & {
  /** Gives the device's memory back. */
  dispose(): void
}

/**
 * @param backend  of `webgpu()`; it stays the caller's
 * @throws TypeError  if it is none
 */
export function createWebgpuKernels(backend: WebgpuBackend): WebgpuKernels {
  if (typeof backend?.open !== 'function') {
    throw wrongType('backend', 'what `await webgpu()` returns', backend)
  }
  let current: Session | null = null
  let shape = ''

  /** A session of one matrix: the last one, if it is of the same shape. */
  const of = async (dims: Dims): Promise<Session> => {
    const wanted = JSON.stringify([dims.rows, dims.cols, dims.rank])
    if (current && shape === wanted) return current
    current?.dispose()
    current = null
    current = await backend.open(planOf(dims))
    shape = wanted
    return current
  }
  const put = (session: Session, slots: Partial<Record<Slot, Float32Array>>): void => {
    for (const [slot, values] of Object.entries(slots)) {
      session.write(slot as Slot, bytesOf(values))
    }
  }

  return {
    name: 'webgpu',

    async accumulateProject(p, m, g, q, dims) {
      const session = await of(dims)
      put(session, { residual: m, qHat: q })
      const done = await session.accumulateProject([g])
      await session.read(['residual'], m)
      if (done) await session.read(['left'], p)
      return done
    },

    async project(p, m, q, dims) {
      const session = await of(dims)
      put(session, { residual: m, qHat: q })
      await session.project()
      await session.read(['left'], p)
    },

    async backproject(q, m, p, dims) {
      const session = await of(dims)
      put(session, { residual: m, left: p })
      await session.backproject()
      await session.read(['qLocal'], q)
    },

    async reconstruct(y, p, q, dims, scale = 1, accumulate = false) {
      const session = await of(dims)
      put(session, { left: p, qMean: q })
      await session.settle(false, null, { into: [y], scale, accumulate })
    },

    async residual(m, p, q, dims) {
      const session = await of(dims)
      put(session, { residual: m, left: p, qLocal: q })
      await session.settle(true, null, null)
      await session.read(['residual'], m)
    },

    async settle(y, m, p, qLocal, qMean, dims, scale = 1, accumulate = false) {
      const session = await of(dims)
      put(session, { residual: m, left: p, qLocal, qMean })
      await session.settle(true, null, { into: [y], scale, accumulate })
      await session.read(['residual'], m)
    },

    dispose() {
      current?.dispose()
      current = null
    },
  }
}

function planOf({ rows, cols, rank }: Dims): Layout {
  const length = rows * cols
  const parameter = { index: 0, shape: [rows, cols], length, rows, cols, rank, frozen: false }
  const only = { ...parameter, offset: 0, left: 0, right: 0, raw: 0 }
  return {
    parameters: [only],
    matrices: [only],
    raws: [],
    arenaFloats: 4 * Math.ceil(length / 4),
    denseFloats: length,
    leftFloats: rows * rank,
    rightFloats: cols * rank,
    rawFloats: 0,
  }
}
