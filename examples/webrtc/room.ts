// Tabs that wait for each other, then form a ring; and the messages that each tab gets.
import type { WebSocket } from 'ws'
import { neighboursOf, parseSignal, type Signal, type ToTab } from './protocol.ts'

/** Counts of the messages that have come from tabs. */
export interface Came {
  offers: number
  answers: number
  /** of offers and answers, as text */
  bytes: number
  /** other messages, and those to no neighbour or not the first to it; their tabs are shut out */
  refused: number
}

export class Room {
  started = false
  readonly #tabs: number
  readonly #task: { readonly steps: number; readonly symbols: number }
  readonly #came: Came
  /** by number, once it has started */
  #members: (WebSocket | undefined)[] = []

  constructor(
    tabs: number,
    task: { readonly steps: number; readonly symbols: number },
    came: Came,
  ) {
    this.#tabs = tabs
    this.#task = task
    this.#came = came
  }

  enter(socket: WebSocket): void {
    const heard = new Set<number>() // neighbours that already have this tab's description
    this.#members.push(socket)
    socket.on('message', (data: Buffer, isBinary) => {
      if (!this.#members.includes(socket)) return // it has been shut out
      try {
        if (isBinary) throw new TypeError('expected text')
        this.#forward(socket, parseSignal(data.toString()), heard)
        this.#came.bytes += data.length
      } catch (error) {
        this.#refuse(socket, error as Error)
      }
    })
    socket.on('error', (error) => this.#refuse(socket, error)) // for example: too long
    socket.on('close', () => this.#leave(socket))
    if (this.#members.length < this.#tabs) this.#count()
    else this.#start()
  }

  #start(): void {
    this.started = true
    for (const [self, member] of this.#members.entries()) {
      tell(member!, { type: 'start', self, tabs: this.#tabs, ...this.#task })
    }
    this.#arrange()
  }

  #leave(socket: WebSocket): void {
    const self = this.#members.indexOf(socket)
    if (self < 0) return
    if (this.started) {
      this.#members[self] = undefined
      this.#arrange()
    } else {
      this.#members = this.#members.filter((member) => member !== socket)
      this.#count()
    }
  }

  /** Passes a description on. A tab may send each neighbour one, and nothing else. */
  #forward(socket: WebSocket, { type, tab, sdp }: Signal, heard: Set<number>): void {
    const self = this.#members.indexOf(socket)
    if (this.started && tab < this.#tabs && !this.#members[tab]) return // gone since
    if (!this.started || !neighboursOf(self, this.#present).includes(tab)) {
      throw new RangeError(`"tab": expected a neighbour, got ${tab}`)
    }
    if (heard.has(tab)) throw new RangeError(`tab ${tab} has had its ${type}`)
    heard.add(tab)
    if (type === 'offer') this.#came.offers++
    else this.#came.answers++
    tell(this.#members[tab]!, { type, tab: self, sdp })
  }

  #refuse(socket: WebSocket, { message }: Error): void {
    if (!this.#members.includes(socket)) return
    this.#came.refused++
    // `close` takes 123 bytes, and the message may quote any text. ws terminates the connection if the
    // other end does not close it, too; so long nobody waits.
    socket.close(1008, message.replace(/[^ -~]/g, '?').slice(0, 100))
    this.#leave(socket)
  }

  get #present(): number[] {
    return [...this.#members.keys()].filter((number) => this.#members[number])
  }

  #count(): void {
    for (const member of this.#members) {
      tell(member!, { type: 'waiting', here: this.#members.length, tabs: this.#tabs })
    }
  }

  #arrange(): void {
    const members = this.#present
    for (const number of members) tell(this.#members[number]!, { type: 'members', members })
  }
}

function tell(socket: WebSocket, message: ToTab): void {
  socket.send(JSON.stringify(message))
}
