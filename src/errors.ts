/**
 * Bytes that are no frame, or not the frame that is expected here. State is as it was.
 *
 * `byte` is the offset, in the bytes given, of the first field that is wrong.
 */
export class FrameError extends Error {
  override readonly name = 'FrameError'
  readonly byte: number

  constructor(message: string, byte: number) {
    super(`${message} (byte ${byte})`)
    this.byte = byte
  }
}

/** A call that does not fit where the step is: say, `receive` before `compress`. State is as it was. */
export class RoundError extends Error {
  override readonly name = 'RoundError'
}

/** Something this runtime or device does not have; the message says what, and what to do. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError'
}

/**
 * The GPU device is gone: reset by its driver, unplugged, destroyed. What lay on it is lost, the
 * residual with it. Nothing can be done with the compressor any more but `dispose`.
 */
export class DeviceLostError extends Error {
  override readonly name = 'DeviceLostError'
  /**
   * The step before which the compressor's residual was last saved, `createCompressor(shapes, {
   * restore })` continues from there; null: never. What came in since is lost.
   */
  readonly savedStep: number | null

  constructor(message: string, savedStep: number | null = null, options?: ErrorOptions) {
    super(message, options)
    this.savedStep = savedStep
  }
}
