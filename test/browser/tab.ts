// What tests ask of a browser, whichever library drives it.

export interface Browser {
  /** with the version */
  readonly name: string
  /**
   * Opens a page, and comes back when its modules have run.
   *
   * @param thrown  takes what the page throws and nobody catches
   */
  open(url: string, thrown: (message: string) => void): Promise<Tab>
  close(): Promise<void>
}

export interface Tab {
  /** Runs a function in the page: it sees nothing of its surroundings but `value`. */
  evaluate<R, V>(run: (value: V) => R | Promise<R>, value?: V): Promise<R>
  close(): Promise<void>
}
