// What is compared: methods of lowrank/gossip, as they come and as they were tuned.
import { choco, deepSqueeze, type GossipMethod, plain, powerGossip } from 'lowrank/gossip'
import { optimalGamma, ring } from 'lowrank/topology'

/** What a method is run with: part of a run's description. */
export interface Setting {
  readonly method: MethodName
  readonly gamma: number
}

interface Known {
  readonly title: string
  create(setting: Setting): GossipMethod
  /** as it comes, or, where nothing does, as its authors or PowerGossip's had it for ResNet-20 */
  readonly untuned: number
  /** in words: whose that is */
  readonly whose: string
  /** what tuning tries for γ beside that; 'spectrum': nothing is tried, the topology says it */
  readonly grid: readonly number[] | 'spectrum'
}

const SIGN = 'sign'
const LARGEST = { keep: 0.01 }

const KNOWN = {
  plain: {
    title: 'plain gossip',
    create: ({ gamma }) => plain({ gamma }),
    untuned: 1,
    whose: 'default',
    grid: 'spectrum',
  },
  power1: {
    title: 'PowerGossip, 1 iteration',
    create: ({ gamma }) => powerGossip({ gamma }),
    untuned: 1,
    whose: 'default',
    grid: 'spectrum',
  },
  power2: {
    title: 'PowerGossip, 2 iterations',
    create: ({ gamma }) => powerGossip({ iterations: 2, gamma }),
    untuned: 1,
    whose: 'default',
    grid: 'spectrum',
  },
  chocoSign: {
    title: 'Choco, sign',
    create: ({ gamma }) => choco({ compression: SIGN, gamma }),
    untuned: 0.45,
    whose: 'of ResNet-20',
    grid: [0.1, 0.2, 0.9],
  },
  chocoLargest: {
    title: 'Choco, top 1 %',
    create: ({ gamma }) => choco({ compression: LARGEST, gamma }),
    untuned: 0.0375,
    whose: 'of ResNet-20',
    grid: [0.075, 0.15, 0.3],
  },
  deepSqueeze: {
    title: 'DeepSqueeze, sign',
    create: ({ gamma }) => deepSqueeze({ compression: SIGN, gamma }),
    untuned: 0.01,
    whose: 'of ResNet-20',
    grid: [0.02, 0.05, 0.1],
  },
} as const satisfies Record<string, Known>

export type MethodName = keyof typeof KNOWN

export const METHODS: Readonly<Record<MethodName, Known>> = KNOWN
export const NAMES = Object.keys(KNOWN) as MethodName[]

export function create(setting: Setting): GossipMethod {
  return METHODS[setting.method].create(setting)
}

export function untuned(method: MethodName): Setting {
  return { method, gamma: METHODS[method].untuned }
}

/** What tuning tries, the untuned one with it; none where the topology says it. */
export function candidates(method: MethodName): Setting[] {
  const { grid, untuned } = METHODS[method]
  if (grid === 'spectrum') return []
  return [untuned, ...grid].sort((a, b) => a - b).map((gamma) => ({ method, gamma }))
}

/** γ* of a ring, in the digits that the papers print. */
export function ofSpectrum(method: MethodName, nodes: number): Setting {
  return { method, gamma: Number(optimalGamma(ring(nodes)).toPrecision(4)) }
}
