// The methods of lowrank/gossip that are compared, each untuned and tuned.
import { choco, deepSqueeze, type GossipMethod, moniqua, plain, powerGossip } from 'lowrank/gossip'
import { optimalGamma, ring } from 'lowrank/topology'

/** A method and its rates: part of a run's description. */
export interface Setting {
  readonly method: MethodName
  readonly gamma: number
  /** for Moniqua: the most that neighbours' numbers may differ by */
  readonly theta?: number
}

/** γ, and θ where the method has one. */
type Rates = readonly [gamma: number, theta?: number]

interface Known {
  readonly title: string
  create(gamma: number, theta: number): GossipMethod
  /** the default; where there is none, what PowerGossip's authors ran ResNet-20 with */
  readonly untuned: Rates
  /**
   * settings that tuning tries besides, for training and for averaging; null: not tuned, for γ*
   * follows from the topology
   */
  readonly tried: {
    readonly training: readonly Rates[]
    readonly averaging: readonly Rates[]
  } | null
}

const KNOWN = {
  plain: {
    title: 'plain gossip',
    create: (gamma) => plain({ gamma }),
    untuned: [1],
    tried: null,
  },
  power1: {
    title: 'PowerGossip, 1 iteration',
    create: (gamma) => powerGossip({ gamma }),
    untuned: [1],
    tried: null,
  },
  power2: {
    title: 'PowerGossip, 2 iterations',
    create: (gamma) => powerGossip({ iterations: 2, gamma }),
    untuned: [1],
    tried: null,
  },
  power8: {
    title: 'PowerGossip, 8 iterations',
    create: (gamma) => powerGossip({ iterations: 8, gamma }),
    untuned: [1],
    tried: null,
  },
  powerCold: {
    title: 'PowerGossip, no warm start',
    create: (gamma) => powerGossip({ warmStart: false, gamma }),
    untuned: [1],
    tried: null,
  },
  chocoSign: {
    title: 'Choco, sign',
    create: (gamma) => choco({ compression: 'sign', gamma }),
    untuned: [0.45],
    tried: { training: [[0.9], [0.2], [1.308]], averaging: [[0.05], [0.1], [0.2]] },
  },
  chocoLargest: {
    title: 'Choco, top 1 %',
    create: (gamma) => choco({ compression: { keep: 0.01 }, gamma }),
    untuned: [0.0375],
    tried: { training: [[0.1], [0.2]], averaging: [[0.02], [0.05], [0.075]] },
  },
  deepSqueeze: {
    title: 'DeepSqueeze, sign',
    create: (gamma) => deepSqueeze({ compression: 'sign', gamma }),
    untuned: [0.01],
    tried: { training: [[0.1], [0.03], [0.2]], averaging: [[0.03], [0.1], [0.3]] },
  },
  moniqua: {
    title: 'Moniqua, 2 bits',
    create: (gamma, theta) => moniqua({ gamma, theta }),
    untuned: [0.005, 0.25],
    tried: {
      training: [
        [0.2, 0.25],
        [0.05, 0.25],
        [0.5, 0.25],
        [1, 0.25],
      ],
      averaging: [
        [0.1, 4],
        [0.02, 4],
        [0.3, 4],
      ],
    },
  },
} as const satisfies Record<string, Known>

export type MethodName = keyof typeof KNOWN

/** The methods that nodes are trained with. */
export const TRAINED = Object.keys(KNOWN).filter((name) => name !== 'powerCold') as MethodName[]
/** The methods that matrices are averaged with. */
export const AVERAGED = Object.keys(KNOWN).filter((name) => name !== 'power8') as MethodName[]

export function create({ method, gamma, theta = 0 }: Setting): GossipMethod {
  return known(method).create(gamma, theta)
}

export function titleOf(method: MethodName): string {
  return known(method).title
}

export function untuned(method: MethodName): Setting {
  return settingOf(method, known(method).untuned)
}

/**
 * The settings that tuning tries, the untuned one first. Empty where γ follows from the topology.
 */
export function candidates(method: MethodName, purpose: 'training' | 'averaging'): Setting[] {
  const { untuned, tried } = known(method)
  if (tried === null) return []
  return [untuned, ...tried[purpose]].map((rates) => settingOf(method, rates))
}

/** The setting with γ* of a ring, in the digits that the papers print. */
export function ofSpectrum(method: MethodName, nodes: number): Setting {
  return { method, gamma: Number(optimalGamma(ring(nodes)).toPrecision(4)) }
}

/** `γ = 1`, `γ = 0.05, θ = 0.25` */
export function rates({ gamma, theta }: Setting): string {
  return `γ = ${gamma}${theta === undefined ? '' : `, θ = ${theta}`}`
}

/** `Choco, sign, γ = 0.45` */
export function described(setting: Setting): string {
  return `${titleOf(setting.method)}, ${rates(setting)}`
}

export function sameSetting(a: Setting, b: Setting): boolean {
  return a.method === b.method && a.gamma === b.gamma && a.theta === b.theta
}

function known(method: MethodName): Known {
  return KNOWN[method]
}

function settingOf(method: MethodName, [gamma, theta]: Rates): Setting {
  return { method, gamma, ...(theta === undefined ? {} : { theta }) }
}
