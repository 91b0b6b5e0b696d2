// A half-step with neighbours that may be early, late or gone.
import { FrameError, type Gossip } from 'lowrank/gossip'
import type { Bell, Neighbour } from './neighbours.ts'

/** A node leaves a neighbour that has missed so many half-steps in a row. */
const MISSES = 3

/** A node's neighbours, by their numbers. */
export type Neighbours = Map<number, Neighbour>

/**
 * How often a node pings a neighbour that it waits for, and how many pings in a row may remain without
 * an answer. On a busy machine a neighbour may be late, but it gives signs of life.
 */
const PING_MS = 1000
const PINGS = 10

/** Resolves when each neighbour has answered in the open half-step, or has been given up. */
export async function hear(
  gossip: Gossip,
  neighbours: Neighbours,
  bell: Bell,
  pingMs = PING_MS,
): Promise<void> {
  for (const id of gossip.waiting) neighbours.get(id)!.unanswered = 0
  for (;;) {
    for (const id of gossip.waiting) take(gossip, neighbours.get(id)!)
    if (gossip.waiting.length === 0) return
    if (await bell.heard(pingMs)) continue
    for (const id of gossip.waiting) {
      const neighbour = neighbours.get(id)!
      if (neighbour.unanswered < PINGS) neighbour.ping()
      else {
        gossip.giveUp(id)
        neighbour.missed++
      }
    }
  }
}

/** Leaves the neighbours that are gone, or seem to be. Call it between two iterations. */
export function leaveLost(gossip: Gossip, neighbours: Neighbours): Neighbour[] {
  const lost = [...neighbours.values()].filter((one) => one.gone !== null || one.missed >= MISSES)
  for (const neighbour of lost) {
    neighbour.close(`missed ${MISSES} half-steps in a row`)
    gossip.removeNeighbour(neighbour.number)
    neighbours.delete(neighbour.number)
  }
  return lost
}

/** Hands a neighbour's frames to gossip: drops late ones, keeps early ones for their half-step. */
function take(gossip: Gossip, neighbour: Neighbour): void {
  const { inbox, number } = neighbour
  while (inbox.length > 0) {
    const answer = receive(gossip, neighbour, inbox[0]!)
    if (answer === 'early') break
    inbox.shift()
    if (answer !== 'taken') continue
    neighbour.missed = 0
    return
  }
  // Frames come in their order, so an early one means that this half-step's will never come.
  if (inbox.length > 0 || neighbour.gone !== null) gossip.giveUp(number)
}

/** @returns undefined if the bytes were no frame: then the neighbour's connection is closed */
function receive(
  gossip: Gossip,
  neighbour: Neighbour,
  frame: Uint8Array,
): ReturnType<Gossip['receive']> | undefined {
  try {
    return gossip.receive(neighbour.number, frame)
  } catch (error) {
    if (!(error instanceof FrameError)) throw error
    neighbour.close(error.message)
    return undefined
  }
}
