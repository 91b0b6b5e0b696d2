// How many times faster steps are, by bandwidth, with a panel for each delay.
import * as Plot from '@observablehq/plot'
import { COLOURS, draw } from '../charts.ts'
import type { Line } from './steptime.ts'

/** How many times faster one method is. */
export interface Curve {
  readonly name: string
  readonly speedUp: (line: Line) => number
}

const LEAST = 1 // Mbit/s
const MOST = 10_000
const POINTS = 60
const CHARACTER = 6.6 // pixels, on the average

export function chart(curves: readonly Curve[], delaysMs: readonly number[]): string {
  const name = (delayMs: number) => `${delayMs} ms one way`
  const points = delaysMs.flatMap((delayMs) =>
    curves.flatMap((curve) =>
      Array.from({ length: POINTS + 1 }, (_, i) => {
        const mbits = LEAST * (MOST / LEAST) ** (i / POINTS)
        const speedUp = curve.speedUp({ mbits, delayMs })
        return { curve: curve.name, delay: name(delayMs), mbits, speedUp }
      }),
    ),
  )
  const axis = { type: 'log', grid: true, labelAnchor: 'center', labelArrow: 'none' } as const
  const colour = (i: number) => COLOURS[i % COLOURS.length]!
  return draw('Steps of the demo: times faster than uncompressed float32', {
    height: 460,
    marginTop: 112,
    marginRight: 32,
    x: { ...axis, label: 'Mbit/s in each direction', ticks: [1, 10, 100, 1000], tickFormat: '~g' },
    y: { ...axis, label: 'times faster', ticks: 6, tickFormat: '~g' },
    fx: { label: null, domain: delaysMs.map(name) },
    color: { domain: curves.map((curve) => curve.name), range: curves.map((_, i) => colour(i)) },
    marks: [
      Plot.ruleY([1], { stroke: '#666666' }),
      Plot.line(points, { x: 'mbits', y: 'speedUp', z: 'curve', stroke: 'curve', fx: 'delay' }),
      ...key(curves).map(({ text, dx, dy, i }) =>
        Plot.text([text], {
          ...{ facet: 'super', frameAnchor: 'top-left', textAnchor: 'start', dx, dy },
          ...{ fill: colour(i), fontWeight: 'bold' },
        }),
      ),
    ],
  })
}

/** Names in their colours, in two lines above the panels. */
function key(curves: readonly Curve[]) {
  const half = Math.ceil(curves.length / 2)
  return curves.map(({ name }, i) => {
    const before = curves.slice(i < half ? 0 : half, i)
    const width = before.reduce((sum, { name }) => sum + CHARACTER * name.length + 20, 0)
    return { text: name, dx: width, dy: i < half ? -66 : -46, i }
  })
}
