// lowrank's frames over an RTCDataChannel. The sender cuts them to messages that any browser takes,
// and gives the browser no more than it should hold; the other end puts them together again. Copy
// this file.
import { FrameError, inspect, joinSlices, splitFrame } from 'lowrank/frames'

/** Any browser takes this much, whether or not its description says so (RFC 8841, §6.1). */
const MESSAGE_BYTES = 64 * 1024

/** Chromium's `send` throws once 16 MiB wait. Far less keeps the connection busy. */
const HIGH_WATER = 1024 * 1024

export interface Handlers {
  /** Takes a frame that has come. */
  readonly frame: (frame: Uint8Array) => void
  /** The channel is closed, for good; called once. */
  readonly closed: (why: string) => void
}

export interface Limits {
  /** of a frame that comes: the channel closes when a frame is longer */
  readonly frameBytes: number
  /** of a message that goes out. Default 64 KiB; less if the other end takes less */
  readonly messageBytes?: number
  /** of the bytes that wait in the browser. Default 1 MiB; two messages at least */
  readonly highWater?: number
}

/** Wraps a channel that is ordered and reliable, as channels are by default. */
export class Channel {
  /** of frames */
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
  /** resolves when the browser has all frames so far */
  #sent: Promise<void>
  /**
   * waits for the channel to open, or to have room; only one waits, for frames go one after another
   */
  #waiter = { go: () => {}, fail: (_: Error) => {} }
  /** why the channel is closed; null: it is not */
  #end: Error | null = null
  /** of a frame that is not yet whole */
  #slices: Uint8Array[] = []
  #collected = 0

  /**
   * @param connection  the connection of the channel
   * @param channel  just created, so that it has lost no message
   * @throws RangeError  if the high-water mark has no room for two messages
   */
  constructor(
    connection: RTCPeerConnection,
    channel: RTCDataChannel,
    { frameBytes, messageBytes = MESSAGE_BYTES, highWater = HIGH_WATER }: Limits,
    handlers: Handlers,
  ) {
    // With less, a message might find no room while half the mark is free: `bufferedamountlow`
    // would never come.
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
    this.opened.catch(() => {}) // `closed` reports it, too
  }

  /**
   * Sends a frame after all those before it.
   *
   * @returns resolves when the browser has the whole frame, which may not yet have arrived
   * @throws Error  if the channel is closed before
   */
  send(frame: Uint8Array): Promise<void> {
    this.#sent = this.#sent.then(() => this.#send(frame))
    return this.#sent
  }

  close(why = 'this end has closed the channel'): void {
    if (this.#end) return
    this.#end = new Error(why)
    // The connection stays until the other end knows: else that end would take half a minute to
    // give this one up.
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
      this.#channel.send(slice)
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

  /**
   * Slices come in their order, so a frame is whole when its last slice comes.
   *
   * @throws FrameError
   */
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
