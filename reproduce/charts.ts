// Charts as SVG: Observable Plot on a document without a browser.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

/** Tableau's ten colours, which differ for most eyes. */
export const COLOURS: readonly string[] = [
  ...['#4e79a7', '#e15759', '#59a14f', '#f28e2b', '#b07aa1'],
  ...['#76b7b2', '#9c755f', '#edc948', '#ff9da7', '#666666'],
]

const SIZE = { width: 800, height: 440 }
const MARGIN = { marginTop: 48, marginRight: 150, marginBottom: 48, marginLeft: 64 }
const WIDTH = SIZE.width - MARGIN.marginLeft - MARGIN.marginRight
const HEIGHT = SIZE.height - MARGIN.marginTop - MARGIN.marginBottom
/** Height of a label. */
const LINE = 13
/** Width of a label's character, on the average. */
const CHARACTER = 6
/** Radius of a point. */
const DOT = 4

/**
 * Draws a chart, in the style that all charts share.
 *
 * @param title  above it, in bold
 * @returns an SVG file of its own
 */
export function draw(title: string, { marks = [], style, ...options }: Plot.PlotOptions): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const { marginLeft, marginTop } = { ...MARGIN, ...options }
  const heading = Plot.text([title], {
    facet: 'super', // once, whatever the panels
    frameAnchor: 'top-left',
    dx: 8 - marginLeft,
    dy: 12 - marginTop,
    fontSize: 16,
    fontWeight: 'bold',
  })
  const figure = Plot.plot({
    document,
    ...SIZE,
    ...MARGIN,
    style: Object.assign(
      { background: 'white', fontSize: '13px', fontFamily: 'sans-serif' },
      style,
    ),
    ...options,
    marks: [heading, ...marks],
  })
  figure.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return `${figure.outerHTML}\n`
}

/** An axis: what it shows, and how its ticks are written. */
export interface Axis {
  readonly label: string
  readonly tickFormat?: (value: number) => string
  readonly log?: true
}

/** A curve, with its name beside its end. */
export interface Line {
  readonly name: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

/** Draws curves, each with a colour of its own. */
export function lines(title: string, curves: readonly Line[], x: Axis, y: Axis): string {
  const shown = curves.filter(({ points }) => points.length > 0)
  const all = shown.flatMap(({ points }) => points)
  const scales = {
    x: scaleOf(
      all.map((p) => p.x),
      x,
      0,
    ),
    y: scaleOf(
      all.map((p) => p.y),
      y,
    ),
  }
  const ends = shown.map(({ name, points }, i) => ({ ...points.at(-1)!, name, colour: colour(i) }))
  const labels = placed(ends, scales, 'right')
  return draw(title, {
    x: { ...axis(x), domain: scales.x.domain, ticks: ticks(x, scales.x) },
    y: { ...axis(y), domain: scales.y.domain },
    marks: [
      ...shown.map(({ points }, i) =>
        Plot.line(points, { x: 'x', y: 'y', stroke: colour(i), strokeWidth: 1.75 }),
      ),
      ...labels,
    ],
  })
}

/** A point with a bar, and its name. */
export interface Point {
  readonly name: string
  readonly x: number
  readonly y: number
  /** of the bar */
  readonly least: number
  readonly most: number
  /** index of its group, which its colour stands for */
  readonly group: number
}

/**
 * Draws points, each with a bar and its name.
 *
 * @param groups  names of the groups that colours stand for; shown below the title if there are
 *   several
 */
export function scatter(
  title: string,
  points: readonly Point[],
  groups: readonly string[],
  x: Axis,
  y: Axis,
): string {
  const shown = points
    .filter((point) => Number.isFinite(point.y) && Number.isFinite(point.most))
    .map((point) => ({ ...point, colour: colour(point.group) }))
  const scales = {
    x: scaleOf(
      shown.map((point) => point.x),
      x,
    ),
    y: scaleOf(
      shown.flatMap(({ least, most }) => [least, most]),
      y,
    ),
  }
  return draw(title, {
    x: { ...axis(x), domain: scales.x.domain, ticks: ticks(x, scales.x) },
    y: { ...axis(y), domain: scales.y.domain },
    marks: [
      ...(groups.length > 1 ? groups.map((name, i) => key(name, i)) : []),
      Plot.ruleX(shown, { x: 'x', y1: 'least', y2: 'most', stroke: 'colour', strokeWidth: 2 }),
      Plot.dot(shown, { x: 'x', y: 'y', fill: 'colour', r: DOT }),
      ...placed(shown, scales, 'left or right'),
    ],
  })
}

function colour(i: number): string {
  return COLOURS[i % COLOURS.length]!
}

/** A group's name in its colour, below the title. */
function key(name: string, i: number): Plot.Markish {
  const dx = 8 - MARGIN.marginLeft + i * 120
  const dy = 32 - MARGIN.marginTop
  return Plot.text([name], { frameAnchor: 'top-left', dx, dy, fill: colour(i), fontWeight: 'bold' })
}

function axis({ label, tickFormat, log }: Axis): Plot.ScaleOptions {
  return {
    grid: true,
    label,
    labelAnchor: 'center',
    labelArrow: 'none',
    ...(log && { type: 'log' }),
    ...(tickFormat && { tickFormat }),
  }
}

/**
 * The ticks of an axis. A logarithmic one has 1, 2 and 5 times each power of ten: labels of more
 * would run into each other.
 */
function ticks({ log }: Axis, { domain: [least, most] }: Scale): number | number[] {
  if (!log) return 6
  const powers = range(Math.floor(Math.log10(least)), Math.ceil(Math.log10(most)))
  return powers
    .flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power))
    .filter((tick) => least <= tick && tick <= most)
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i)
}

