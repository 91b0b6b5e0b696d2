// lowrank's frames over an RTCDataChannel: cut to messages that any browser takes, no more of them given
// to the browser than it should hold, put together again at the other end. Copy it.
import { FrameError, inspect, joinSlices, splitFrame } from 'lowrank/frames'

/** What any browser takes, whether or not it says so in its description (RFC 8841, §6.1). */
const MESSAGE_BYTES = 64 * 1024

/** Chromium's send throws where 16 MiB wait. Far less keeps the connection busy. */
const HIGH_WATER = 1024 * 1024

export interface Handlers {
  /** Takes a frame that has come. */
  readonly frame: (frame: Uint8Array) => void
  /** The channel is closed, for good; called once. */
  readonly closed: (why: string) => void
}

export interface Limits {
  /** of a frame that comes: more is not collected */
  readonly frameBytes: number
  /** of a message that goes. Default 64 KiB; less if the other end takes less */
  readonly messageBytes?: number
  /** of what waits in the browser. Default 1 MiB; two messages at least */
  readonly highWater?: number
}

/** Wraps a channel that is ordered and reliable, which channels are unless asked to be otherwise. */
export class Channel {
  /** what has gone out and come in, of frames */
  readonly bytes = { sent: 0, received: 0 }
  readonly messages = { sent: 0, received: 0 }
  /** the most that has waited in the browser at a time, in bytes */
  mostBuffered = 0
  /** Resolves when the channel is open. @throws Error  if it is closed instead */
  readonly opened: Promise<void>
  readonly #connection: RTCPeerConnection
  readonly #channel: RTCDataChannel
  readonly #handlers: Handlers
  readonly #limits: Required<Limits>
  /** all that is to be sent has been given to the browser */
  #sent: Promise<void>
  /** who waits for the channel to open, or to have room: one at a time, for frames go one after another */
  #waiter = { go: () => {}, fail: (_: Error) => {} }
  /** why it is closed */
  #end: Error | null = null
  /** of a frame that is not yet whole */
  #slices: Uint8Array[] = []
  #collected = 0

  /**
   * @param connection  what the channel is of
   * @param channel  one that has just been created: it has lost no message
   * @throws RangeError  if the high-water mark has no room for two messages
   */
  constructor(
    connection: RTCPeerConnection,
    channel: RTCDataChannel,
    { frameBytes, messageBytes = MESSAGE_BYTES, highWater = HIGH_WATER }: Limits,
    handlers: Handlers,
  ) {
    // Else there might be no room while half the mark is free, and `bufferedamountlow` never come.
    if (!(highWater >= 2 * messageBytes)) {
      throw new RangeError(`"highWater": expected ${2 * messageBytes} or more, got ${highWater}`)
    }
    this.#connection = connection
    this.#channel = channel
    this.#handlers = handlers
    this.#limits = { frameBytes, messageBytes, highWater }
    channel.binaryType = 'arraybuffer'
    channel.bufferedAmountLowThreshold = highWater / 2
    channel.onopen = () => this.#waiter.go()
    channel.onbufferedamountlow = () => this.#waiter.go()
    channel.onmessage = ({ data }) => this.#receive(data)
    channel.onerror = ({ error }) => this.close(error.message || error.errorDetail)
    channel.onclose = () => this.close('the other end has closed the channel')
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === 'failed') this.close('there is no way to the other end')
    }
    this.opened = this.#wait()
    this.#sent = this.opened
    this.opened.catch(() => {}) // `closed` says it, too
  }

  /**
   * Sends a frame after all those before it.
   *
   * @returns resolves when the browser has all of it, which need not mean that it has arrived
   * @throws Error  if the channel is closed before
   */
  send(frame: Uint8Array): Promise<void> {
    this.#sent = this.#sent.then(() => this.#send(frame))
    return this.#sent
  }

  close(why = 'this end has closed the channel'): void {
    if (this.#end) return
    this.#end = new Error(why)
    // The connection stays until the other end knows, which else would take half a minute to give this one up.
    const { readyState } = this.#channel
    if (readyState === 'closed') this.#connection.close()
    else this.#channel.onclose = () => this.#connection.close()
    this.#channel.close()
    this.#waiter.fail(this.#end)
    this.#handlers.closed(why)
  }

  async #send(frame: Uint8Array): Promise<void> {
    const { messageBytes, highWater } = this.#limits
    const most = Math.min(messageBytes, this.#connection.sctp!.maxMessageSize)
    for (const slice of splitFrame(frame, most)) {
      while (!this.#end && this.#channel.bufferedAmount + slice.length > highWater) {
        await this.#wait()
      }
      if (this.#end) throw this.#end
      this.#channel.send(slice as Uint8Array<ArrayBuffer>)
      this.bytes.sent += slice.length
      this.messages.sent++
      this.mostBuffered = Math.max(this.mostBuffered, this.#channel.bufferedAmount)
    }
  }

  #wait(): Promise<void> {
    return new Promise((go, fail) => {
      this.#waiter = { go, fail }
    })
  }

  #receive(data: unknown): void {
    if (this.#end) return
    try {
      const frame = this.#collect(data)
      if (frame) this.#handlers.frame(frame)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.close(`the other end has sent what is no frame: ${error.message}`)
    }
  }

  /** As slices come in their order, a frame's last one makes it whole. @throws FrameError */
  #collect(data: unknown): Uint8Array | null {
    if (!(data instanceof ArrayBuffer)) throw new FrameError('expected bytes, got a text', 0)
    const slice = new Uint8Array(data)
    this.bytes.received += slice.length
    this.messages.received++
    const { offset, count, total } = inspect(slice).slice
    this.#collected += slice.length
    const { frameBytes } = this.#limits
    if (this.#collected > frameBytes) {
      throw new FrameError(`expected ${frameBytes} bytes at most, got ${this.#collected}`, 0)
    }
    this.#slices.push(slice)
    if (offset + count < total) return null
    const frame = joinSlices(this.#slices)
    this.#slices = []
    this.#collected = 0
    return frame
  }
}
