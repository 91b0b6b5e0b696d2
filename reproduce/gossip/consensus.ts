// How fast nodes agree, against bytes and against the spectral gap.
import * as Plot from '@observablehq/plot'
import { ring, spectralGap } from 'lowrank/topology'
import { COLOURS, draw } from '../charts.ts'
import type { Claim, Effort, Part, Verdict } from '../experiment.ts'
import { bytes, table } from '../markdown.ts'
import { LEAST_SEEDS, show, spreadOf } from '../spread.ts'
import { type Averaging, bytesTo, lineOf, type Point, slopeOf } from './averaging.ts'
import { POWERGOSSIP } from './claims.ts'
import { AVERAGED, type MethodName, rates, type Setting, titleOf, untuned } from './methods.ts'
import { averagesOf, type Find, slopesOf } from './runs.ts'

/** The table has the bytes that it takes to reach each of these errors. */
const ERRORS = [1e-1, 1e-2, 1e-3]
/** If a slope grows with a power of the gap in this range, it counts as proportional to the gap. */
const PROPORTIONAL = [0.9, 1.1] as const
/** Plain gossip's slope may be off its limit by this part: fits end at 10 / gap. */
const OFF = 0.02

interface Curve {
  readonly gossip: Setting
  readonly points: readonly Point[]
}

interface Slope {
  readonly method: MethodName
  readonly nodes: number
  readonly gap: number
  readonly seed: number
  /** of ln(error), per iteration */
  readonly slope: number
}

export function reportAveraging(effort: Effort, find: Find): Part {
  const curves = averagesOf(effort).map((run): Curve => {
    return { gossip: run.gossip, points: find(run)!.points }
  })
  const slopes = slopesOf(effort).map((run) => slopeIn(run, find(run)!.points))
  const [{ size }] = slopesOf(effort) as [Averaging]
  return {
    markdown: [
      '### Averaging alone',
      `A ring of eight, 100 × 100 normals on each node: the error is the mean of ‖Xᵢ − X̄‖², of what it was at first. Normals
have no directions that matter more than others, so this is the worst case for low rank. Bytes are all that a node has sent when the
error first is so small. In the chart: of each method what needs the fewest bytes to the least error that any setting of it reaches.`,
      bytesTable(curves),
      '![error of consensus against bytes](gossip-consensus.svg)',
      '### Against the spectral gap',
      `Slopes of ln(error) per iteration, over the second half of the iterations, of ${size} × ${size} normals, γ = 1. Plain gossip's limit is
2·ln(1 − gap); a random projection to rank 1 takes on average 1/${size} of what is left of a difference, which makes 2·gap/${size}.`,
      slopeTable(slopes, size),
      '![slope against spectral gap](gossip-slopes.svg)',
    ].join('\n\n'),
    charts: {
      'gossip-consensus.svg': consensusChart(curves),
      'gossip-slopes.svg': slopeChart(slopes),
    },
    claims: [...slopeClaims(slopes), ...byteClaims(curves)],
    figures: {
      bytes: curves.map(({ gossip, points }) => ({
        gossip,
        to: ERRORS.map((error) => ({ error, bytes: bytesTo(points, error) })),
        last: points.at(-1) ?? null,
      })),
      slopes,
    },
  }
}

function slopeIn(run: Averaging, points: readonly Point[]): Slope {
  const { nodes, seed, gossip } = run
  const gap = spectralGap(ring(nodes))
  return { method: gossip.method, nodes, gap, seed, slope: slopeOf(points) }
}

function bytesTable(curves: readonly Curve[]): string {
  const rows = curves.map(({ gossip, points }) => [
    titleOf(gossip.method),
    rates(gossip),
    ...ERRORS.map((error) => {
      const sent = bytesTo(points, error)
      return sent === null ? '–' : bytes(sent)
    }),
    points.at(-1)?.error.toExponential(1) ?? 'diverged',
    points.length === 0 ? '' : bytes(points.at(-1)!.bytes),
  ])
  return table(['', '', ...ERRORS.map((error) => `to ${error}`), 'at the end', 'after'], rows)
}

