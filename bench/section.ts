// What a section is: something that can be measured, in a process of its own.
import type { Settings } from './effort.ts'
import type { Table } from './results.ts'

/** Where a section puts what it finds. */
export interface Output {
  /** Called before each measurement, with what it is of. */
  progress(what: string): void
  table(table: Table): void
  /** Something cannot be measured here, and why. */
  skip(why: string): void
}

export type Section = (settings: Settings, output: Output) => Promise<void>
