// Tables of text.

/** A label and a value for each of two runs. */
export type Row = readonly [label: string, first: string, second: string]

/** Labels on the left, values on the right of their columns. */
export function aligned(rows: readonly Row[]): string {
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map(([label, ...values]) =>
      [label.padEnd(widths[0]!), ...values.map((value, i) => value.padStart(widths[i + 1]! + 2))]
        .join('')
        .trimEnd(),
    )
    .join('\n')
}

/** A number without fraction, its thousands apart. */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}