function consensusChart(curves: readonly Curve[]): string {
  const shown = AVERAGED.map((method) => best(curves.filter((one) => one.gossip.method === method)))
  const lines = shown.flatMap(({ gossip, points }) =>
    points.map((point) => ({ ...point, name: titleOf(gossip.method) })),
  )
  const names = shown.map(({ gossip }) => ({
    name: titleOf(gossip.method),
    text: `${titleOf(gossip.method)}, ${rates(gossip)}`,
  }))
  return draw('Ring of eight, 100 × 100 normals: error of consensus against bytes', {
    marginRight: 330,
    color: { domain: names.map(({ name }) => name), range: [...COLOURS] },
    x: {
      type: 'log',
      grid: true,
      label: 'bytes that a node has sent',
      labelAnchor: 'center',
      labelArrow: 'none',
      ticks: 4,
      tickFormat: bytes,
    },
    y: {
      type: 'log',
      grid: true,
      label: 'error, of what it was',
      labelAnchor: 'center',
      labelArrow: 'none',
      tickFormat: (error: number) => error.toExponential(0),
      ticks: 6,
    },
    marks: [
      Plot.line(lines, { x: 'bytes', y: 'error', stroke: 'name', strokeWidth: 1.75 }),
      ...legend(names),
    ],
  })
}

/** Names in their colours, in the margin on the right. */
export function legend(names: readonly { name: string; text: string }[]): Plot.Markish[] {
  return names.map((one, i) =>
    Plot.text([one], {
      frameAnchor: 'top-right',
      textAnchor: 'start',
      dx: 10,
      dy: 18 * i,
      text: 'text',
      fill: 'name',
    }),
  )
}

/**
 * The curve with the fewest bytes to the least error in `ERRORS` that any of them reaches; if none
 * reaches one, the curve that ends with the least error.
 */
function best(curves: readonly Curve[]): Curve {
  const last = ({ points }: Curve) => points.at(-1)?.error ?? Number.POSITIVE_INFINITY
  const reached = ERRORS.filter((error) =>
    curves.some(({ points }) => bytesTo(points, error) !== null),
  )
  const least = reached.at(-1)
  const needed = curves.map((curve) =>
    least === undefined ? last(curve) : (bytesTo(curve.points, least) ?? Number.POSITIVE_INFINITY),
  )
  return curves[needed.indexOf(Math.min(...needed))]!
}

function slopeTable(slopes: readonly Slope[], size: number): string {
  const rings = [...new Set(slopes.map(({ nodes }) => nodes))]
  const methods = [...new Set(slopes.map(({ method }) => method))]
  const row = (name: string, at: (nodes: number) => string, end: string) => [
    name,
    ...rings.map(at),
    end,
  ]
  const gap = (nodes: number) => spectralGap(ring(nodes))
  return table(
    ['', ...rings.map((nodes) => `ring of ${nodes}`), 'power of the gap'],
    [
      row('spectral gap', (nodes) => gap(nodes).toFixed(6), ''),
      row('2·ln(1 − gap)', (nodes) => (2 * Math.log(1 - gap(nodes))).toPrecision(4), ''),
      row(`−2·gap/${size}`, (nodes) => ((-2 * gap(nodes)) / size).toPrecision(4), ''),
      ...methods.map((method) => {
        const own = slopes.filter((slope) => slope.method === method)
        const mean = (nodes: number) =>
          spreadOf(own.filter((one) => one.nodes === nodes).map(({ slope }) => slope)).mean
        const at = (nodes: number) => mean(nodes).toPrecision(4)
        return row(titleOf(method), at, show(spreadOf(exponents(own)), 3))
      }),
    ],
  )
}

/** The power in slope ∝ gap^power for each seed, by least squares of logarithms over the rings. */
export function exponents(slopes: readonly Slope[]): number[] {
  const seeds = [...new Set(slopes.map(({ seed }) => seed))]
  return seeds.map((seed) => {
    const own = slopes.filter((slope) => slope.seed === seed)
    return lineOf(own.map(({ gap, slope }) => [Math.log(gap), Math.log(-slope)])).slope
  })
}

function slopeChart(slopes: readonly Slope[]): string {
  const points = slopes.map(({ method, gap, slope }) => ({
    name: titleOf(method),
    gap,
    slope: -slope,
  }))
  const names = [...new Set(points.map(({ name }) => name))].map((name) => ({ name, text: name }))
  return draw('How fast the error falls, against the spectral gap: rings, γ = 1', {
    marginRight: 300,
    color: { domain: names.map(({ name }) => name), range: [...COLOURS] },
    x: {
      type: 'log',
      grid: true,
      label: 'spectral gap',
      labelAnchor: 'center',
      labelArrow: 'none',
      ticks: 4,
      tickFormat: String,
    },
    y: {
      type: 'log',
      grid: true,
      label: '−slope of ln(error) per iteration',
      labelAnchor: 'center',
      labelArrow: 'none',
      ticks: 4,
      tickFormat: String,
    },
    marks: [
      Plot.line(points, { x: 'gap', y: 'slope', stroke: 'name', sort: 'gap' }),
      Plot.dot(points, { x: 'gap', y: 'slope', fill: 'name', r: 4 }),
      ...legend(names),
    ],
  })
}