/** A point with a name. Names keep clear of its bar, if it has one. */
interface Labelled {
  readonly name: string
  readonly x: number
  readonly y: number
  readonly least?: number
  readonly most?: number
  readonly colour: string
}

interface Scale {
  readonly domain: readonly [number, number]
  /** maps a value of the domain to 0 … 1 */
  readonly at: (value: number) => number
}

/** @param room  added on each side of the values, as a part of their range */
function scaleOf(values: readonly number[], { log }: Axis, room = 0.05): Scale {
  const to = log ? Math.log : (value: number) => value
  const from = log ? Math.exp : (value: number) => value
  const least = to(Math.min(...values))
  const most = to(Math.max(...values))
  const beyond = room * (most - least || Math.abs(most) || 1)
  const [low, high] = [least - beyond, most + beyond]
  return {
    domain: [from(low), from(high)],
    at: (value) => (high > low ? (to(value) - low) / (high - low) : 0.5),
  }
}

/** A box in pixels of the plot's inside. */
interface Box {
  readonly left: number
  readonly right: number
  readonly top: number
  readonly bottom: number
}

function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}

/**
 * Puts names beside their points: to the right; where that is taken, to the left, higher or lower.
 *
 * @param sides  `left or right` if names may be to the left as well
 */
function placed(
  points: readonly Labelled[],
  scales: { readonly x: Scale; readonly y: Scale },
  sides: 'right' | 'left or right',
): Plot.Markish[] {
  const across = (value: number) => scales.x.at(value) * WIDTH
  const down = (value: number) => (1 - scales.y.at(value)) * HEIGHT
  const taken: Box[] = points.flatMap(({ x, y, least, most }) => {
    if (least === undefined || most === undefined) return []
    const bar = { left: across(x) - 1, right: across(x) + 1, top: down(most), bottom: down(least) }
    const [left, right, top, bottom] = [
      across(x) - DOT,
      across(x) + DOT,
      down(y) - DOT,
      down(y) + DOT,
    ]
    return [bar, { left, right, top, bottom }]
  })
  const signs = sides === 'right' ? [1] : [1, -1]
  // If names are to the right only, they keep the order of their points: placed from the lowest on,
  // each name is only ever moved up.
  const ways = sides === 'right' ? [-1] : [1, -1]
  const shifts = Array.from({ length: 4 * points.length }, (_, i) => (i * LINE) / 4)
  return [...points]
    .sort((a, b) => down(b.y) - down(a.y))
    .map((point) => {
      const width = CHARACTER * point.name.length
      const places = shifts.flatMap((shift) =>
        signs.flatMap((sign) => ways.map((way) => ({ sign, dy: way * shift }))),
      )
      const boxOf = ({ sign, dy }: { sign: number; dy: number }): Box => {
        const start = across(point.x) + 8 * sign
        const middle = down(point.y) + dy
        const [left, right] = sign > 0 ? [start, start + width] : [start - width, start]
        return { left, right, top: middle - LINE / 2, bottom: middle + LINE / 2 }
      }
      const free = places.find((place) => {
        const box = boxOf(place)
        return box.left > 0 && !taken.some((other) => overlap(box, other))
      })
      const { sign, dy } = free ?? places[0]!
      taken.push(boxOf({ sign, dy }))
      return Plot.text([point], {
        x: 'x',
        y: 'y',
        text: [point.name],
        fill: point.colour,
        textAnchor: sign > 0 ? 'start' : 'end',
        dx: 8 * sign,
        dy,
        fontSize: 12,
      })
    })
}
