// Compares two runs by ratios, in which the speed of the machine cancels out.
import { readFileSync } from 'node:fs'
import type { Results, Row } from './results.ts'

export interface Change {
  readonly table: string
  readonly name: string
  /** the row's ratio to its yardstick, before and now */
  readonly before: number
  readonly now: number
  /** now ÷ before; below 1 is faster */
  readonly change: number
  /** the relative spread of `change`, from the spreads of the four medians */
  readonly spread: number
  readonly verdict: 'faster' | 'slower' | 'the same'
}

/**
 * A change counts if it is beyond so many spreads: 3 median distances are about two standard
 * deviations.
 */
const SPREADS = 3

/**
 * Compares every row that has a yardstick of the same name in both reports, in the order of `now`.
 */
export function compareReports(now: Results, then: Results): Change[] {
  const rowsOf = (report: Results) =>
    report.tables.flatMap(({ title, rows }) => rows.map((row) => ({ title, row, rows })))
  const formers = new Map(rowsOf(then).map((one) => [`${one.title}\n${one.row.name}`, one]))
  return rowsOf(now).flatMap(({ title, row, rows }): Change[] => {
    const former = formers.get(`${title}\n${row.name}`)
    if (row.ratio === undefined || former?.row.ratio === undefined) return []
    const change = row.ratio / former.row.ratio
    const spread = Math.hypot(...parts(row, rows), ...parts(former.row, former.rows))
    const beyond = Math.abs(Math.log(change)) > SPREADS * spread
    return [
      {
        table: title,
        name: row.name,
        before: former.row.ratio,
        now: row.ratio,
        change,
        spread,
        verdict: !beyond ? 'the same' : change < 1 ? 'faster' : 'slower',
      },
    ]
  })
}

/** Reads a report that `--json` has written. */
export function readReport(path: string): Results {
  const report = JSON.parse(readFileSync(path, 'utf8')) as Results
  if (!Array.isArray(report.tables)) throw new TypeError(`${path}: expected what --json writes`)
  return report
}

/** Relative spreads of a row and of its yardstick. */
function parts(row: Row, rows: readonly Row[]): number[] {
  const yardstick = rows.find(({ name }) => name === row.yardstick)
  return [row, yardstick].map((one) => (one ? one.spread / one.ms : 0))
}
