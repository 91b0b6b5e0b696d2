// What tabs and the server say to each other: who is there, and how neighbours reach each other. All of it
// is text; frames do not go this way.

/** Longer than any description of a connection that carries data alone. */
export const MAX_SIGNAL_BYTES = 16 * 1024

/** What the tabs of a ring exchange: differences of low rank, or everything. */
export const METHODS = ['powergossip', 'plain'] as const
export type Method = (typeof METHODS)[number]

/** To tabs that wait until there are enough. */
export interface Task {
  readonly type: 'waiting'
  readonly here: number
  readonly tabs: number
}

/** There are enough. */
export interface Start {
  readonly type: 'start'
  /** this tab's number, 0 … tabs − 1; share/… of the text is its own */
  readonly self: number
  readonly tabs: number
  readonly steps: number
  /** different characters in the text */
  readonly symbols: number
}

/** Who is there, in the order of the ring: at the start, and whenever someone has left. */
export interface Members {
  readonly type: 'members'
  readonly members: readonly number[]
}

/** How a tab can be reached, for one neighbour. */
export interface Signal {
  readonly type: 'offer' | 'answer'
  /** from a tab: for whom; from the server: whose it is */
  readonly tab: number
  readonly sdp: string
}

export type ToTab = Task | Start | Members | Signal

/** Those before and after a tab, each once. */
export function neighboursOf(self: number, members: readonly number[]): number[] {
  const [at, n] = [members.indexOf(self), members.length]
  const both = [members[(at + n - 1) % n]!, members[(at + 1) % n]!]
  return [...new Set(both)].filter((member) => member !== self)
}

/** @throws TypeError  unless it is a signal, and nothing besides */
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
