// Tables for people: aligned columns for a terminal, or Markdown for the docs.
import type { Change } from './compare.ts'
import type { Results, Row, Table } from './results.ts'

type Cells = readonly string[]

/** One table: its head, then its rows. */
interface Sheet {
  readonly title: string
  readonly head: Cells
  readonly rows: readonly Cells[]
}

/**
 * Formats the whole report. `where` names the machine; `changes` are those against another report,
 * if there is one.
 */
export function write(
  report: Results,
  where: string,
  changes: readonly Change[] | null,
  markdown: boolean,
): string {
  const sheets = report.tables.map(measured)
  if (report.goals.length > 0) sheets.push(againstGoals(report))
  if (changes) sheets.push(sinceThen(changes))
  const head = `${where}, Node ${report.node}, ${report.date}: ${report.command}`
  const left = report.skipped.map((why) =>
    markdown ? `- Not measured: ${why}` : `not measured: ${why}`,
  )
  return [head, ...sheets.map(markdown ? asMarkdown : asText), ...left].join('\n\n')
}

function measured({ title, ratios, against, unit, rows, meaningless }: Table): Sheet {
  const scale = unit === 'µs' ? 1e3 : 1
  const flops = rows.some((row) => row.flops > 0)
  const bytes = rows.some((row) => row.bytes > 0)
  const notes = rows.some((row) => row.note)
  const ratio = (row: Row): string => {
    if (row.ratio === undefined) return ''
    if (ratios === 'percent') return `${Math.round(100 / row.ratio)} %`
    return `${digits(ratios === 'times' ? row.ratio : 1 / row.ratio)} ×`
  }
  return {
    title: meaningless ? `${title} (on a software adapter: times are meaningless)` : title,
    head: [
      '',
      `median ${unit ?? 'ms'}`,
      '±',
      ...(flops ? ['GFLOP/s'] : []),
      ...(bytes ? ['GB/s'] : []),
      ratios === 'faster' ? `faster ${against}` : against,
      ...(notes ? ['note'] : []),
    ],
    rows: rows.map((row) => [
      row.name,
      digits(scale * row.ms),
      digits(scale * row.spread, 2),
      ...(flops ? [row.flops > 0 ? digits(row.flops / row.ms / 1e6) : ''] : []),
      ...(bytes ? [row.bytes > 0 ? digits(row.bytes / row.ms / 1e6) : ''] : []),
      ratio(row),
      ...(notes ? [row.note ?? ''] : []),
    ]),
  }
}

function againstGoals({ goals }: Results): Sheet {
  return {
    title: 'against the goals',
    head: ['goal', 'accept', 'aim', 'measured', ''],
    rows: goals.map((goal) => [goal.what, goal.accept, goal.aim, goal.measured, goal.verdict]),
  }
}

function sinceThen(changes: readonly Change[]): Sheet {
  const changed = changes.filter(({ verdict }) => verdict !== 'the same')
  return {
    title: `since then: ${changed.length} of ${changes.length} ratios have changed beyond their spread`,
    head: ['', 'then', 'now', 'now ÷ then', '±', ''],
    rows: changed.map(({ table, name, before, now, change, spread, verdict }) => [
      `${table}: ${name}`,
      digits(before),
      digits(now),
      digits(change),
      digits(spread, 2),
      verdict,
    ]),
  }
}

function asText({ title, head, rows }: Sheet): string {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((cells) => cells[i]!.length)))
  const numeric = head.map((_, i) => i > 0 && rows.every((cells) => /^([-\d.e]|$)/.test(cells[i]!)))
  const line = (cells: Cells) =>
    cells
      .map((cell, i) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd()
  return [title, line(head), ...rows.map(line)].join('\n')
}

function asMarkdown({ title, head, rows }: Sheet): string {
  const line = (cells: Cells) => `| ${cells.join(' | ')} |`
  return [`### ${title}`, '', line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** Three digits are more than the spread allows. */
function digits(value: number, count = 3): string {
  return String(Number(value.toPrecision(count)))
}
