// The page: verdicts first, then each experiment's part; and results.json with all figures.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Claim, Effort, Experiment, Part } from './experiment.ts'
import { count, table } from './markdown.ts'
import type { Options } from './options.ts'
import { machine } from './provenance.ts'
import { LEAST_SEEDS } from './spread.ts'
import type { Entry } from './store.ts'

/** Files that are written, besides the charts. */
export const PAGE = 'README.md'
export const RESULTS = 'results.json'

/**
 * Writes README.md, the charts and results.json.
 *
 * @param entries  of each experiment, in the order of its runs
 * @returns the page's path
 */
export function writePage(
  experiments: readonly Experiment[],
  entries: readonly (readonly Entry[])[],
  { effort, out }: Options,
): string {
  const parts = experiments.map((experiment, i) => experiment.report(entries[i]!, effort))
  const circumstances = circumstancesOf(effort, [...new Set(entries.flat())])
  const claims = experiments.flatMap(({ name }, i) =>
    parts[i]!.claims.map((claim) => ({ experiment: name, ...claim })),
  )
  const page = [
    '# What the papers found, in kind',
    introduction(circumstances),
    ...(claims.length > 0 ? ['## Claims', verdicts(claims)] : []),
    ...experiments.flatMap(({ title }, i) => [`## ${title}`, parts[i]!.markdown]),
  ].join('\n\n')
  const results = {
    ...circumstances,
    claims,
    ...Object.fromEntries(experiments.map(({ name }, i) => [name, parts[i]!.figures])),
  }
  mkdirSync(out, { recursive: true })
  const path = join(out, PAGE)
  writeFileSync(path, `${page}\n`)
  writeFileSync(join(out, RESULTS), `${JSON.stringify(results, null, 1)}\n`)
  for (const [name, svg] of charts(parts)) writeFileSync(join(out, name), svg)
  return path
}

/** How the results were computed. */
interface Circumstances {
  readonly command: string
  readonly commits: readonly string[]
  readonly from: string
  readonly to: string
  readonly cpu: string
  readonly cores: number
  readonly node: string
  readonly runs: number
  readonly runSeconds: number
}

function circumstancesOf(effort: Effort, entries: readonly Entry[]): Circumstances {
  const dates = entries.map(({ date }) => date).sort()
  return {
    command: `npm run reproduce${effort === 'full' ? '' : ` -- --${effort}`}`,
    commits: [...new Set(entries.map(({ commit }) => commit))],
    from: dates[0] ?? 'never',
    to: dates.at(-1) ?? 'never',
    ...machine(),
    runs: entries.length,
    runSeconds: Math.round(entries.reduce((sum, { seconds }) => sum + seconds, 0)),
  }
}

function introduction(about: Circumstances): string {
  const { command, commits, from, to, cpu, cores, node, runs, runSeconds } = about
  return `Made by \`${command}\`, which writes this page again from what it has computed: ${count(runs)} runs that took
${count(runSeconds / 60)} minutes of one thread, ${minute(from)} to ${minute(to)} UTC, at ${commits.join(', ')} (\`+\`: with changes),
on ${cpu}, ${cores} cores, Node ${node}. All figures are in [results.json](results.json).

Models here have about 100,000 parameters, data sets are parts of the originals, trainings are short: the papers'
figures themselves are not to be expected, but what they say about methods beside each other is looked for. Where
trainings are compared, ± is half the range over seeds, and *better* means that each seed of one came out
better than each seed of the other: with three and three, chance alone does that once in twenty times.
Otherwise, or with fewer than ${LEAST_SEEDS} seeds, they are within the spread.`
}

function verdicts(claims: readonly Claim[]): string {
  const number = (wanted: Claim['verdict']) =>
    claims.filter(({ verdict }) => verdict === wanted).length
  const rows = claims.map(({ claim, source, verdict, numbers }) => [
    claim,
    source,
    verdict,
    numbers,
  ])
  return `Of ${claims.length}: ${number('found')} found, ${number('not found')} not found, ${number('not decidable')} not decidable at this size.

${table(['claim', 'source', 'verdict', 'numbers'], rows, 'left')}`
}

function charts(parts: readonly Part[]): [string, string][] {
  return parts.flatMap(({ charts }) => Object.entries(charts))
}

function minute(date: string): string {
  return date.slice(0, 16).replace('T', ' ')
}
