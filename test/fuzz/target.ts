// A target of the fuzzer: doors of the library, workers behind them, and inputs made for them.
import {
  type createAggregate,
  fromPayload,
  inspect,
  joinSlices,
  payload,
  splitFrame,
} from '../../src/frames.ts'
import { createGossip } from '../../src/gossip.ts'
import {
  aggregate,
  createCompressor,
  createAggregate as createServer,
  mergeCheckpoints,
} from '../../src/index.ts'
import type { Dice } from './dice.ts'

/** The doors that take bytes from outside. A mutant of the library has others in their place. */
export interface Doors {
  readonly aggregate: typeof aggregate
  readonly createAggregate: typeof createAggregate
  readonly inspect: typeof inspect
  readonly splitFrame: typeof splitFrame
  readonly joinSlices: typeof joinSlices
  readonly payload: typeof payload
  readonly fromPayload: typeof fromPayload
  readonly mergeCheckpoints: typeof mergeCheckpoints
  readonly createCompressor: typeof createCompressor
  readonly createGossip: typeof createGossip
}

export const DOORS: Doors = {
  aggregate,
  createAggregate: createServer,
  inspect,
  splitFrame,
  joinSlices,
  payload,
  fromPayload,
  mergeCheckpoints,
  createCompressor,
  createGossip,
}

/** A target with its workers. Its inputs follow one after another, for accepted ones change it. */
export interface Target {
  /** what it is, for the message of a failure */
  readonly what: string
  /** Makes the next input and gives it to the doors. @returns whether one accepted it */
  next(): Promise<boolean>
  close(): void
}

export type OpenTarget = (dice: Dice, doors: Doors) => Promise<Target>
