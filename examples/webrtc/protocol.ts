// Messages between the tabs and the server: who is there, and how neighbours reach each other. All
// are text; frames do not go this way.

/** Longer than any description of a connection that carries data alone. */
export const MAX_SIGNAL_BYTES = 16 * 1024

/** Methods of gossip: tabs exchange differences of low rank, or all parameters (plain). */
export const METHODS = ['powergossip', 'plain'] as const
export type Method = (typeof METHODS)[number]

/** Tells waiting tabs how many there are. */
export interface Task {
  readonly type: 'waiting'
  readonly here: number
  readonly tabs: number
}

/** There are enough tabs: the ring starts. */
export interface Start {
  readonly type: 'start'
  /** this tab's number, 0 … tabs − 1, also of its share of the text: text/<self> */
  readonly self: number
  readonly tabs: number
  readonly steps: number
  /** different characters in the text */
  readonly symbols: number
}

/** The tabs of the ring, in its order: sent at the start, and whenever a tab has left. */
export interface Members {
  readonly type: 'members'
  readonly members: readonly number[]
}

/** A tab's description for one neighbour: how to reach it. */
export interface Signal {
  readonly type: 'offer' | 'answer'
  /** from a tab: the receiver; from the server: the tab that the description is of */
  readonly tab: number
  readonly sdp: string
}

export type ToTab = Task | Start | Members | Signal

/** The tabs before and after a tab, each once. */
export function neighboursOf(self: number, members: readonly number[]): number[] {
  const [at, n] = [members.indexOf(self), members.length]
  const both = [members[(at + n - 1) % n]!, members[(at + 1) % n]!]
  return [...new Set(both)].filter((member) => member !== self)
}

/** @throws TypeError  unless the text is a signal without other fields */
export function parseSignal(text: string): Signal {
  const told: unknown = JSON.parse(text)
  if (typeof told !== 'object' || told === null) throw new TypeError('expected an object')
  const { type, tab, sdp, ...others } = told as Record<string, unknown>
  if (type !== 'offer' && type !== 'answer') {
    throw new TypeError(`"type": expected offer or answer, got ${type}`)
  }
  if (!Number.isInteger(tab) || (tab as number) < 0) {
    throw new TypeError(`"tab": expected a tab's number, got ${tab}`)
  }
  if (typeof sdp !== 'string' || !sdp.startsWith('v=0\r\n')) {
    throw new TypeError('"sdp": expected a session description')
  }
  const more = Object.keys(others)
  if (more.length > 0) throw new TypeError(`expected type, tab and sdp, got ${more} besides`)
  return { type, tab: tab as number, sdp }
}
