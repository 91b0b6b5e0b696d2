/**
 * The bytes are not a frame, or not the frame that is expected here. The call has changed nothing.
 */
export class FrameError extends Error {
  override readonly name = 'FrameError'
  /** the offset in the bytes of the first field that is wrong */
  readonly byte: number

  constructor(message: string, byte: number) {
    super(`${message} (byte ${byte})`)
    this.byte = byte
  }
}

/**
 * The call is not allowed at this point of a step: `receive` before `compress`, for example. The
 * call has changed nothing.
 */
export class RoundError extends Error {
  override readonly name = 'RoundError'
}

/** The runtime or the device lacks something; the message says what, and what to do about it. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError'
}

/**
 * The GPU device is gone: reset by its driver, unplugged or destroyed. Its memory is lost, and the
 * residual with it. The only call that the compressor still allows is `dispose`.
 */
export class DeviceLostError extends Error {
  override readonly name = 'DeviceLostError'
  /**
   * The step before which the residual was last saved; null if it never was. `restore` of
   * `createCompressor` continues there. Gradients taken in since then are lost.
   */
  readonly savedStep: number | null

  constructor(message: string, savedStep: number | null = null, options?: ErrorOptions) {
    super(message, options)
    this.savedStep = savedStep
  }
}
