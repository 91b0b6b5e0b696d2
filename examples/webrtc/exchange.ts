// Iterations of a gossip node whose neighbours come and go, and may be ahead of it.
import { FrameError, type Gossip } from 'lowrank/gossip'
import type { Circle } from './circle.ts'

export class Exchange {
  readonly #gossip: Gossip
  readonly #circle: Circle
  readonly #weight: number

  /** @param weight  of each edge */
  constructor(gossip: Gossip, circle: Circle, weight: number) {
    this.#gossip = gossip
    this.#circle = circle
    this.#weight = weight
  }

  /** Sends the first frames of an iteration to the tabs that are neighbours now. */
  async begin(parameters: readonly Float32Array[]): Promise<void> {
    for (const [id, { state }] of this.#circle.neighbours) {
      const known = this.#gossip.neighbours.includes(id)
      if (known && state === 'gone') this.#gossip.removeNeighbour(id)
      if (!known && state === 'open') this.#gossip.addNeighbour(id, this.#weight)
    }
    this.#send(await this.#gossip.begin(parameters))
  }

  /** Waits for the neighbours' frames, and moves the parameters towards theirs. */
  async end(parameters: readonly Float32Array[]): Promise<void> {
    for (;;) {
      for (const id of this.#gossip.waiting) this.#take(id)
      if (this.#gossip.waiting.length > 0) {
        await this.#circle.news()
        continue
      }
      const { frames } = await this.#gossip.apply(parameters)
      if (!frames) return
      this.#send(frames)
    }
  }

  #send(frames: ReadonlyMap<number, Uint8Array>): void {
    for (const [id, frame] of frames) {
      // No need to wait: if a neighbour is slow to take the frame, this node waits for its answer.
      this.#circle.neighbours
        .get(id)!
        .channel.send(frame)
        .catch(() => {}) // the channel is closed, and `state` says so
    }
  }

  #take(id: number): void {
    const neighbour = this.#circle.neighbours.get(id)!
    const { inbox } = neighbour
    while (inbox.length > 0) {
      const answer = this.#receive(id, inbox[0]!)
      if (answer === 'early') break
      inbox.shift()
      if (answer === 'taken') return
    }
    // Frames come in their order, so an early one means that this iteration's will never come: the
    // edge is new, and the other end is ahead. The other end drops late frames until this node has
    // caught up.
    if (inbox.length > 0 || neighbour.state === 'gone') this.#gossip.giveUp(id)
  }

  #receive(id: number, frame: Uint8Array): ReturnType<Gossip['receive']> | undefined {
    try {
      return this.#gossip.receive(id, frame)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#circle.neighbours.get(id)!.channel.close(error.message)
      return undefined
    }
  }
}
