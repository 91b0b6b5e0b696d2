// Mutants: methods with one defect in their session, which the checks must find.

import type { Algorithm } from '../../../src/algorithm.ts'
import type { MaybePromise, Session, Slot } from '../../../src/backend.ts'
import type { Method } from '../../../src/options.ts'

/** Drops the residual of entries that were sent, as if the wire lost nothing. */
export function undecoded(method: Method): Method {
  return onSession(method, (session) => ({
    write(slot: Slot, values: Uint8Array): void {
      const residual = new Float32Array(values.slice().buffer)
      const m = new Float32Array(residual.length)
      session.read([slot], m)
      const left = residual.map((x, i) => (x === m[i] ? x : 0))
      session.write(slot, new Uint8Array(left.buffer))
    },
  }))
}

/** Makes later ones of entries with equal magnitude seem a little larger. */
export function lastOfEqual(method: Method): Method {
  let [m, seen] = [new Float32Array(0), new Float32Array(0)]
  return onSession(method, (session) => ({
    read(slots: readonly Slot[], into: Float32Array): MaybePromise<void> {
      session.read(slots, into)
      m = into.slice()
      const bits = new Uint32Array(into.buffer, into.byteOffset, into.length)
      const often = new Map<number, number>()
      for (const x of m) often.set(Math.abs(x), 1 + (often.get(Math.abs(x)) ?? 0))
      for (const [i, x] of m.entries()) {
        if (x !== 0 && often.get(Math.abs(x))! > 1) bits[i] = bits[i]! + i
      }
      seen = into.slice()
    },
    write(slot: Slot, values: Uint8Array): void {
      const residual = new Float32Array(values.slice().buffer)
      const left = residual.map((x, i) => (x === seen[i] ? m[i]! : x))
      session.write(slot, new Uint8Array(left.buffer))
    },
  }))
}

/** The method, with some of its session's calls replaced. */
function onSession(method: Method, calls: (session: Session) => Partial<Session>): Method {
  return {
    ...method,
    async create(making): Promise<Algorithm> {
      const algorithm = await method.create(making)
      return {
        shared: algorithm.shared,
        prepare: (turn) => algorithm.prepare(turn),
        step: (turn) => {
          const own = calls(turn.session)
          const session = new Proxy(turn.session, {
            get(target, key) {
              const value = Reflect.get(own, key) ?? Reflect.get(target, key)
              return typeof value === 'function' && !(key in own) ? value.bind(target) : value
            },
          })
          return algorithm.step(Object.create(turn, { session: { value: session } }))
        },
        load: (...given) => algorithm.load(...given),
        rearrange: (...given) => algorithm.rearrange(...given),
      }
    },
  }
}
