// Runs in the browser: two ends of a Channel in one page. Bundled, called from webrtc.test.ts.
import { createGossip, plain } from 'lowrank/gossip'
import { Channel, type Limits } from '../../examples/webrtc/channel.ts'

/** One end, and the messages that it has received. */
interface End {
  readonly channel: Channel
  readonly raw: RTCDataChannel
  readonly frames: Uint8Array[]
  /** resolves to the reason why it was closed */
  readonly closed: Promise<string>
}

const ends = {
  /** Sends frames of these lengths, in floats, at once. @returns which came unchanged, and more */
  async send([floats, limits]: readonly [floats: readonly number[], limits: Limits]) {
    const [one, other] = await connect(limits)
    const frames = await Promise.all(floats.map(frameOf))
    await Promise.all(frames.map((frame) => one.channel.send(frame)))
    const all = async () => {
      while (other.frames.length < frames.length) await arrived(other.raw)
      return ''
    }
    const why = await Promise.race([all(), other.closed])
    const same = frames.map((frame, i) => {
      const got = other.frames[i]
      return got?.length === frame.length && got.every((byte, at) => byte === frame[at])
    })
    const { messages, bytes, mostBuffered } = one.channel
    one.channel.close()
    return { same, why, messages, bytes, mostBuffered, received: other.channel.bytes.received }
  },

  /** One end sends so many bytes, or a text, past its Channel. @returns why both ends close */
  async garble([sent, limits]: readonly [sent: string | number, limits: Limits]) {
    const [one, other] = await connect(limits)
    if (typeof sent === 'string') one.raw.send(sent)
    else one.raw.send(new Uint8Array(sent))
    const why = await other.closed
    await one.closed
    const later = await one.channel.send(await frameOf(10)).catch(({ message }) => message)
    return { why, later, frames: other.frames.length }
  },

  /** Sends a frame that has no room until the other end closes. */
  async closeMeanwhile([floats, limits]: readonly [floats: number, limits: Limits]) {
    const [one, other] = await connect(limits)
    const sending = one.channel.send(await frameOf(floats)).then(
      () => 'sent',
      ({ message }) => message,
    )
    other.channel.close()
    return { became: await sending, why: await one.closed, frames: other.frames.length }
  },

  /** @returns the error of a high-water mark without room for two messages */
  async refused(limits: Limits) {
    return connect(limits).then(
      () => 'nothing',
      (error) => String(error),
    )
  },
}

Object.assign(globalThis, { ends })
export type Ends = typeof ends

/** A frame of gossip. */
async function frameOf(floats: number): Promise<Uint8Array> {
  const node = await createGossip([[floats]], { self: 0, neighbours: { 1: 0.5 }, method: plain() })
  const values = Float32Array.from({ length: floats }, (_, i) => Math.sin(i))
  return node.beginSync([values]).get(1)!
}

/** Opens two ends of a channel. */
async function connect(limits: Limits): Promise<[End, End]> {
  const connections = [new RTCPeerConnection(), new RTCPeerConnection()] as const
  const [a, b] = connections
  const ends = connections.map((connection) => endOf(connection, limits)) as [End, End]
  a.onicecandidate = ({ candidate }) => candidate && b.addIceCandidate(candidate)
  b.onicecandidate = ({ candidate }) => candidate && a.addIceCandidate(candidate)
  await a.setLocalDescription()
  await b.setRemoteDescription(a.localDescription!)
  await b.setLocalDescription()
  await a.setRemoteDescription(b.localDescription!)
  await Promise.all(ends.map(({ channel }) => channel.opened))
  return ends
}

function endOf(connection: RTCPeerConnection, limits: Limits): End {
  const raw = connection.createDataChannel('frames', { negotiated: true, id: 0 })
  const frames: Uint8Array[] = []
  let close: (why: string) => void
  const closed = new Promise<string>((resolve) => {
    close = resolve
  })
  const frame = (whole: Uint8Array) => frames.push(whole)
  const channel = new Channel(connection, raw, limits, { frame, closed: (why) => close(why) })
  return { channel, raw, frames, closed }
}

function arrived(channel: RTCDataChannel): Promise<unknown> {
  return new Promise((resolve) => channel.addEventListener('message', resolve, { once: true }))
}
