// What threads say to each other: words of shared memory that belong to no session.
import type { PhaseKernel } from './executor.ts'

/** A kernel's number is its place here. */
export const PHASES: readonly PhaseKernel[] = [
  'accumulateProject',
  'project',
  'backproject',
  'reconstruct',
  'residual',
  'settle',
]

/** Where words are. */
export const WORD = {
  /** odd: a phase is open; a change ends every wait for the next one */
  turn: 0,
  /** threads, besides the calling one, that are in the phase */
  busy: 1,
  /** the next unit that nobody has taken */
  next: 2,
  /** units before this may run: their tiles are filled; FAILED: there will be no more */
  ready: 3,
  /** messages posted to each thread: who has not read all of them goes and does so */
  posted: 4,
  /** of the phase: session, kernel, units, operands before and after the table */
  session: 5,
  kernel: 6,
  units: 7,
  before: 8,
  after: 9,
  /** operands, as float64 */
  operands: 16,
  /** table, blocks and state of each unit */
  table: 32,
} as const

/** Units in one go; longer phases are several. */
export const MOST_UNITS = 1 << 12

export const UNIT_WORDS = 3

/** Of one kernel, the table of blocks and their count aside. */
export const MOST_OPERANDS = 8

/** State of a unit: 0, not run yet; FAILED; or 1 + its blocks done. */
export const FAILED = -1

export const CONTROL_BYTES = 4 * (WORD.table + UNIT_WORDS * MOST_UNITS)

/** A session comes or goes; the first one to a thread brings the words. */
export interface Message {
  readonly session: number
  readonly control?: SharedArrayBuffer
  /** neither: the session is over */
  readonly module?: WebAssembly.Module
  readonly memory?: WebAssembly.Memory
}

/**
 * What a thread runs: plain JavaScript, for it travels as text. It sleeps until a phase is open,
 * takes units until there are none, and answers each message with its session's number.
 */
export const SOURCE = `
const { parentPort } = globalThis.process?.getBuiltinModule?.('node:worker_threads') ?? {}
const port = parentPort ?? self
const W = ${JSON.stringify(WORD)}
const KERNELS = ${JSON.stringify(PHASES)}
const sessions = new Map()
let words, operands, read = 0

function hear({ session, control, module, memory }) {
  if (control) {
    words = new Int32Array(control)
    operands = new Float64Array(control, 4 * W.operands)
  }
  if (module) sessions.set(session, new WebAssembly.Instance(module, { env: { memory } }).exports)
  else sessions.delete(session)
  read++
  port.postMessage(session)
  for (;;) {
    // In this order: a message is posted first, and then the turn changes.
    const turn = Atomics.load(words, W.turn)
    if (Atomics.load(words, W.posted) !== read) return
    if (turn & 1) work(turn)
    Atomics.wait(words, W.turn, turn)
  }
}

function work(turn) {
  // Who is counted before the phase is closed is waited for: nothing of it changes until then.
  Atomics.add(words, W.busy, 1)
  try {
    if (Atomics.load(words, W.turn) === turn) takeUnits()
  } finally {
    if (Atomics.sub(words, W.busy, 1) === 1) Atomics.notify(words, W.busy)
  }
}

function takeUnits() {
  const kernel = sessions.get(words[W.session])[KERNELS[words[W.kernel]]]
  const all = Array.from(operands.subarray(0, words[W.before] + words[W.after]))
  const before = all.slice(0, words[W.before])
  const after = all.slice(words[W.before])
  for (let unit; (unit = Atomics.add(words, W.next, 1)) < words[W.units]; ) {
    for (let ready; (ready = Atomics.load(words, W.ready)) <= unit; ) {
      if (ready < 0) return // the phase has failed
      Atomics.wait(words, W.ready, ready)
    }
    const at = W.table + ${UNIT_WORDS} * unit
    let state = ${FAILED}
    try {
      state = 1 + (kernel(...before, words[at], words[at + 1], ...after) ?? words[at + 1])
    } finally {
      Atomics.store(words, at + 2, state)
      Atomics.notify(words, at + 2)
    }
  }
}

if (parentPort) port.on('message', hear)
else port.onmessage = ({ data }) => hear(data)
`
