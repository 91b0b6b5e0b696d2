// No compression: row "SGD" of the paper's tables.

import { rawLengths } from '../../layout.ts'
import type { Method } from '../../options.ts'
import { refuseAggregated } from '../feedback.ts'
import { wholeSteps } from '../uncompressed.ts'
import { FLAT_OPTIONS } from './flat.ts'

/**
 * Every gradient travels whole; wishes of single parameters mean nothing. With a lossy wire, what
 * that loses stays in the residual. Memory: none but the residual.
 */
export function uncompressed(): Method {
  return {
    name: 'uncompressed',
    supportedOptions: FLAT_OPTIONS,
    check: refuseAggregated,
    ranks: (specs) => specs.map(() => 0),
    cycle: (layout) => [[{ kind: 'summed', columns: rawLengths(layout) }]],
    create: () => wholeSteps,
  }
}
