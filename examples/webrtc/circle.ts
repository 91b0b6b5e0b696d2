// This tab's place in the ring: the server lists the tabs, and this one connects to its neighbours.
import { Channel, type Limits } from './channel.ts'
import { neighboursOf, type Signal, type Start, type ToTab } from './protocol.ts'

export interface Neighbour {
  state: 'connecting' | 'open' | 'gone'
  /** why the neighbour is gone */
  why: string
  /** frames that have come and have not been taken, in their order */
  readonly inbox: Uint8Array[]
  readonly channel: Channel
  readonly connection: RTCPeerConnection
}

/** Data channels to the tabs before and after this one, and to no others. */
export class Circle {
  /** all neighbours so far, also those that are gone, by number */
  readonly neighbours = new Map<number, Neighbour>()
  /** Resolves when there are enough tabs. @throws Error  if the server is lost before */
  readonly started: Promise<Start>
  readonly #server: WebSocket
  readonly #limits: Limits
  #self = -1
  #finished = false
  #curious: (() => void)[] = []

  /** @param waiting  is called with the number of tabs as long as they are too few */
  constructor(url: string, limits: Limits, waiting: (here: number, tabs: number) => void) {
    this.#limits = limits
    this.#server = new WebSocket(url)
    this.started = new Promise((resolve, reject) => {
      this.#server.onmessage = ({ data }) => {
        const message = JSON.parse(data) as ToTab
        if (message.type === 'waiting') waiting(message.here, message.tabs)
        else if (message.type === 'members') this.#arrange(message.members)
        else if (message.type !== 'start') this.#hear(message)
        else {
          this.#self = message.self
          resolve(message)
        }
      }
      // A ring that has begun goes on without the server: only gaps are no longer closed.
      this.#server.onclose = ({ reason }) => reject(new Error(`the server is gone ${reason}`))
    })
  }

  /** Resolves at the next change: a frame comes, or a channel opens or closes. */
  news(): Promise<void> {
    return new Promise((resolve) => {
      this.#curious.push(resolve)
    })
  }

  /**
   * Makes no more connections.
   *
   * @param kept  the neighbours that may still need this tab's frames
   */
  finish(kept: readonly number[]): void {
    this.#finished = true
    for (const [id, { channel }] of this.neighbours) {
      if (!kept.includes(id)) channel.close('this tab has finished')
    }
  }

  /**
   * Closes the channels to tabs that have left, and connects to the tabs that are neighbours now.
   */
  #arrange(members: readonly number[]): void {
    for (const [id, { channel }] of this.neighbours) {
      if (!members.includes(id)) channel.close('the tab has been closed')
    }
    if (this.#finished) return
    for (const id of neighboursOf(this.#self, members)) {
      if (!this.neighbours.has(id)) this.#connect(id)
    }
  }

  #connect(id: number): void {
    const connection = new RTCPeerConnection()
    // Both ends create the channel, so that neither waits for the other's.
    const made = connection.createDataChannel('frames', { negotiated: true, id: 0 })
    const to = (state: Neighbour['state'], why = '') => {
      Object.assign(neighbour, { state, why })
      this.#wake()
    }
    const channel = new Channel(connection, made, this.#limits, {
      frame: (frame) => {
        neighbour.inbox.push(frame)
        this.#wake()
      },
      closed: (why) => to('gone', why),
    })
    const neighbour: Neighbour = { state: 'connecting', why: '', inbox: [], channel, connection }
    this.neighbours.set(id, neighbour)
    channel.opened.then(
      () => to('open'),
      () => {}, // `closed` reports it
    )
    this.#wake()
    if (this.#self < id) this.#describe(id, 'offer')
  }

  #hear({ type, tab, sdp }: Signal): void {
    const neighbour = this.neighbours.get(tab)
    if (!neighbour || neighbour.state === 'gone') return // gone since, or this tab has finished
    neighbour.connection.setRemoteDescription({ type, sdp }).then(
      () => type === 'offer' && this.#describe(tab, 'answer'),
      ({ message }) => neighbour.channel.close(message),
    )
  }

  /** Sends this tab's description once it has all candidates, so that one message is enough. */
  #describe(tab: number, type: Signal['type']): void {
    const { connection, channel } = this.neighbours.get(tab)!
    connection.onicegatheringstatechange = () => {
      if (connection.iceGatheringState !== 'complete') return
      const { sdp } = connection.localDescription!
      this.#server.send(JSON.stringify({ type, tab, sdp } satisfies Signal))
    }
    connection.setLocalDescription().catch(({ message }) => channel.close(message))
  }

  #wake(): void {
    for (const resolve of this.#curious.splice(0)) resolve()
  }
}
