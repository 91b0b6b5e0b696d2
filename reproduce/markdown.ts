// Helpers to write pages.

/** @param align  of the columns after the first: figures stand on the right */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  align: 'left' | 'right' = 'right',
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const rule = head.map((_, i) => (i === 0 || align === 'left' ? '---' : '---:'))
  return [line(head), line(rule), ...rows.map(line)].join('\n')
}

/** 1234567 → 1,234,567 */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

/** 1234567 → 1.23 MB */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const unit = value < 1 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), units.length - 1)
  return `${Number((value / 1000 ** unit).toPrecision(3))} ${units[unit]}`
}
