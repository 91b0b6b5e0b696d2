// Floats on their way from buffers of the device to arrays.
import { allDone } from './gpu.ts'
import { MOST_BYTES, type Readback } from './readback.ts'
import type { Recorder } from './recorder.ts'

export interface CopyJob {
  readonly buffer: GPUBuffer
  /** floats */
  readonly at: number
  readonly floats: number
  /** is given the floats, which it must not keep */
  readonly use: (values: Float32Array) => void
}

/** Copies out, after all that has been recorded: as much at a time as a mapped buffer may hold. */
export async function copyOut(
  recorder: Recorder,
  readback: Readback,
  jobs: readonly CopyJob[],
): Promise<void> {
  for (let first = 0; first < jobs.length; ) {
    let bytes = 0
    let end = first
    while (end < jobs.length && (end === first || bytes + 4 * jobs[end]!.floats <= MOST_BYTES)) {
      bytes += 4 * jobs[end++]!.floats
    }
    const some = jobs.slice(first, end)
    const back = recorder.checked(() => readback.take(bytes))
    recorder.checked(() => {
      let to = 0
      for (const { buffer, at, floats } of some) {
        if (floats) recorder.encoder.copyBufferToBuffer(buffer, 4 * at, back, to, 4 * floats)
        to += 4 * floats
      }
      recorder.flush()
    })
    const read = readback.read(back, bytes, (mapped) => {
      let from = 0
      for (const { floats, use } of some) {
        use(new Float32Array(mapped, from, floats))
        from += 4 * floats
      }
    })
    await allDone([recorder.checkErrors(), read])
    first = end
  }
}
