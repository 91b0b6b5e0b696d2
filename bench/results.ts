// The results of the benchmarks: rows in tables, as they are printed, saved and compared.

/** One thing that was timed. */
export interface Row {
  /** the same from run to run, unique in its table */
  readonly name: string
  /** median */
  readonly ms: number
  /** median distance from the median, in ms */
  readonly spread: number
  readonly samples: number
  /** bytes that any implementation must read and write; 0: not worth counting */
  readonly bytes: number
  /** arithmetic operations; 0: none worth counting */
  readonly flops: number
  /** name of another row of this table, with which this one is compared */
  readonly yardstick?: string
  /** median ÷ the yardstick's median for the same work: for as many bytes, if both count bytes */
  readonly ratio?: number
  /** what else a reader should know */
  readonly note?: string
  /** the number in a step on a GPU */
  readonly dispatches?: number
  readonly readbacks?: number
  /** bytes */
  readonly readBack?: number
  readonly written?: number
}

export interface Table {
  /** the same from run to run, unique in a report */
  readonly title: string
  /** how ratios are shown. `times`: as they are; `percent`: 100 ÷ ratio; `faster`: 1 ÷ ratio */
  readonly ratios: 'percent' | 'times' | 'faster'
  /** the head of the ratios' column */
  readonly against: string
  /** how times are shown, if not in ms */
  readonly unit?: 'µs'
  readonly rows: readonly Row[]
  /** true: the adapter is software, so it shows that everything runs, not how fast */
  readonly meaningless?: true
}

/** A goal that the project has set itself, beside the measured figure. */
export interface Goal {
  readonly what: string
  readonly accept: string
  readonly aim: string
  readonly measured: string
  readonly verdict: 'aim met' | 'met' | 'missed'
}

/** The part that all reports have in common. */
export interface Results {
  readonly node: string
  readonly date: string
  readonly command: string
  readonly tables: readonly Table[]
  /** what could not be measured, and why */
  readonly skipped: readonly string[]
  readonly goals: readonly Goal[]
}

/** A report as `--json` writes and `--compare` reads it. */
export interface Report extends Results {
  readonly cpu: string
  /** the module that our own kernels come from */
  readonly simd: 'plain' | 'relaxed'
  /** false: the system chose the core; `skipped` says why */
  readonly pinned: boolean
}

/** The circumstances of the command that started this process. */
export function circumstances(script: string): Pick<Results, 'node' | 'date' | 'command'> {
  const words = process.argv.slice(2)
  return {
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
    command: [`npm run ${script}`, ...(words.length > 0 ? ['--'] : []), ...words].join(' '),
  }
}

/** The row of that name, if the table is there and has it. */
export function find(tables: readonly Table[], title: string, name: string): Row | undefined {
  return tables.find((table) => table.title === title)?.rows.find((row) => row.name === name)
}

/** The name of a kernel's row. */
export function kernelName(kernel: string, rank: number): string {
  return `${kernel}, r = ${rank}`
}

/** A goal for something that should be large. */
export function atLeast(what: string, accept: number, aim: number, measured: number): Goal {
  const verdict = measured >= aim ? 'aim met' : measured >= accept ? 'met' : 'missed'
  return { what, accept: `≥ ${accept}`, aim: `≥ ${aim}`, measured: `${digits(measured)}`, verdict }
}

/** A goal for something that should be small. */
export function atMost(what: string, accept: number, aim: number, measured: number): Goal {
  const verdict = measured <= aim ? 'aim met' : measured <= accept ? 'met' : 'missed'
  return { what, accept: `≤ ${accept}`, aim: `≤ ${aim}`, measured: `${digits(measured)}`, verdict }
}

/** Rounds to three digits: more than the spread allows. */
export function digits(value: number): number {
  return Number(value.toPrecision(3))
}
