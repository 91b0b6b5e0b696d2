// The project's goals for the CPU, beside the measured figures. Goals are ratios, for ratios
// outlive a machine.
import { aggregateName, aggregateTitle } from './aggregate.ts'
import type { Size } from './arrays.ts'
import { kernelsTitle } from './kernels.ts'
import { OPERATIONS } from './peers/peer.ts'
import { MIX_OF, peerName, peersTitle } from './peers.ts'
import { atLeast, atMost, digits, find, type Goal, kernelName, type Table } from './results.ts'
import { KINDS, type Kind, stepName, stepTitle, threadsTitle } from './step.ts'
import { ON_MATRIX, streamName } from './stream.ts'
import { IMPLEMENTATIONS, TORCH_RANKS, torchName, torchTitle } from './torch.ts'

const LARGE: Size = { rows: 4096, cols: 4096 }
const CONVOLUTION: Size = { rows: 512, cols: 4608 }
const RESNET18 = stepTitle('ResNet-18')

/** The goals for which everything was measured. */
export function goals(tables: readonly Table[]): Goal[] {
  return [
    ...steps(tables),
    ...torch(tables),
    ...kernels(tables),
    ...peers(tables),
    ...threads(tables),
    ...aggregates(tables),
  ]
}

function steps(tables: readonly Table[]): Goal[] {
  const of = (kind: Kind, accept: readonly number[], aim: number, what: string): Goal[] =>
    [1, 2, 4].flatMap((rank, i) => {
      const ratio = find(tables, RESNET18, stepName(kind, rank))?.ratio
      if (ratio === undefined) return []
      return [atMost(`ResNet-18, r = ${rank}, ${what}: × stream`, accept[i]!, aim, ratio)]
    })
  return [
    ...of('resident', [1.5, 1.7, 2.2], 1.2, 'gradients in wasm memory'),
    ...of('caller', [2.0, 2.2, 2.7], 1.7, 'gradients in the caller’s arrays'),
  ]
}

function torch(tables: readonly Table[]): Goal[] {
  return (Object.keys(IMPLEMENTATIONS) as (keyof typeof IMPLEMENTATIONS)[]).flatMap((name) =>
    KINDS.flatMap((kind) =>
      TORCH_RANKS.flatMap((rank) => {
        const ratio = find(tables, torchTitle('ResNet-18', name), torchName(rank, kind))?.ratio
        if (ratio === undefined) return []
        const what = `ResNet-18, ${stepName(kind, rank)}, against ${IMPLEMENTATIONS[name]}: ×`
        return [atLeast(what, 3, 5, 1 / ratio)]
      }),
    ),
  )
}

function kernels(tables: readonly Table[]): Goal[] {
  const row = (name: string, rank: number) =>
    find(tables, kernelsTitle(LARGE), kernelName(name, rank))
  return Object.keys(ON_MATRIX).flatMap((name) => {
    const [one, two, four] = [row(name, 1), row(name, 2), row(name, 4)]
    if (!one || !two || !four) return []
    const percent = 100 / Math.max(one.ratio!, two.ratio!)
    return [
      atLeast(`${name}, 4096², r ≤ 2: % of stream`, 80, 90, percent),
      atLeast(`${name}, 4096², r = 4: GFLOP/s`, 20, 30, four.flops / four.ms / 1e6),
    ]
  })
}

/**
 * The goals beside peers, judged by the worst rank: 2 × the fastest peer, or 85 % of what streaming
 * allows.
 */
function peers(tables: readonly Table[]): Goal[] {
  return [
    ...peersAt(tables, LARGE, [1, 2, 4]),
    ...peersAt(tables, CONVOLUTION, [1, 2, 4]),
    ...peersAt(tables, LARGE, [8, 16, 32]),
    ...peersAt(tables, CONVOLUTION, [8, 16, 32]),
  ]
}

function peersAt(tables: readonly Table[], size: Size, ranks: readonly number[]): Goal[] {
  const title = peersTitle(size)
  return OPERATIONS.flatMap((operation): Goal[] => {
    const stream = find(tables, title, streamName(MIX_OF[operation]))
    const ours = ranks.flatMap((rank) => {
      const row = find(tables, title, peerName(operation, rank))
      if (!stream || row?.ratio === undefined) return []
      const [faster, percent] = [1 / row.ratio, (100 * stream.ms) / row.ms]
      const met = faster >= 2 || percent >= 85
      return [{ rank, faster, percent, level: faster >= 3 ? 2 : met ? 1 : 0 }]
    })
    if (ours.length === 0) return []
    const { rank, faster, percent, level } = ours.reduce((a, b) =>
      b.level < a.level || (b.level === a.level && b.faster < a.faster) ? b : a,
    )
    return [
      {
        what: `${operation}, ${size.rows} × ${size.cols}, r = ${ranks.join(', ')}, against the fastest peer`,
        accept: '≥ 2 × or 85 % of stream',
        aim: '≥ 3 ×',
        measured: `${digits(faster)} ×, ${digits(percent)} % (r = ${rank})`,
        verdict: (['missed', 'met', 'aim met'] as const)[level]!,
      },
    ]
  })
}

function threads(tables: readonly Table[]): Goal[] {
  return ['ResNet-18', 'LSTM'].flatMap((model) =>
    [1, 2, 4].flatMap((rank) => {
      const ratio = find(tables, threadsTitle(model), stepName('resident', rank, 2))?.ratio
      if (ratio === undefined) return []
      return [atLeast(`${model}, r = ${rank}, two threads against one: ×`, 1.6, 1.9, 1 / ratio)]
    }),
  )
}

function aggregates(tables: readonly Table[]): Goal[] {
  const row = find(tables, aggregateTitle('ResNet-18'), aggregateName('f32'))
  return row ? [atLeast('aggregate, f32: GB/s', 1, 3, row.bytes / row.ms / 1e6)] : []
}
