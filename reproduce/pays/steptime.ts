// A stated model of a step's time: workers around a coordinator, each on a line of its own.

/** The cost of a step, on any line. Times are of one thread. */
export interface Cost {
  /** each there and back */
  readonly rounds: number
  /** bytes of frames, by one worker */
  readonly sent: number
  /** bytes of means, by one worker */
  readonly received: number
  /** time of a worker until its last frame is ready, without waiting */
  readonly sendMs: number
  /** time of a worker from the last mean to the update */
  readonly updateMs: number
  /** time of the coordinator, for the frames of all workers */
  readonly aggregateMs: number
}

/** The line between a worker and the coordinator. */
export interface Line {
  /** million bits a second, each direction */
  readonly mbits: number
  /** one way */
  readonly delayMs: number
}

/**
 * The time of a step, in which nothing overlaps.
 *
 * A worker computes its gradient, compresses it and sends its frame. The coordinator waits for the
 * last frame, aggregates and sends the mean. This repeats for each round. All workers do the same
 * at the same time, on lines that do not disturb each other. A line carries `mbits` from the first
 * byte on: its connection is open and has grown its window.
 */
export function stepMs(computeMs: number, cost: Cost, line: Line): number {
  return computeMs + overheadMs(cost) + lineMs(cost, line)
}

/** The time on the line. */
export function lineMs({ rounds, sent, received }: Cost, { mbits, delayMs }: Line): number {
  return 2 * rounds * delayMs + (8 * (sent + received)) / (1000 * mbits)
}

/** The time of processors, without the gradient. */
export function overheadMs({ sendMs, updateMs, aggregateMs }: Cost): number {
  return sendMs + updateMs + aggregateMs
}

/**
 * How much shorter a step is than with the other cost. The time of the gradient drops out, for it
 * is the same in both.
 */
export function savedMs(cost: Cost, than: Cost, line: Line): number {
  return stepMs(0, than, line) - stepMs(0, cost, line)
}

/**
 * The bandwidth at which a step takes as long as with the other cost, in million bits a second.
 * Above it, the step takes longer. Infinity: it never takes longer. 0: it takes longer at any
 * bandwidth.
 */
export function breakEven(cost: Cost, than: Cost, delayMs: number): number {
  const bits = 8 * (than.sent + than.received - cost.sent - cost.received)
  const extraMs = overheadMs(cost) - overheadMs(than) + 2 * (cost.rounds - than.rounds) * delayMs
  if (bits <= 0) return extraMs < 0 ? Number.POSITIVE_INFINITY : 0
  return extraMs <= 0 ? Number.POSITIVE_INFINITY : bits / (1000 * extraMs)
}
