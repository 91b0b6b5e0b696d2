// The program of a tab: it takes its place in the ring, trains, and shows the progress.
import { Circle } from './circle.ts'
import { METHODS } from './protocol.ts'
import { type Measurement, train } from './training.ts'

/** Limit of a frame that comes: more than the whole model, whatever the text. */
const FRAME_BYTES = 8 * 2 ** 20

export interface Report {
  /** as the page shows it: 'finished' at the end */
  readonly status: string
  /** the step that has begun */
  readonly step: number
  readonly measurements: readonly Measurement[]
  readonly neighbours: readonly NeighbourReport[]
}

export interface NeighbourReport {
  readonly tab: number
  readonly state: 'connecting' | 'open' | 'gone'
  /** why it is gone */
  readonly why: string
  readonly bytes: { readonly sent: number; readonly received: number }
  readonly messages: { readonly sent: number; readonly received: number }
  /** bytes */
  readonly mostBuffered: number
}

const measurements: Measurement[] = []
let step = 0
let circle: Circle | undefined

Object.assign(globalThis, { report }) // for the console, and tests
run().then(
  () => write('status', 'finished'),
  (error) => write('status', String(error)),
)

async function run(): Promise<void> {
  const asked = new URLSearchParams(location.search).get('method') ?? METHODS[0]
  const method = METHODS.find((known) => known === asked)
  if (!method) throw new RangeError(`"method": expected one of ${METHODS}, got ${asked}`)
  write('method', method)
  const server = new URL(`ring?method=${method}`, location.href)
  server.protocol = server.protocol.replace('http', 'ws')
  circle = new Circle(server.href, { frameBytes: FRAME_BYTES }, (here, tabs) => {
    write('status', `waiting: ${here} of ${tabs} tabs are here`)
  })
  const start = await circle.started
  const { self, tabs, steps } = start
  write('self', `${self} of ${tabs}`)
  write('status', 'connecting and compiling')
  watch(circle)
  const texts = { share: await read(`text/${self}`), heldOut: await read('text/held-out') }
  await train(start, method, texts, circle, (begun, measurement) => {
    step = begun
    write('status', 'training')
    write('step', `${step} of ${steps}`)
    document.querySelector('progress')!.value = step / steps
    if (!measurement) return
    measurements.push(measurement)
    write('loss', measurement.loss.toFixed(3))
    write('held-out', measurement.heldOut.toFixed(3))
  })
}

/** Shows the neighbours' states, for ever. */
async function watch(circle: Circle): Promise<void> {
  for (; ; await circle.news()) {
    const { neighbours } = report()
    const sum = (of: (neighbour: NeighbourReport) => number) =>
      neighbours.map(of).reduce((a, b) => a + b, 0)
    write('sent', bytes(sum((one) => one.bytes.sent)))
    write('received', bytes(sum((one) => one.bytes.received)))
    write('buffered', bytes(Math.max(0, ...neighbours.map((one) => one.mostBuffered))))
    const rows = neighbours.map(({ tab, state, why }) => {
      const row = document.createElement('tr')
      row.insertCell().textContent = `${tab}`
      row.insertCell().textContent = why ? `${state}: ${why}` : state
      return row
    })
    document.querySelector('#neighbours')!.replaceChildren(...rows)
  }
}

function report(): Report {
  const neighbours = [...(circle?.neighbours ?? [])].map(([tab, { state, why, channel }]) => {
    const { bytes, messages, mostBuffered } = channel
    return { tab, state, why, bytes, messages, mostBuffered }
  })
  const status = document.querySelector('#status')!.textContent
  return { status, step, measurements, neighbours }
}

/** @throws Error  unless the server has the file */
async function read(path: string): Promise<Uint8Array> {
  const response = await fetch(path)
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`)
  return new Uint8Array(await response.arrayBuffer())
}

function write(id: string, text: string): void {
  const element = document.querySelector(`#${id}`)!
  if (element.textContent !== text) element.textContent = text // else it is read aloud again
}

function bytes(count: number): string {
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`
}
