/** The error that a call throws or rejects with. */
export async function errorOf(call: () => unknown, what = ''): Promise<Error> {
  try {
    await call()
  } catch (error) {
    return error as Error
  }
  throw new Error(`nothing was thrown: ${what}`)
}
