// Charts as SVG: Observable Plot on a document without a browser.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

/** One colour for each thing that is compared; Tableau's ten, which differ for most eyes. */
export const COLOURS = [
  ...['#4e79a7', '#e15759', '#59a14f', '#f28e2b', '#b07aa1'],
  ...['#76b7b2', '#9c755f', '#edc948', '#ff9da7', '#666666'],
] as const

/**
 * @param title  above the chart, in bold; what lines and bars mean belongs there or into marks
 * @returns a file of its own
 */
export function draw(title: string, options: Plot.PlotOptions): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const { marks = [], style, marginTop = 48, marginLeft = 64, ...others } = options
  const figure = Plot.plot({
    document,
    width: 800,
    height: 440,
    marginTop,
    marginLeft,
    marginRight: 32,
    marginBottom: 48,
    style: Object.assign(
      { background: 'white', fontSize: '13px', fontFamily: 'sans-serif' },
      style,
    ),
    ...others,
    marks: [
      Plot.text([title], {
        facet: 'super', // once, whatever the panels
        frameAnchor: 'top-left',
        dx: 8 - marginLeft,
        dy: 12 - marginTop,
        fontSize: 16,
        fontWeight: 'bold',
      }),
      ...marks,
    ],
  })
  figure.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return `${figure.outerHTML}\n`
}
