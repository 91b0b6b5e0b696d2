// A node of a gossip network with an honest and a hostile neighbour, and a twin that never sees
// what the node refuses.
import * as assert from 'uvu/assert'
import {
  choco,
  deepSqueeze,
  type Gossip,
  type GossipMethod,
  moniqua,
  plain,
  powerGossip,
} from '../../src/gossip.ts'
import { sameBytes, sameFloats } from '../support/close.ts'
import { lengthOf, uniform } from '../support/numbers.ts'
import { mutatedCheckpoint } from './checkpoint-mutations.ts'
import type { Dice } from './dice.ts'
import { someWire } from './fleets.ts'
import { mutatedFrame } from './frame-mutations.ts'
import { assertFinite, attempt, attemptLater, OF_CHECKPOINTS, OF_GOSSIP } from './oracle.ts'
import type { Doors, Target } from './target.ts'

const SHAPES = [[9, 8], [5], [2, 3, 6]]

const METHODS: Readonly<Record<string, () => GossipMethod>> = {
  plain: () => plain(),
  'choco, signs': () => choco({ compression: 'sign', gamma: 0.4 }),
  'choco, the largest': () => choco({ compression: { keep: 0.1 }, gamma: 0.3 }),
  deepSqueeze: () => deepSqueeze({ compression: { keep: 0.2 }, gamma: 0.2 }),
  moniqua: () => moniqua({ theta: 1 }),
  'rank 2': () => powerGossip({ rank: 2, minCompressionRate: 0 }),
  'two half-steps': () => powerGossip({ iterations: 2, minCompressionRate: 0 }),
  'as published': () => powerGossip({ iterations: 3, published: true, minCompressionRate: 0 }),
}

/** Parameters below this, and what methods make of them, can be sent. */
const LARGE = 2 ** 56

const [NODE, HONEST, HOSTILE] = [0, 1, 2]

export async function openEdges(dice: Dice, doors: Doors): Promise<Target> {
  const name = dice.pick(Object.keys(METHODS))
  const method = METHODS[name]!()
  const wire = someWire(dice)
  const create = (self: number, neighbours: Record<number, number>) =>
    doors.createGossip(SHAPES, { self, neighbours, method, wire })
  const weights = { [HONEST]: 1 / 3, [HOSTILE]: 1 / 3 }
  const [node, twin, honest, hostile] = await Promise.all([
    create(NODE, weights),
    create(NODE, weights),
    create(HONEST, { [NODE]: 1 / 3 }),
    create(HOSTILE, { [NODE]: 1 / 3 }),
  ])
  const restore = (file: Uint8Array) =>
    doors.createGossip(SHAPES, { self: NODE, method, wire, restore: file })
  return new Edges(`edges of ${name}, ${wire}`, { node, twin, honest, hostile }, restore, dice)
}

const ROLES = ['node', 'twin', 'honest', 'hostile'] as const
type Role = (typeof ROLES)[number]

class Edges implements Target {
  readonly what: string
  readonly #all: Readonly<Record<Role, Gossip>>
  readonly #restore: (file: Uint8Array) => Promise<Gossip>
  readonly #dice: Dice
  readonly #models: Record<Role, Float32Array[]>
  readonly #seed: number
  /** the frames of the open half-step */
  #frames: Readonly<Record<Role, Sent>> | null = null
  /** whether parameters were too large for some method to be sent, ever since they began anew */
  #wasLarge = false
  #former: Uint8Array[] = []
  #refusals = 0

