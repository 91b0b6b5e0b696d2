// Checkpoints of compressors: `restore`, `join`, `adopt`, `mergeCheckpoints`.
import * as assert from 'uvu/assert'
import type { Compressor } from '../../src/index.ts'
import { sameBytes, sameFloats } from '../support/close.ts'
import { open } from '../support/frames.ts'
import { lengthOf } from '../support/numbers.ts'
import { mutatedCheckpoint } from './checkpoint-mutations.ts'
import type { Dice } from './dice.ts'
import { type FleetOptions, gradientsFor, shapeOf, someFleet, someWire } from './fleets.ts'
import {
  assertFinite,
  assertFiniteCheckpoint,
  attempt,
  attemptLater,
  OF_CHECKPOINTS,
} from './oracle.ts'
import type { Doors, Target } from './target.ts'

export async function openCheckpoints(dice: Dice, doors: Doors): Promise<Target> {
  const fleet = someFleet(dice)
  const options = { ...fleet.options, wire: someWire(dice) }
  const create = (sender: number) => doors.createCompressor(fleet.shapes, { ...options, sender })
  const [worker, twin, source] = await Promise.all([create(1), create(1), create(2)])
  for (let step = dice.below(3); step > 0; step--) trainAlone(source, fleet, dice, doors)
  const files = [await source.save()]
  trainAlone(source, fleet, dice, doors)
  files.push(await source.save(), await source.save({ residual: false }))
  source.dispose()
  const checkpoints = new Checkpoints(fleet, worker, twin, files, dice, doors)
  await checkpoints.keep()
  return checkpoints
}

class Checkpoints implements Target {
  readonly what: string
  readonly #fleet: FleetOptions
  readonly #worker: Compressor
  readonly #twin: Compressor
  readonly #files: readonly Uint8Array[]
  readonly #dice: Dice
  readonly #doors: Doors
  /** of the worker, as last saved */
  #state = new Uint8Array(0)

  constructor(
    fleet: FleetOptions,
    worker: Compressor,
    twin: Compressor,
    files: readonly Uint8Array[],
    dice: Dice,
    doors: Doors,
  ) {
    this.what = `checkpoints of ${fleet.name}, ${JSON.stringify(fleet.shapes)}`
    this.#fleet = fleet
    this.#worker = worker
    this.#twin = twin
    this.#files = files
    this.#dice = dice
    this.#doors = doors
  }

  async keep(): Promise<void> {
    this.#state = (await this.#worker.save()).slice()
  }

  async next(): Promise<boolean> {
    const dice = this.#dice
    const mutant = mutatedCheckpoint(dice.pick(this.#files), dice, [...this.#files, this.#state])
    const before = mutant.slice()
    const how = dice.below(8)
    const accepted =
      how < 4
        ? await this.#change('join', mutant)
        : how < 6
          ? await this.#change('adopt', mutant)
          : how < 7
            ? await this.#restored(mutant)
            : await this.#merged(mutant)
    sameBytes(mutant, before, 'a checkpoint, which is only read')
    return accepted
  }

  close(): void {
    this.#worker.dispose()
    this.#twin.dispose()
  }

  /** `join` or `adopt` of a worker; of its twin too, if it is accepted. */
  async #change(call: 'join' | 'adopt', mutant: Uint8Array): Promise<boolean> {
    const [worker, twin] = [this.#worker, this.#twin]
    const attempted =
      call === 'join'
        ? attempt('join', OF_CHECKPOINTS, () => worker.join(mutant))
        : await attemptLater('adopt', OF_CHECKPOINTS, () => worker.adopt(mutant))
    if (!attempted.ok) {
      sameBytes(await worker.save(), this.#state, `state after ${call} of what is refused`)
      return false
    }
    await twin[call](mutant)
    // Q̂ of paper() has the size of the last Q̄.
    await this.#step(call === 'join' && this.#fleet.name !== 'paper')
    // An adopted residual is its sender's gradients, and may be too large to be sent at once.
    if (call === 'adopt') for (const one of [worker, twin]) await one.rescaleResidual(0)
    // Steps end at 2³² − 1.
    if (worker.stats.step > 0xfffffff0) for (const one of [worker, twin]) one.join(this.#files[0]!)
    await this.keep()
    return true
  }

  /** A new worker from a mutant can take a step, and save. */
  async #restored(mutant: Uint8Array): Promise<boolean> {
    const { shapes, options } = this.#fleet
    const restored = await attemptLater('restore', OF_CHECKPOINTS, () =>
      this.#doors.createCompressor(shapes, { ...options, restore: mutant }),
    )
    if (!restored.ok) return false
    const worker = restored.value
    assertFiniteCheckpoint(await worker.save(), 'a state that was restored')
    if (worker.stats.step < 0xffffffff) trainAlone(worker, this.#fleet, this.#dice, this.#doors)
    assertFiniteCheckpoint(await worker.save(), 'a state after a step')
    worker.dispose()
    return true
  }

  async #merged(mutant: Uint8Array): Promise<boolean> {
    const file = this.#dice.pick(this.#files)
    const files = this.#dice.hits(0.5) ? [mutant, file] : [file, mutant]
    const given = mutant.length + file.length
    const merged = attempt('mergeCheckpoints', OF_CHECKPOINTS, () =>
      this.#doors.mergeCheckpoints(files),
    )
    if (!merged.ok) return false
    assert.ok(merged.value.length <= given + 64, 'a merged checkpoint is no longer than all')
    await this.#restored(merged.value)
    return true
  }

  /** One step of both, with the same bits. @param present  whether they must take part in it */
  async #step(present: boolean): Promise<void> {
    const gradients = gradientsFor(this.#fleet, this.#dice)
    const taken = (one: Compressor): Stepped => {
      const frames: Uint8Array[] = []
      let frame: Uint8Array | null = one.compressSync(gradients)
      while (frame) {
        frames.push(frame)
        frame = one.receiveSync(this.#doors.aggregate([frame]))
      }
      const update = this.#fleet.shapes.map((spec) => new Float32Array(lengthOf(shapeOf(spec))))
      one.decompressSync(update)
      return { frames, update }
    }
    const [got, want] = [taken(this.#worker), taken(this.#twin)]
    for (const [i, frame] of got.frames.entries()) {
      sameBytes(frame, want.frames[i]!, `frame ${i}, by the twin`)
      if (present) assert.ok(open(frame).weight > 0, 'a worker that has joined is absent')
    }
    for (const [i, update] of got.update.entries()) {
      assertFinite(update, `update of parameter ${i}`)
      sameFloats(update, want.update[i]!, `update of parameter ${i}, by the twin`)
    }
    const state = await this.#worker.save()
    sameBytes(state, await this.#twin.save(), 'state, by the twin')
    assertFiniteCheckpoint(state, 'state of the worker')
  }
}

interface Stepped {
  readonly frames: readonly Uint8Array[]
  readonly update: readonly Float32Array[]
}

function trainAlone(worker: Compressor, fleet: FleetOptions, dice: Dice, doors: Doors): void {
  let frame: Uint8Array | null = worker.compressSync(gradientsFor(fleet, dice))
  while (frame) frame = worker.receiveSync(doors.aggregate([frame]))
  worker.decompressSync(null)
}
