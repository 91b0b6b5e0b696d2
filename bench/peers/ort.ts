// ONNX Runtime Web on its wasm backend, one thread.
//
// M is part of the models, so that no run copies it into wasm memory. P·Qᵀ is copied out of wasm
// memory: `run` accepts an array for the output, and takes 18 ms instead of 41 at 4096², r = 4, but
// writes nothing into it (1.30).
import { model, type Value } from './onnx.ts'
import { load, type Peer, type Product } from './peer.ts'

interface Tensor {
  readonly data: Float32Array
}

interface Session {
  run(inputs: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>
}

interface Runtime {
  readonly env: { readonly wasm: { numThreads: number } }
  readonly InferenceSession: { create(model: Uint8Array): Promise<Session> }
  readonly Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => Tensor
}

export const ort: Peer = {
  name: 'onnxruntime-web',
  async prepare(values, rows, cols) {
    const runtime = await load<Runtime>('onnxruntime-web/wasm')
    runtime.env.wasm.numThreads = 1
    const m = { name: 'm', shape: [rows, cols], values }
    const value = (name: string, ...shape: (number | string)[]): Value => ({ name, shape })
    // At 4096², r = 4, ms: M·Q 18, Qᵀ·Mᵀ 11; Mᵀ·P 30, Pᵀ·M 10.
    const project = await runtime.InferenceSession.create(
      model(
        { operator: 'Gemm', inputs: ['q', 'm'], output: 'p', transposeSecond: true },
        [value('q', 'rank', cols)],
        value('p', 'rank', rows),
        [m],
      ),
    )
    const backproject = await runtime.InferenceSession.create(
      model(
        { operator: 'MatMul', inputs: ['p', 'm'], output: 'q' },
        [value('p', 'rank', rows)],
        value('q', 'rank', cols),
        [m],
      ),
    )
    const reconstruct = await runtime.InferenceSession.create(
      model(
        { operator: 'MatMul', inputs: ['p', 'q'], output: 'y' },
        [value('p', rows, 'rank'), value('q', 'rank', cols)],
        value('y', rows, cols),
      ),
    )
    // ONNX Runtime leaves a global Worker behind; jax-js would take it as leave to use threads.
    Reflect.deleteProperty(globalThis, 'Worker')
    const tensor = (data: Float32Array, ...shape: number[]) =>
      new runtime.Tensor('float32', data, shape)
    const product = (session: Session, inputs: Readonly<Record<string, Tensor>>): Product => ({
      later: true,
      byColumn: true,
      run: () => session.run(inputs),
      read: async () => Object.values(await session.run(inputs))[0]!.data,
    })
    return async (p, q, rank) => {
      const left = tensor(p.columns, rank, rows)
      const right = tensor(q.columns, rank, cols)
      return {
        M·Q: product(project, { q: right }),
        Mᵀ·P: product(backproject, { p: left }),
        P·Qᵀ: product(reconstruct, { p: tensor(p.rows, rows, rank), q: right }),
      }
    }
  },
}
