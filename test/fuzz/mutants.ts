// Mutants: doors with one defect, which the hunt must find. Without it, the same hunt must pass.
import type { Backend } from '../../src/backend.ts'
import { beginFrame, readHeader, sealFrame } from '../../src/codec/frame.ts'
import { type Compressor, FrameError, wasm } from '../../src/index.ts'
import { DOORS, type Doors } from './target.ts'

export interface Mutant {
  readonly name: string
  /** that can find it */
  readonly target: string
  readonly doors: Partial<Doors>
  /** the message of the check that finds it */
  readonly found: RegExp
}

export const mutants: readonly Mutant[] = [
  {
    name: 'aggregate that takes values of any size',
    target: 'codec',
    doors: { aggregate: unlimited },
    found: /add refuses what aggregate does not/,
  },
  {
    name: 'a mean of large values that makes parameters infinite',
    target: 'rounds',
    doors: { createCompressor: onBackend((x) => x * 2 ** 100, 'qMean') },
    found: /update of parameter \d+: \[\d+\] is/,
  },
  {
    name: 'a mean of large values that fills the residual',
    target: 'rounds',
    doors: { createCompressor: onBackend(() => 2 ** 99, 'residual') },
    found: /an honest worker is absent/,
  },
  {
    name: 'receive that gives the step up when it refuses a mean',
    target: 'rounds',
    doors: { createCompressor: changedBy((one) => one.abort()) },
    found: /the round after a mean that is refused/,
  },
  {
    name: 'join that halves the residual when it refuses a checkpoint',
    target: 'checkpoints',
    doors: { createCompressor: changedBy((one) => void one.rescaleResidual(0.5)) },
    found: /state after join of what is refused/,
  },
  {
    name: 'add that has lost its sum when it refuses a frame',
    target: 'codec',
    doors: {
      createAggregate() {
        const server = DOORS.createAggregate()
        return replaced(server, {
          add(frame: Uint8Array) {
            try {
              return server.add(frame)
            } catch (error) {
              server.reset()
              throw error
            }
          },
        })
      },
    },
    found: /no frame has been added/,
  },
  {
    name: 'inspect that throws an error of the engine',
    target: 'codec',
    doors: {
      inspect(frame) {
        new DataView(new ArrayBuffer(frame.byteLength)).getUint32(60)
        return DOORS.inspect(frame)
      },
    },
    found: /inspect: RangeError is not documented/,
  },
  {
    name: 'inspect that believes a count',
    target: 'codec',
    doors: {
      inspect(frame) {
        const bytes = frame as Uint8Array
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
        const claimed = bytes.length < 64 ? 0 : Math.min(view.getUint32(52, true), 2 ** 25)
        held.bytes = new Uint8Array(claimed)
        return DOORS.inspect(frame)
      },
    },
    found: /one input took more than .* of external_memory/,
  },
  {
    name: 'joinSlices that takes some slices for all',
    target: 'codec',
    doors: {
      joinSlices(frames) {
        try {
          return DOORS.joinSlices(frames)
        } catch (error) {
          if (/expected slices up to/.test(String(error))) return (frames[0] as Uint8Array).slice()
          throw error
        }
      },
    },
    found: /slices of a whole frame can be joined/,
  },
  {
    name: 'mergeCheckpoints whose result grows',
    target: 'checkpoints',
    doors: {
      mergeCheckpoints(files) {
        const merged = DOORS.mergeCheckpoints(files)
        const all = new Uint8Array(files.length * merged.length + 65)
        all.set(merged)
        return all
      },
    },
    found: /a merged checkpoint is no longer than all/,
  },
  {
    name: 'a node that gives a neighbour up when it refuses a frame',
    target: 'edges',
    doors: {
      async createGossip(...given) {
        const node = await DOORS.createGossip(...given)
        return replaced(node, {
          receive(neighbour: number, frame: Uint8Array) {
            try {
              return node.receive(neighbour, frame)
            } catch (error) {
              if (error instanceof FrameError) node.giveUp(neighbour)
              throw error
            }
          },
        })
      },
    },
    found: /neighbours that it awaits/,
  },
]

/** What the last inspection took, so that nothing collects it. */
const held = { bytes: new Uint8Array(0) }

/** `aggregate` that leaves out the values that it should refuse the frame for. */
function unlimited(frames: Parameters<Doors['aggregate']>[0]): ReturnType<Doors['aggregate']> {
  try {
    return DOORS.aggregate(frames)
  } catch (error) {
    if (!/not below 2⁶⁴, from/.test(String(error))) throw error
    const all = Array.from(frames, (frame) => readHeader(frame))
    const senders = Uint32Array.from(all.flatMap((one) => [...one.senders])).sort()
    const weight = all.reduce((sum, one) => sum + one.weight, 0)
    const { bytes } = beginFrame({ ...all[0]!, type: 'f32', senders, weight }, 4 * all[0]!.count)
    return sealFrame(bytes)
  }
}

/** Compressors whose backend changes a slot once a mean has had a value above 2⁴⁰. */
function onBackend(change: (x: number) => number, into: 'qMean' | 'residual') {
  const backend: Backend = {
    name: 'altered',
    async open(...given) {
      const session = await wasm().open(...given)
      return replaced(session, {
        write(...[slot, values]: Parameters<typeof session.write>) {
          const floats = new Float32Array(values.slice().buffer)
          const large = slot === 'qMean' && floats.some((x) => Math.abs(x) > 2 ** 40)
          if (!large) return session.write(slot, values)
          if (into === slot) {
            return session.write(slot, new Uint8Array(floats.map(change).buffer))
          }
          session.write(slot, values)
          const all = given[0].denseFloats
          session.write(into, new Uint8Array(new Float32Array(all).map(change).buffer))
        },
      })
    },
  }
  const create: Doors['createCompressor'] = (shapes, options) =>
    DOORS.createCompressor(shapes, { ...options, backend })
  return create
}

/** Compressors that do something else besides refusing. */
function changedBy(extra: (one: Compressor) => void): Doors['createCompressor'] {
  return async (...given) => {
    const one = await DOORS.createCompressor(...given)
    const also =
      <A extends unknown[], R>(call: (...args: A) => R) =>
      (...args: A): R => {
        try {
          return call.apply(one, args)
        } catch (error) {
          extra(one)
          throw error
        }
      }
    return replaced(one, { receiveSync: also(one.receiveSync), join: also(one.join) })
  }
}

/** The object with some of its members replaced; the others run on the object itself. */
function replaced<T extends object>(object: T, members: object): T {
  return new Proxy(object, {
    get(target, key) {
      if (key in members) return Reflect.get(members, key)
      const value = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
