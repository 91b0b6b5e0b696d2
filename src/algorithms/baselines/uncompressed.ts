// No compression: row "SGD" of the paper's tables.

import { rawLengths } from '../../layout.ts'
import type { Method } from '../../options.ts'
import { wholeSteps } from '../uncompressed.ts'
import { FLAT_OPTIONS, refuseAggregated } from './flat.ts'

/**
 * Every gradient travels whole; wishes of single parameters mean nothing. With a lossy wire, what
 * that loses stays in the residual. Memory: none but the residual.
 */
export function uncompressed(): Method {
  const name = 'uncompressed'
  return {
    name,
    supportedOptions: FLAT_OPTIONS,
    check: (settings) => refuseAggregated(name, settings),
    ranks: (specs) => specs.map(() => 0),
    cycle: (layout) => [[{ kind: 'summed', columns: rawLengths(layout) }]],
    create: () => wholeSteps,
  }
}
