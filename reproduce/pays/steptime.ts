// A stated model of a step's time: workers around a coordinator, each on a line of its own.

/** What a step costs, wherever it is taken. Times are of one thread. */
export interface Cost {
  /** there and back */
  readonly rounds: number
  /** bytes of frames, by one worker */
  readonly sent: number
  /** bytes of means, by one worker */
  readonly received: number
  /** of a worker, until its last frame is ready, waiting left out */
  readonly sendMs: number
  /** of a worker, from the last mean to the update */
  readonly updateMs: number
  /** of the coordinator, for the frames of all workers */
  readonly aggregateMs: number
}

/** Between a worker and the coordinator. */
export interface Line {
  /** million bits a second, each direction */
  readonly mbits: number
  /** one way */
  readonly delayMs: number
}

/**
 * Nothing overlaps: a worker computes its gradient and compresses it, sends its frame; the coordinator
 * waits for the last one, aggregates, sends the mean; and so on for each round. All workers do the same at the same
 * time, on lines that do not disturb each other. A line carries `mbits` from the first byte on: a connection that is
 * open and has grown its window.
 */
export function stepMs(computeMs: number, cost: Cost, line: Line): number {
  return computeMs + overheadMs(cost) + lineMs(cost, line)
}

/** On the line. */
export function lineMs({ rounds, sent, received }: Cost, { mbits, delayMs }: Line): number {
  return 2 * rounds * delayMs + (8 * (sent + received)) / (1000 * mbits)
}

/** Of processors, but for the gradient. */
export function overheadMs({ sendMs, updateMs, aggregateMs }: Cost): number {
  return sendMs + updateMs + aggregateMs
}

/** How much shorter a step is than with the other: whatever computing takes, for both take as long. */
export function savedMs(cost: Cost, than: Cost, line: Line): number {
  return stepMs(0, than, line) - stepMs(0, cost, line)
}

/**
 * The bandwidth at which a step takes as long as with the other, in million bits a second: above it, it takes
 * longer. Infinity: it never does. 0: it does at any bandwidth.
 */
export function breakEven(cost: Cost, than: Cost, delayMs: number): number {
  const bits = 8 * (than.sent + than.received - cost.sent - cost.received)
  const extraMs = overheadMs(cost) - overheadMs(than) + 2 * (cost.rounds - than.rounds) * delayMs
  if (bits <= 0) return extraMs < 0 ? Number.POSITIVE_INFINITY : 0
  return extraMs <= 0 ? Number.POSITIVE_INFINITY : bits / (1000 * extraMs)
}
