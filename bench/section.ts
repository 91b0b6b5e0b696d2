// The interface of a section: something that can be measured, in a process of its own.
import type { Settings } from './effort.ts'
import type { Table } from './results.ts'

/** The output of a section. */
export interface Output {
  /** Called before each measurement, with its name. */
  progress(what: string): void
  table(table: Table): void
  /** Reports that something cannot be measured here, and why. */
  skip(why: string): void
}

export type Section = (settings: Settings, output: Output) => Promise<void>
