// Messages between the launching process and the nodes of a ring, over Node's own channel to a
// child process. No frame goes this way.
import type { Wire } from './protocol.ts'

/** Methods of gossip: nodes exchange all parameters (plain) or differences of low rank. */
export const GOSSIPS = ['plain', 'powergossip'] as const
export type GossipName = (typeof GOSSIPS)[number]

/** Settings that all nodes share. */
export interface RingSettings {
  readonly workers: number
  readonly rank: number
  /** half-steps of PowerGossip in a training step */
  readonly iterations: number
  /** of PowerGossip's values; plain gossip sends float32 */
  readonly wire: Wire
  readonly steps: number
  readonly seed: number
}

/** One node's part in a run. */
export interface RingTask extends RingSettings {
  readonly worker: number
  /** random: what nodes show each other when they connect */
  readonly token: string
  readonly gossip: GossipName
  readonly symbols: number
}

/** The first message to a node. */
export interface Prepare {
  readonly type: 'prepare'
  readonly task: RingTask
  /** the text that this node trains on, and the text that no node trains on */
  readonly share: Uint8Array
  readonly heldOut: Uint8Array
}

/** Tells a node where the node before it listens. */
export interface Connect {
  readonly type: 'connect'
  readonly port: number
}

/** All nodes are connected: training begins. */
export interface Begin {
  readonly type: 'begin'
}

/** The model has been compiled, and the node after this one may connect. */
export interface Listening {
  readonly type: 'listening'
  readonly port: number
}

/** The node is connected to both neighbours. */
export interface Connected {
  readonly type: 'connected'
}

/** A step is over. */
export interface Stepped {
  readonly type: 'stepped'
  readonly step: number
}

/** A node's parameters after a step of `probes`, so that the mean of all nodes' can be measured. */
export interface Snapshot {
  readonly type: 'snapshot'
  readonly step: number
  readonly parameters: readonly Float32Array[]
  readonly sent: Sent
}

export interface Left {
  readonly type: 'left'
  readonly departure: Departure
}

/** A node has left this neighbour, in this step. */
export interface Departure {
  readonly step: number
  readonly neighbour: number
  readonly why: string
}

/** The node has finished; its snapshot of the last step came before this message. */
export interface Finished {
  readonly type: 'finished'
  readonly trained: Trained
}

/** A node's results at the end of a run. */
export interface Trained {
  /** SHA-256 of all parameters' bytes */
  readonly parameters: string
  /** of this node's own parameters on the whole probe, nats per character */
  readonly loss: number
  readonly sent: Sent
  /** how often a neighbour was not waited for any longer */
  readonly missed: number
  /** of all threads of the process, for training */
  readonly cpuMs: number
}

/** Bytes that one node has sent to its neighbours. */
export interface Sent {
  /** the frames' own lengths */
  readonly frames: number
  /** what WebSocket puts before them */
  readonly headers: number
  /** counted by the TCP sockets, from the first frame on */
  readonly sockets: number
}

export type ToNode = Prepare | Connect | Begin
export type FromNode = Listening | Connected | Stepped | Snapshot | Left | Finished