function slopeClaims(slopes: readonly Slope[]): Claim[] {
  const of = (method: MethodName) => slopes.filter((slope) => slope.method === method)
  const plain = of('plain').map(({ nodes, gap, slope }) => {
    return { nodes, off: Math.abs(slope / (2 * Math.log(1 - gap)) - 1) }
  })
  const near = plain.every(({ off }) => off <= OFF)
  return [
    {
      claim: 'Plain gossip: the error falls by (1 − gap)² in each iteration, in the end',
      source: 'Xiao & Boyd 2004',
      verdict: near ? 'found' : 'not found',
      numbers: plain
        .map(({ nodes, off }) => `ring of ${nodes}: off by ${(100 * off).toFixed(2)} %`)
        .join('; '),
    },
    ...(['power1', 'powerCold'] as const).map((method): Claim => {
      const powers = exponents(of(method))
      return {
        claim: `${titleOf(method)}: the slope of ln(error) is proportional to the spectral gap`,
        source: `${POWERGOSSIP}, convergence`,
        verdict: proportional(powers),
        numbers: `slope ∝ gap^p with p = ${show(spreadOf(powers), 3)}; as proportional counts each seed's p in ${PROPORTIONAL.join(' … ')}`,
      }
    }),
  ]
}

/** Found: every seed's power is in the range. Not found: none is. */
function proportional(powers: readonly number[]): Verdict {
  const [least, most] = PROPORTIONAL
  const inside = powers.filter((power) => power >= least && power <= most).length
  if (powers.length < LEAST_SEEDS) return 'not decidable'
  if (inside === powers.length) return 'found'
  return inside === 0 ? 'not found' : 'not decidable'
}

function byteClaims(curves: readonly Curve[]): Claim[] {
  const power = curves.filter(({ gossip }) => gossip.method === 'power1')
  const asItComes = power.find(({ gossip }) => gossip.gamma === untuned('power1').gamma)!
  const compressed = curves.filter(({ gossip }) => {
    return gossip.method !== 'plain' && !gossip.method.startsWith('power')
  })
  const cold = curves.find(({ gossip }) => gossip.method === 'powerCold' && gossip.gamma === 1)!
  return [
    fewer(
      'To agree to 1/100 and to 1/1000 PowerGossip (1 iteration, γ = 1) needs no more bytes than the best of the others, tuned',
      `${POWERGOSSIP}, abstract`,
      asItComes,
      compressed,
    ),
    fewer(
      'Warm start takes fewer bytes than new random factors in each half-step',
      `${POWERGOSSIP}, abstract`,
      asItComes,
      [cold],
    ),
  ]
}

/**
 * Found: fewer bytes at both errors. Not found: at neither. There is one seed only, so the figures
 * show a difference only where they are far apart.
 */
function fewer(claim: string, source: string, one: Curve, others: readonly Curve[]): Claim {
  const held = [1e-2, 1e-3].map((error) => {
    const own = bytesTo(one.points, error)
    const each = others.map(({ gossip, points }) => ({ gossip, sent: bytesTo(points, error) }))
    const reached = each.flatMap(({ gossip, sent }) => (sent === null ? [] : [{ gossip, sent }]))
    const least = reached.sort((a, b) => a.sent - b.sent)[0]
    return { error, own, least }
  })
  const known = held.every(({ own, least }) => own !== null || least !== undefined)
  const won = held.filter(
    ({ own, least }) => own !== null && (least === undefined || own <= least.sent),
  ).length
  const verdict = !known
    ? 'not decidable'
    : won === 2
      ? 'found'
      : won === 0
        ? 'not found'
        : 'not decidable'
  const told = (sent: number | null | undefined) => (sent == null ? 'not reached' : bytes(sent))
  return {
    claim,
    source,
    verdict,
    numbers: held
      .map(({ error, own, least }) => {
        const by = least ? ` (${titleOf(least.gossip.method)}, ${rates(least.gossip)})` : ''
        return `to ${error}: ${told(own)} against ${told(least?.sent)}${by}`
      })
      .join('; '),
  }
}
