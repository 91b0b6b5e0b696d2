// Counts what is asked of a device: bytes that copy, passes, and buffers that nobody destroyed.

export interface Counts {
  /** compute passes by their labels */
  passes: Record<string, number>
  /** of compute passes, indirect ones included */
  dispatches: number
  /** from buffer to buffer */
  copies: number
  submits: number
  /** calls of writeBuffer, and their bytes */
  writes: number
  writtenBytes: number
  /** calls of mapAsync for reading, and their bytes */
  readbacks: number
  readBytes: number
  /** created since the audit began and not destroyed, and their bytes; `reset` leaves them */
  buffers: number
  bufferBytes: number
}

export interface Audit {
  readonly counts: Readonly<Counts>
  /** Counts anew, but for the buffers. */
  reset(): void
}

/**
 * Counts from now on, by methods put on the device, its queue, and the encoders and buffers that it
 * makes: what was made before is not seen, nor are buffers that go with the device itself.
 */
export function audit(device: GPUDevice): Audit {
  const none = { dispatches: 0, copies: 0, submits: 0, writes: 0, writtenBytes: 0 }
  const fresh = () => ({ ...none, passes: {}, readbacks: 0, readBytes: 0 })
  const counts: Counts = { ...fresh(), buffers: 0, bufferBytes: 0 }

  after(device, 'createBuffer', (buffer) => {
    counts.buffers++
    counts.bufferBytes += buffer.size
    let alive = true
    after(buffer, 'destroy', () => {
      if (!alive) return
      alive = false
      counts.buffers--
      counts.bufferBytes -= buffer.size
    })
    after(buffer, 'mapAsync', (_, mode, offset = 0, bytes = buffer.size - offset) => {
      if (!(mode & 1)) return // GPUMapMode.READ
      counts.readbacks++
      counts.readBytes += bytes
    })
  })
  after(device, 'createCommandEncoder', (encoder) => {
    after(encoder, 'copyBufferToBuffer', () => counts.copies++)
    after(encoder, 'beginComputePass', (pass, { label = '' } = {}) => {
      counts.passes[label] = (counts.passes[label] ?? 0) + 1
      after(pass, 'dispatchWorkgroups', () => counts.dispatches++)
      after(pass, 'dispatchWorkgroupsIndirect', () => counts.dispatches++)
    })
  })
  after(device.queue, 'submit', () => counts.submits++)
  after(device.queue, 'writeBuffer', (_, _buffer, _at, data, offset = 0, size) => {
    // Offset and size count elements of typed arrays, and bytes of all others.
    const element = 'BYTES_PER_ELEMENT' in data ? (data.BYTES_PER_ELEMENT as number) : 1
    counts.writes++
    counts.writtenBytes += (size ?? data.byteLength / element - offset) * element
  })
  return { counts, reset: () => Object.assign(counts, fresh()) }
}

type Method = (...parts: never[]) => unknown
type Methods<T> = { [K in keyof T]: T[K] extends Method ? K : never }[keyof T]

/** Lets a method of one object say that it has been called, if it did not throw. */
function after<T extends object, K extends Methods<T>>(
  object: T,
  method: K,
  called: T[K] extends (...parts: infer P) => infer R ? (result: R, ...parts: P) => void : never,
): void {
  const original = object[method] as (...parts: unknown[]) => unknown
  const told = called as (...parts: unknown[]) => void
  Object.defineProperty(object, method, {
    configurable: true,
    writable: true,
    value: (...parts: unknown[]) => {
      const result = original.apply(object, parts)
      told(result, ...parts)
      return result
    },
  })
}
