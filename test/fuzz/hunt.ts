// Runs inputs: each belongs to a target, which is opened anew for every so many of them. A seed and
// an index say which input it is, and all that its target has been given before.
import { openCheckpoints } from './checkpoint-target.ts'
import { openCodec } from './codec-target.ts'
import { createDice } from './dice.ts'
import { openEdges } from './gossip-target.ts'
import { watchMemory } from './oracle.ts'
import { openRounds } from './round-target.ts'
import { DOORS, type Doors, type OpenTarget } from './target.ts'

/** Inputs of one target. */
export const PER_TARGET = 40

export const TARGETS: Readonly<Record<string, OpenTarget>> = {
  rounds: openRounds,
  codec: openCodec,
  checkpoints: openCheckpoints,
  edges: openEdges,
}

/** Which target comes when. */
const ORDER = [
  ...['codec', 'rounds', 'codec', 'checkpoints', 'codec', 'rounds', 'codec', 'edges'],
] as const

export interface Hunt {
  /** inputs `from` … `inputs` − 1. Default 0, and a multiple of `PER_TARGET` */
  readonly from?: number
  readonly inputs: number
  readonly seed: number
  /** this input alone, after those that its target was given before it */
  readonly only?: number
  readonly doors?: Doors
  /** default: all in turn */
  readonly target?: string
}

/** What has been run. */
export interface Found {
  inputs: number
  /** of these, accepted by a door */
  accepted: number
}

/** The failure of one input. */
export class InputError extends Error {
  override readonly name = 'InputError'
  readonly seed: number
  readonly index: number

  constructor(seed: number, index: number, what: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause)
    super(`input ${index} of seed ${seed}, ${what}: ${why}`, { cause })
    this.seed = seed
    this.index = index
  }
}

/** @throws InputError  for the first input that fails */
export async function huntInputs(hunt: Hunt): Promise<Found> {
  const { from = 0, inputs, seed, only, doors = DOORS } = hunt
  const found = { inputs: 0, accepted: 0 }
  const first = Math.floor((only ?? from) / PER_TARGET)
  const end = only === undefined ? inputs : only + 1
  // Most inputs end in an error, whose stack nobody reads and which takes as long as all the rest.
  const limit = Error.stackTraceLimit
  if (only === undefined) Error.stackTraceLimit = 0
  try {
    for (let k = first; k * PER_TARGET < end; k++) {
      const name = hunt.target ?? ORDER[k % ORDER.length]!
      let index = k * PER_TARGET
      let what = name
      try {
        const target = await TARGETS[name]!(createDice(seed, k), doors)
        what = target.what
        const checkMemory = watchMemory()
        for (; index < Math.min(end, (k + 1) * PER_TARGET); index++) {
          if (await target.next()) found.accepted++
          checkMemory()
          found.inputs++
        }
        target.close()
      } catch (error) {
        throw new InputError(seed, index, what, error)
      }
    }
  } finally {
    Error.stackTraceLimit = limit
  }
  return found
}
