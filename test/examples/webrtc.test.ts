// examples/webrtc: rings of real tabs, in headless Chromium, and the server that brings them
// together.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { networkInterfaces } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { WebSocket } from 'ws'
import type { NeighbourReport, Report } from '../../examples/webrtc/page.ts'
import type { Method } from '../../examples/webrtc/protocol.ts'
import { type RingServer, serveRing } from '../../examples/webrtc/server.ts'
import { launch } from '../browser/chromium.ts'
import { serve } from '../browser/server.ts'
import type { Browser, Tab } from '../browser/tab.ts'
import { bundleForBrowsers } from '../built/bundle.ts'
import { until as settled } from '../support/until.ts'
import { allClosed, intrude } from './strangers.ts'
import type { Ends } from './webrtc-channels.ts'

// In the browser:
declare const report: () => Report
declare const ends: Ends

const MESSAGE = 64 * 1024
const MARK = 1024 * 1024

const lib = createRequire(import.meta.url).resolve('typescript/lib/lib.dom.d.ts')
const text = readFileSync(lib, 'utf8').slice(0, 60_000)
const settings = { host: '127.0.0.1', port: 0, text }

const lone = Object.values(networkInterfaces()).every((all) => all!.every((one) => one.internal))
const browser = lone
  ? 'WebRTC takes no loopback interface, and this machine has no other'
  : await launch({ webrtc: true })

/** Resources of a test, closed when it is over, however it ends. */
const opened: { close(): Promise<void> }[] = []
const closeAll = async () => {
  for (const one of opened.splice(0).reverse()) await one.close()
}

const signalling = suite('signalling')
signalling.after.each(closeAll)