  constructor(
    what: string,
    all: Readonly<Record<Role, Gossip>>,
    restore: (file: Uint8Array) => Promise<Gossip>,
    dice: Dice,
  ) {
    this.what = what
    this.#all = all
    this.#restore = restore
    this.#dice = dice
    this.#seed = dice.below(1e6)
    this.#models = {
      node: modelOf(this.#seed),
      twin: modelOf(this.#seed),
      honest: modelOf(this.#seed + 10),
      hostile: modelOf(this.#seed + 20),
    }
  }

  async next(): Promise<boolean> {
    if (this.#frames === null) {
      if (this.#dice.hits(0.5)) return this.#checkpoint()
      this.#begin()
      if (this.#frames === null) return false
    }
    const { node, twin } = this.#all
    const frames = this.#frames!
    const good = frames.hostile.get(NODE)!
    const mutant = mutatedFrame(good, this.#dice, [frames.honest.get(NODE)!, ...this.#former])
    const { waiting, step } = node
    const taken = attempt('receive of a node', OF_GOSSIP, () => node.receive(HOSTILE, mutant))
    const accepted = taken.ok && taken.value === 'taken'
    assert.is(node.step, step, 'iteration after a frame')
    assert.is(node.waiting.length, waiting.length - (accepted ? 1 : 0), 'neighbours that it awaits')
    if (!accepted && ++this.#refusals < 5 && this.#dice.hits(0.8)) return false
    if (accepted) assert.is(twin.receive(HOSTILE, mutant), 'taken', 'by the twin')
    else for (const one of [node, twin]) assert.is(one.receive(HOSTILE, good), 'taken')
    this.#advance()
    return accepted
  }

  close(): void {
    for (const one of Object.values(this.#all)) one.dispose()
  }

  #begin(): void {
    for (const model of [this.#models.honest, this.#models.hostile]) {
      for (const array of model) {
        for (let j = 0; j < array.length; j++) array[j]! += 0.1 * (this.#dice.chance() - 0.5)
      }
    }
    // One that could not begin with the others is an iteration behind.
    const step = Math.max(...ROLES.map((role) => this.#all[role].step))
    const sent = this.#sent((role) => this.#all[role].beginSync(this.#models[role], { step }))
    if (sent !== null) this.#opened(sent)
  }

  /**
   * A half-step's frames of each node. Parameters that have become too large cannot be sent, which
   * is an error that the documentation names: then all begin anew.
   *
   * @returns null  if the iteration is over, or they do begin anew
   */
  #sent(call: (role: Role) => Sent | null): Readonly<Record<Role, Sent>> | null {
    const note = () => {
      this.#wasLarge ||= ROLES.some((role) => isLarge(this.#models[role]))
    }
    note()
    const all = ROLES.map((role) => attempt('a half-step', [RangeError], () => call(role)))
    note()
    const failed = all.find(({ ok }) => !ok)
    if (failed && !failed.ok) {
      assert.ok(this.#wasLarge, `no parameter was large, but: ${failed.error.message}`)
      this.#beginAnew()
      return null
    }
    const sent = all.map((one) => (one.ok ? one.value : null))
    const [node, twin, honest, hostile] = sent
    return node && twin && honest && hostile ? { node, twin, honest, hostile } : null
  }

  /** What a program does: puts its parameters right, and forgets what its neighbours have sent. */
  #beginAnew(): void {
    for (const role of ROLES) {
      const one = this.#all[role]
      this.#models[role] = modelOf(this.#seed)
      while (one.waiting.length > 0) {
        for (const id of one.waiting) one.giveUp(id)
        one.applySync(this.#models[role])
      }
      forgetNeighbours(one)
      this.#models[role] = modelOf(this.#seed)
    }
    this.#frames = null
    this.#wasLarge = false
  }

  #opened(frames: Readonly<Record<Role, Sent>>): void {
    const { node, twin, hostile } = frames
    for (const [id, frame] of node) sameBytes(frame, twin.get(id)!, 'a frame, by the twin')
    this.#frames = frames
    this.#refusals = 0
    this.#former = [hostile.get(NODE)!, ...this.#former.slice(0, 3)]
  }

  /** Everyone else's frames arrive, and the half-step ends. */
  #advance(): void {
    const { node, twin, honest, hostile } = this.#all
    const frames = this.#frames!
    for (const one of [node, twin]) {
      assert.is(one.receive(HONEST, frames.honest.get(NODE)!), 'taken')
    }
    assert.is(honest.receive(NODE, frames.node.get(HONEST)!), 'taken')
    assert.is(hostile.receive(NODE, frames.node.get(HOSTILE)!), 'taken')
    this.#frames = null
    const next = this.#sent((role) => this.#all[role].applySync(this.#models[role]).frames)
    for (const [i, array] of this.#models.node.entries()) {
      assertFinite(array, `parameter ${i}`)
      sameFloats(array, this.#models.twin[i]!, `parameter ${i}, by the twin`)
    }
    if (next !== null) this.#opened(next)
    else sameBytes(node.save(), twin.save(), 'state, by the twin')
  }

  /** A mutant of the node's own checkpoint. */
  async #checkpoint(): Promise<boolean> {
    const mutant = mutatedCheckpoint(this.#all.node.save(), this.#dice, [this.#all.hostile.save()])
    const restored = await attemptLater('restore of a node', OF_CHECKPOINTS, () =>
      this.#restore(mutant),
    )
    if (!restored.ok) return false
    const node = restored.value
    if (node.step < 0xfffffffe) {
      const model = modelOf(this.#seed)
      const begun = attempt('begin of a node', [RangeError], () => node.beginSync(model))
      // Estimates in a checkpoint may be too large for what follows from them to be sent.
      if (!begun.ok) {
        forgetNeighbours(node)
        node.beginSync(model)
      }
    }
    node.dispose()
    return true
  }
}

function forgetNeighbours(node: Gossip): void {
  for (const id of node.neighbours) {
    node.removeNeighbour(id)
    node.addNeighbour(id, 1 / 3)
  }
}

function isLarge(model: readonly Float32Array[]): boolean {
  return model.some((array) => array.some((x) => Math.abs(x) > LARGE))
}

function modelOf(seed: number): Float32Array[] {
  return SHAPES.map((shape, i) => uniform(lengthOf(shape), seed + i))
}

type Sent = ReadonlyMap<number, Uint8Array>
