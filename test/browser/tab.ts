// A browser as tests use it, whichever library drives it.

export interface Browser {
  /** with the version */
  readonly name: string
  /**
   * Opens a page, and comes back when its modules have run.
   *
   * @param thrown  takes what the page throws and nobody catches
   * @param said  takes what it writes to its console: the method's name, and the text; or 'crash'
   */
  open(
    url: string,
    thrown: (message: string) => void,
    said?: (kind: string, text: string) => void,
  ): Promise<Tab>
  /** Those that it tells of, none where it does not. A browser that hangs gives no answer. */
  processes(): Promise<readonly Process[]>
  /** A browser that does not close within 10 s is killed. */
  close(): Promise<void>
}

export interface Process {
  /** 'GPU', 'renderer', … */
  readonly kind: string
  readonly id: number
  /** of CPU time */
  readonly seconds: number
}

export interface Tab {
  /** Runs a function in the page: it sees nothing of its surroundings but `value`. */
  evaluate<R, V>(run: (value: V) => R | Promise<R>, value?: V): Promise<R>
  close(): Promise<void>
}

/** Waits until a browser has closed; kills it, and what it has started, where that takes too long. */
export async function closed(closing: Promise<unknown>, pid: number): Promise<void> {
  const group = process.platform === 'win32' ? pid : -pid // drivers give a browser a group of its own
  const timer = setTimeout(() => process.kill(group, 'SIGKILL'), 10_000)
  await closing.finally(() => clearTimeout(timer))
}
