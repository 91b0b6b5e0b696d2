// No compression: the row "SGD" of the tables of arXiv 1905.13727.

import { rawLengths } from '../../layout.ts'
import type { Method } from '../../options.ts'
import { takesNone } from '../../validate.ts'
import { refuseAggregated } from '../feedback.ts'
import { wholeSteps } from '../uncompressed.ts'
import { FLAT_OPTIONS } from './flat.ts'

/**
 * Sends every gradient whole; a parameter's own `rank` and `compress` are ignored. With a lossy
 * wire type the encoding error stays in the residual.
 *
 * Memory: none besides the residual.
 */
export function uncompressed(...none: []): Method {
  takesNone(none)
  return {
    name: 'uncompressed',
    supportedOptions: FLAT_OPTIONS,
    check: refuseAggregated,
    ranks: (specs) => specs.map(() => 0),
    cycle: (layout) => [[{ kind: 'summed', columns: rawLengths(layout) }]],
    create: () => wholeSteps,
  }
}
