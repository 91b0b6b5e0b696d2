// The project's goals on a GPU. A software adapter's times are held against none of them.
import { atLeast, atMost, find, type Goal, type Table } from '../results.ts'
import { passName, stepName } from './step.ts'
import { passesTitle, stepTitle } from './tables.ts'

const MODEL = 'GPT-2-124M'
const RANK = 4

export function goals(tables: readonly Table[]): Goal[] {
  const passes = ['accumulateProject', 'backproject', 'settle'].flatMap((pass) => {
    const table = tables.find(({ title }) => title === passesTitle(MODEL))
    const row = find(tables, passesTitle(MODEL), passName(pass, RANK, 'arena'))
    if (!row?.ratio || table?.meaningless) return []
    return [atLeast(`${row.name}, ${MODEL}: % of copy`, 80, 90, 100 / row.ratio)]
  })
  return [...passes, ...tables.flatMap(steps)]
}

function steps({ title, rows, meaningless }: Table): Goal[] {
  if (!title.startsWith(stepTitle(''))) return []
  return rows.flatMap((row): Goal[] => {
    if (row.name !== stepName(RANK, 'arena', 'wall')) return []
    const against = row.ratio !== undefined && !meaningless
    return [
      ...(against ? [atLeast(`${title}, r = ${RANK}, against torch: ×`, 3, 6, 1 / row.ratio)] : []),
      atMost(`${title}, r = ${RANK}: dispatches`, 6, 5, row.dispatches!),
      atMost(`${title}, r = ${RANK}: readbacks`, 2, 2, row.readbacks!),
    ]
  })
}
