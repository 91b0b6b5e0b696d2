// No compression: row "SGD" of the paper's tables.

import { rawLengths } from '../../layout.ts'
import type { Method } from '../../options.ts'
import { uncompressed as wholeSteps } from '../uncompressed.ts'
import { HEEDED, refuseAggregated } from './flat.ts'

/**
 * Every gradient travels whole; wishes of single parameters mean nothing. With a lossy wire, what
 * that loses stays in the residual. Memory: none but the residual.
 */
export function uncompressed(): Method {
  const name = 'uncompressed'
  return {
    name,
    heeds: HEEDED,
    check: (settings) => refuseAggregated(name, settings),
    ranks: (specs) => specs.map(() => 0),
    cycle: (plan) => [[{ kind: 'summed', columns: rawLengths(plan) }]],
    create: () => wholeSteps,
  }
}
