// Loaded by run.ts before a test file: puts audited.ts in the place of uvu, which by itself never
// misses a suite without `.run()`.
import { register } from 'node:module'

/** The report of a test file on descriptor 3 when it ends. */
export interface Findings {
  /** tests that could not run, and why */
  readonly problems: readonly string[]
  /** names of the tests that were skipped */
  readonly skips: readonly string[]
}

const audited = new URL('./audited.ts', import.meta.url).href
const hook = `
  export async function resolve(specifier, context, next) {
    const own = context.parentURL?.split('?')[0] === ${JSON.stringify(audited)}
    return specifier === 'uvu' && !own ? next(${JSON.stringify(audited)}, context) : next(specifier, context)
  }
`
register(`data:text/javascript,${encodeURIComponent(hook)}`)
