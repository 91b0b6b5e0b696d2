// run.ts loads this before a test file. It puts audited.ts in the place of uvu, which does not
// notice a suite without `.run()`.
import { register } from 'node:module'

/** A test file's report, written to descriptor 3 when the file ends. */
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
