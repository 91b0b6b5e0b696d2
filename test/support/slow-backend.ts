import type { Session } from '../../src/backend.ts'
import { type Backend, wasm } from '../../src/index.ts'

/** The wasm backend, made asynchronous. */
export function slowBackend(): Backend {
  return {
    name: 'slow',
    async open(layout) {
      const session = await wasm().open(layout)
      const slowly = async <T>(value: T): Promise<T> => {
        await new Promise((resolve) => setTimeout(resolve, 1))
        return value
      }
      const slow: Session = {
        synchronous: false,
        gradients: null,
        check: (...given) => session.check(...given),
        accumulateProject: async (g) => slowly(await session.accumulateProject(g)),
        withdraw: async (g) => slowly(await session.withdraw(g)),
        project: async () => slowly(await session.project()),
        backproject: async () => slowly(await session.backproject()),
        settle: async (...args) => slowly(await session.settle(...args)),
        read: async (slots, into) => slowly(await session.read(slots, into)),
        write: (slot, values) => session.write(slot, values),
        scale: (slot, factor) => session.scale(slot, factor),
        norms: async () => slowly(await session.norms()),
        rearrange: (layout) => session.rearrange(layout),
        dispose: () => session.dispose(),
      }
      return slow
    },
  }
}