signalling(
  'refuses what is no description for a neighbour, once, and shuts the tab out',
  async () => {
    const server = keep(await serveRing({ ...settings, tabs: 4, steps: 1 }))
    const offer = (tab: unknown) => ({ type: 'offer', tab, sdp: 'v=0\r\n' })
    for (const [message, why] of [
      [new Uint8Array(1000), /expected text/],
      ['frame', /is not valid JSON/],
      ['null', /expected an object/],
      [{ ...offer(1), type: 'gradient' }, /"type": expected offer or answer, got gradient/],
      [{ ...offer(1), sdp: 'AAAA' }, /"sdp": expected a session description/],
      [{ ...offer(1), frame: 'AAAA' }, /got frame besides/],
      [offer(-1), /"tab": expected a tab's number, got -1/],
      [offer(0), /"tab": expected a neighbour, got 0/],
      [offer(2), /"tab": expected a neighbour, got 2/],
      [offer(4), /"tab": expected a neighbour, got 4/],
      [{ ...offer(1), sdp: `v=0\r\n${'a'.repeat(16 * 1024)}` }, /./],
    ] as const) {
      const { came } = server
      const refused = came.refused
      const tabs = await sockets(server, 4)
      const closed = once(tabs[0]!, 'close')
      tabs[0]!.send(
        typeof message === 'string' || message instanceof Uint8Array
          ? message
          : JSON.stringify(message),
      )
      assert.match(String((await closed)[1]) || 'too long', why)
      assert.is(came.refused, refused + 1)
      for (const tab of tabs) tab.terminate()
    }
    assert.is(server.came.offers + server.came.answers + server.came.bytes, 0)
  },
)

signalling('gives descriptions on to neighbours, and tells who is there', async () => {
  const server = keep(await serveRing({ ...settings, tabs: 4, steps: 7 }))
  const early = await sockets(server, 1)
  early[0]!.terminate() // before the ring is closed: nobody
  await once(early[0]!, 'close')
  const tabs = await sockets(server, 4)
  const sdp = `v=0\r\n${'x'.repeat(1000)}`
  const message = next(tabs[3]!)
  tabs[0]!.send(JSON.stringify({ type: 'offer', tab: 3, sdp }))
  assert.equal(await message, { type: 'offer', tab: 0, sdp })
  const back = next(tabs[0]!)
  tabs[3]!.send(JSON.stringify({ type: 'answer', tab: 0, sdp }))
  assert.equal(await back, { type: 'answer', tab: 3, sdp })
  const { bytes } = server.came
  assert.ok(bytes > 2000 && bytes < 2200, `${bytes}`)
  assert.equal({ ...server.came }, { offers: 1, answers: 1, bytes, refused: 0 })

  const left = [0, 2, 3].map((tab) => next(tabs[tab]!))
  tabs[1]!.terminate()
  for (const message of left) {
    assert.equal(await message, { type: 'members', members: [0, 2, 3] })
  }
  const late = new WebSocket(`${ringOf(server)}?method=plain`)
  assert.equal(await next(late), { type: 'waiting', here: 1, tabs: 4 })
  const lost = next(tabs[2]!) // are neighbours now
  tabs[0]!.send(JSON.stringify({ type: 'offer', tab: 2, sdp }))
  assert.equal(await lost, { type: 'offer', tab: 0, sdp })
  const again = once(tabs[0]!, 'close')
  tabs[0]!.send(JSON.stringify({ type: 'offer', tab: 3, sdp }))
  assert.match(String((await again)[1]), /tab 3 has had its offer/)
})

signalling('has the page, the text, and nothing else', async () => {
  const server = keep(await serveRing({ ...settings, tabs: 2, steps: 1 }))
  const at = (path: string, init?: RequestInit) =>
    fetch(`http://127.0.0.1:${server.port}${server.path}${path}`, init)
  assert.match(await (await at('?method=plain')).text(), /<html lang="en">/)
  const lengths = ['text/0', 'text/1', 'text/held-out'].map(async (path) => {
    return (await (await at(path)).arrayBuffer()).byteLength
  })
  assert.equal(await Promise.all(lengths), [27_000, 27_000, 6_000])
  assert.is((await at('text/2')).status, 404)
  assert.is((await at('page.js', { method: 'POST', body: 'frame' })).status, 404)
  const method = new WebSocket(`${ringOf(server)}?method=other`)
  assert.match(String((await once(method, 'close'))[1]), /expected one of powergossip,plain/)
})

signalling('goes on whatever strangers, or tabs, send', async () => {
  const server = keep(await serveRing({ ...settings, tabs: 2, steps: 1 }))
  const strangers = await intrude(server.port)
  const broken = Buffer.from([0xff, 0xff, 0xff, 0xff])
  for (const [query, sent] of [
    ['?method=other', broken],
    ['?method=plain', broken],
    ['?method=plain&method=//%00%', 'é'.repeat(120)], // the reason has room for 123 bytes
    ['?%', broken],
    ['', broken],
  ] as const) {
    const socket = new WebSocket(`${ringOf(server)}${query}`).on('error', () => {})
    await once(socket, 'open')
    const closed = new Promise((resolve) => socket.on('close', resolve))
    const tcp = (socket as unknown as { _socket: NodeJS.WritableStream })._socket
    if (typeof sent === 'string') socket.send(sent)
    else tcp.write(sent)
    await closed
  }
  // One that is shut out and does not close its end takes nobody's place.
  const mute = new WebSocket(`${ringOf(server)}?method=plain`)
  await once(mute, 'open')
  mute.pause()
  mute.send('null')
  mute.send('null')
  await settled('a tab is shut out', () => server.came.refused === 3)
  const tabs = await sockets(server, 2)
  assert.is(server.came.refused, 3)
  for (const tab of [...tabs, mute]) tab.terminate()
  assert.is((await fetch(`http://127.0.0.1:${server.port}/`)).status, 404)
  await closeAll()
  await allClosed(strangers)
})

signalling('says where it cannot listen', async () => {
  const server = keep(await serveRing({ ...settings, tabs: 2, steps: 1 }))
  const other = serveRing({ ...settings, port: server.port, tabs: 2, steps: 1 })
  assert.match(await other.then(String, String), 'EADDRINUSE')
})

signalling.run()

const test = suite('rings of tabs')
if (typeof browser === 'string') test.skip(`rings of tabs: ${browser}`)
else {
  const thrown: string[] = []
  test.after.each(closeAll)
  test.after.each(() => assert.equal(thrown.splice(0), []))
  test.after(() => browser.close())

  test('channels: frames of any size arrive whole and in order, and none waits above the mark', async () => {
    const { text } = await bundleForBrowsers('test/examples/webrtc-channels.ts')
    const server = keep(await serve({ '/page.js': text }, 1))
    const page = keep(await browser.open(server.url, (message) => thrown.push(message)))
    const limits = { frameBytes: 2 ** 24 }

    const floats = [1, 1_000_000, 7, 16_000, 17_000, 300_000]
    const sent = await page.evaluate((of) => ends.send(of), [floats, limits] as const)
    assert.equal(
      sent.same,
      floats.map(() => true),
    )
    assert.ok(sent.bytes.sent > 4 * floats.reduce((a, b) => a + b, 0))
    assert.is(sent.received, sent.bytes.sent)
    assert.is(sent.messages.sent, 1 + 62 + 1 + 1 + 2 + 19)
    assert.ok(sent.mostBuffered > MARK / 2, `${sent.mostBuffered}`) // else the mark had nothing to do
    assert.ok(sent.mostBuffered <= MARK, `${sent.mostBuffered}`)

    const small = { ...limits, messageBytes: 1000, highWater: 2000 }
    const slow = await page.evaluate((of) => ends.send(of), [[5000, 1, 900], small] as const)
    assert.equal(slow.same, [true, true, true])
    assert.ok(slow.messages.sent > 23, `${slow.messages.sent}`)
    assert.ok(slow.mostBuffered > 1000 && slow.mostBuffered <= 2000, `${slow.mostBuffered}`)
    assert.match(
      await page.evaluate((of) => ends.refused(of), { ...small, highWater: 1999 }),
      /RangeError: "highWater": expected 2000 or more, got 1999/,
    )
  })

  test('channels: what is no frame, or too long, closes them; so does the other end', async () => {
    const { text } = await bundleForBrowsers('test/examples/webrtc-channels.ts')
    const server = keep(await serve({ '/page.js': text }, 1))
    const page = keep(await browser.open(server.url, (message) => thrown.push(message)))
    const limits = { frameBytes: 2 ** 24 }
    for (const [sent, why] of [
      ['a text', /no frame: expected bytes, got a text/],
      [10, /no frame: /],
      [1000, /no frame: /],
    ] as const) {
      const result = await page.evaluate((of) => ends.garble(of), [sent, limits] as const)
      assert.match(result.why, why)
      assert.is(result.later, 'the other end has closed the channel')
      assert.is(result.frames, 0)
    }
    const full = await page.evaluate((of) => ends.closeMeanwhile(of), [5_000_000, limits] as const)
    assert.equal(full, { became: full.why, why: full.why, frames: 0 })
    assert.match(full.why, /^(data-channel-failure|the other end has closed the channel)$/)
    const few = { frameBytes: 100_000 }
    const long = await page.evaluate((of) => ends.send(of), [[5000, 30_000], few] as const)
    assert.equal(long.same, [true, false])
    assert.match(long.why, /no frame: expected 100000 bytes at most, got 1\d{5} /)
  })

  test('by PowerGossip: losses fall, tabs come together, and no frame passes the server', async () => {
    const server = keep(await serveRing({ ...settings, tabs: 4, steps: 12 }))
    const tabs = await open(server, 4, 'powergossip')
    await until(tabs, ({ step }) => step > 0)
    const came = { ...server.came }
    assert.equal(came, { offers: 4, answers: 4, bytes: came.bytes, refused: 0 })
    assert.ok(came.bytes < 8 * 2000, `${came.bytes}`) // a single frame has more
    const reports = await until(tabs, ({ status }) => status === 'finished')
    assert.equal({ ...server.came }, came)
    for (const [self, { measurements, neighbours }] of reports.entries()) {
      falls(measurements)
      assert.equal(neighbours.map(({ tab }) => tab).sort(), [(self + 1) % 4, (self + 3) % 4].sort())
      for (const { bytes, messages, state } of neighbours) {
        assert.is(state, 'open')
        assert.equal(messages, { sent: 12, received: 12 })
        assert.is(bytes.sent, bytes.received)
        assert.ok(bytes.sent > 12 * 20_000 && bytes.sent < 12 * MESSAGE, `${bytes.sent}`)
      }
    }
    const apart = distances(reports)
    assert.is(apart[0], 0)
    assert.ok(apart.at(-1)! < 0.85 * Math.max(...apart), `${apart}`)
  })

  test('with everything sent: frames are cut, and no more than the mark waits', async () => {
    const server = keep(await serveRing({ ...settings, tabs: 2, steps: 3 }))
    const tabs = await open(server, 2, 'plain')
    const reports = await until(tabs, ({ status }) => status === 'finished')
    for (const { measurements, neighbours } of reports) {
      falls(measurements)
      const [{ bytes, messages, mostBuffered }] = neighbours as [NeighbourReport]
      assert.ok(bytes.sent > 3 * 4 * 1_000_000, `${bytes.sent}`)
      assert.is(messages.sent, 3 * Math.ceil(bytes.sent / 3 / MESSAGE))
      assert.ok(mostBuffered > MARK / 2 && mostBuffered <= MARK, `${mostBuffered}`)
    }
    assert.equal({ ...server.came }, { ...server.came, offers: 1, answers: 1, refused: 0 })
  })

  test('a tab is closed: the others go on, and its neighbours become each other’s', async () => {
    const server = keep(await serveRing({ ...settings, tabs: 4, steps: 2000 }))
    const tabs = await open(server, 4, 'powergossip')
    await until(tabs, ({ step }) => step > 1)
    const [[closed], others] = [tabs.splice(1, 1), tabs]
    await closed!.close()
    const edge = (report: Report) => report.neighbours.find(({ tab }) => tab === 0 || tab === 2)
    const [zero, two, three] = await until(others, ({ neighbours }) => {
      const known = neighbours.every(({ tab, state }) => tab !== 1 || state === 'gone')
      const connected = neighbours.filter(
        (one) => one.state === 'open' && one.messages.received > 0,
      )
      return known && connected.length === 2
    })
    for (const report of [zero!, two!]) {
      const gone = report.neighbours.find(({ tab }) => tab === 1)!
      assert.ok(gone.state === 'gone' && gone.why.length > 0) // the server or the channel was faster
      assert.is(edge(report)?.state, 'open')
    }
    assert.equal(three!.neighbours.map(({ tab }) => tab).sort(), [0, 2])
    assert.equal({ ...server.came }, { ...server.came, offers: 5, answers: 5, refused: 0 })
    await goOn(others, 3)
    await others.pop()!.close() // two are left, then one
    await goOn(others, 3)
    await others.pop()!.close()
    const [last] = await goOn(others, 3)
    assert.ok(last!.neighbours.every(({ state }) => state === 'gone'))
  })

  /** Opens tabs one after another, so that their numbers are those of the list. */
  async function open(server: RingServer, count: number, method: Method): Promise<Tab[]> {
    const tabs: Tab[] = []
    for (let tab = 0; tab < count; tab++) {
      const url = `http://127.0.0.1:${server.port}${server.path}?method=${method}`
      tabs.push(keep(await (browser as Browser).open(url, (message) => thrown.push(message))))
    }
    return tabs
  }
}
test.run()

function keep<T extends { close(): Promise<void> }>(one: T): T {
  opened.push(one)
  return one
}

/**
 * Waits until `all` holds for each tab's report, and prints a dot whenever a report has changed, so
 * that run.ts sees the progress.
 *
 * @throws Error  if a tab fails
 */
async function until(tabs: readonly Tab[], all: (report: Report) => boolean): Promise<Report[]> {
  for (let before = ''; ; await setTimeout(100)) {
    const reports = await Promise.all(tabs.map((tab) => tab.evaluate(() => report())))
    if (reports.every(all)) return reports
    const seen = reports.map(({ status, step, neighbours }) => ({ status, step, neighbours }))
    const now = JSON.stringify(seen)
    if (reports.some(({ status }) => status.includes('Error'))) throw new Error(now)
    if (now !== before) process.stderr.write('.')
    before = now
  }
}

/** Waits until all tabs have taken so many more steps. */
async function goOn(tabs: readonly Tab[], steps: number): Promise<Report[]> {
  const now = await until(tabs, () => true)
  const latest = Math.max(...now.map(({ step }) => step))
  const then = await until(tabs, ({ step }) => step >= latest + steps)
  for (const { status } of then) assert.is(status, 'training')
  return then
}

function falls(measurements: Report['measurements']): void {
  const [first, last] = [measurements[0]!, measurements.at(-1)!]
  for (const { loss, heldOut } of measurements) {
    assert.ok(Number.isFinite(loss) && Number.isFinite(heldOut))
  }
  assert.ok(last.heldOut < first.heldOut, `${first.heldOut}, then ${last.heldOut}`)
}

/** √ of the mean of ‖xᵢ − x̄‖² at each measurement, of the parameters that are in samples. */
function distances(reports: readonly Report[]): number[] {
  return reports[0]!.measurements.map((_, at) => {
    const models = reports.map(({ measurements }) => measurements[at]!.sample)
    let sum = 0
    for (const i of models[0]!.keys()) {
      const values = models.map((sample) => sample[i]!)
      const mean = values.reduce((a, b) => a + b) / values.length
      for (const value of values) sum += (value - mean) ** 2
    }
    return Math.sqrt(sum / reports.length)
  })
}

function ringOf({ port, path }: RingServer): string {
  return `ws://127.0.0.1:${port}${path}ring`
}

/** Tabs without a page, when each knows the others. */
async function sockets(server: RingServer, count: number): Promise<WebSocket[]> {
  const tabs: WebSocket[] = []
  const greeted: Promise<unknown>[] = []
  for (let tab = 0; tab < count; tab++) {
    const socket = new WebSocket(`${ringOf(server)}?method=plain`)
    tabs.push(socket)
    greeted.push(
      new Promise((resolve) => {
        socket.on('message', (data) => {
          const { type } = JSON.parse(String(data))
          if (type === 'members' || count === 1) resolve(null)
        })
      }),
    )
    await once(socket, 'open')
  }
  await Promise.all(greeted)
  return tabs
}

async function next(socket: WebSocket): Promise<unknown> {
  return JSON.parse(String((await once(socket, 'message'))[0]))
}
