// The protocol between threads: control words in shared memory, apart from the sessions' memories,
// and the messages and program of the threads.
import type { PhaseKernel } from './executor.ts'

/** The kernels by number: word `kernel` holds an index into this list. */
export const PHASES: readonly PhaseKernel[] = [
  'accumulateProject',
  'project',
  'backproject',
  'reconstruct',
  'residual',
  'settle',
]

/** Indices of the control words, 32 bits each. */
export const WORD = {
  /** odd: a phase is open. Idle threads sleep on this word: any change wakes them. */
  turn: 0,
  /** number of threads, besides the calling one, that work on the phase */
  busy: 1,
  /** the next unit to be taken */
  next: 2,
  /**
   * units below this number may run, for their tiles are filled; FAILED: no more units will be
   * ready
   */
  ready: 3,
  /**
   * number of messages posted to each thread; a thread that has read fewer returns to its event
   * loop
   */
  posted: 4,
  /**
   * the phase: session and kernel by number, number of units, of operands before and after the
   * table
   */
  session: 5,
  kernel: 6,
  units: 7,
  before: 8,
  after: 9,
  /**
   * the operands, as float64: at an even index, for they need an address that is a multiple of 8
   */
  operands: 16,
  /** UNIT_WORDS words per unit: address of its first block, number of its blocks, its state */
  table: 32,
} as const

/** Units that the control words have room for. A phase with more runs in several parts. */
export const MOST_UNITS = 1 << 12

export const UNIT_WORDS = 3

/** Operands of a kernel, apart from the table of blocks and its count. */
export const MOST_OPERANDS = 8

/**
 * A unit's state is 0 before it has run, then 1 + the kernel's result, or FAILED if it threw.
 */
export const FAILED = -1

export const CONTROL_BYTES = 4 * (WORD.table + UNIT_WORDS * MOST_UNITS)

/**
 * Tells a thread that a session begins or ends. The first message to a thread has the control
 * words.
 */
export interface Message {
  readonly session: number
  readonly controlWords?: SharedArrayBuffer
  /** module and memory: the session begins; neither: it ends */
  readonly module?: WebAssembly.Module
  readonly memory?: WebAssembly.Memory
}

/**
 * The program of a thread, as text: plain JavaScript, for it is evaluated in a new worker. A thread
 * sleeps until a phase is open, runs units until none is left, and answers each message with the
 * session's number. The text ships as it is, so it has no comments:
 *
 * - In `onMessage`, the turn is read before the count of messages. A message is posted before the
 *   turn changes, so a thread sleeps through none.
 * - In `work`, the thread counts itself as busy first. The calling thread closes the phase, then
 *   waits until busy is 0. So a thread that still sees the phase open may rely on its words.
 * - In `takeUnits`, a negative `ready` means that the phase has failed.
 */
export const SOURCE = `
const { parentPort } = globalThis.process?.getBuiltinModule?.('node:worker_threads') ?? {}
const port = parentPort ?? self
const W = ${JSON.stringify(WORD)}
const KERNELS = ${JSON.stringify(PHASES)}
const sessions = new Map()
let words, operands, read = 0

function onMessage({ session, controlWords, module, memory }) {
  if (controlWords) {
    words = new Int32Array(controlWords)
    operands = new Float64Array(controlWords, 4 * W.operands)
  }
  if (module) sessions.set(session, new WebAssembly.Instance(module, { env: { memory } }).exports)
  else sessions.delete(session)
  read++
  port.postMessage(session)
  for (;;) {
    const turn = Atomics.load(words, W.turn)
    if (Atomics.load(words, W.posted) !== read) return
    if (turn & 1) work(turn)
    Atomics.wait(words, W.turn, turn)
  }
}

function work(turn) {
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
      if (ready < 0) return
      Atomics.wait(words, W.ready, ready)
    }
    const at = W.table + ${UNIT_WORDS} * unit
    let state = ${FAILED}
    try {
      state = 1 + (kernel(...before, words[at], words[at + 1], ...after) ?? 0)
    } finally {
      Atomics.store(words, at + 2, state)
      Atomics.notify(words, at + 2)
    }
  }
}

if (parentPort) port.on('message', onMessage)
else port.onmessage = ({ data }) => onMessage(data)
`
