// Times and counts the work that others submit to a device. It wraps the device's methods.
//
// A pass's time is from the end of the pass before it to its own end, if that is later than its
// beginning: drivers may write the first timestamp of a pass while earlier work, for which it
// waits, still runs.

/** Times of compute passes, in their order, and of everything. */
export interface Times {
  /** ms on the GPU */
  readonly passes: readonly { readonly label: string; readonly ms: number }[]
  /** ms on the GPU of whole command buffers, copies included, without the gaps between them */
  readonly gpu: number
}

export interface Counts {
  readonly dispatches: number
  /** buffers mapped for reading */
  readonly readbacks: number
  /** bytes in these buffers */
  readonly readBack: number
  /** bytes written to buffers from the CPU's side */
  readonly written: number
  /** ms in which a readback, or the device's report of errors, was awaited */
  readonly waited: number
}

/** The span between two timestamps: a compute pass, or, without a label, a whole command buffer. */
interface Span {
  readonly label: string | null
  readonly begin: number
  readonly end: number
}

/** Queries in a query set: the most that WebGPU allows. */
const CAPACITY = 4096

export class Clock {
  readonly device: GPUDevice
  readonly #queries: GPUQuerySet | null
  #spans: Span[] | null = null
  #next = 0
  #dispatches = 0
  #readbacks = 0
  #readBack = 0
  #written = 0
  #waited = 0
  #pending = 0
  #since = 0

  constructor(device: GPUDevice) {
    this.device = device
    this.#queries = device.features.has('timestamp-query')
      ? device.createQuerySet({ type: 'timestamp', count: CAPACITY })
      : null
    const { createCommandEncoder, createBuffer, popErrorScope } = device
    device.createCommandEncoder = (descriptor) =>
      this.#watchEncoder(createCommandEncoder.call(device, descriptor))
    device.createBuffer = (descriptor) => this.#watchBuffer(createBuffer.call(device, descriptor))
    device.popErrorScope = () => this.#wait(popErrorScope.call(device))
    this.#watchQueue(device.queue)
  }

  /** Whether the clock can tell times on the GPU. */
  get timestamps(): boolean {
    return this.#queries !== null
  }

  /** Counts since the device was opened. */
  get counts(): Counts {
    return {
      dispatches: this.#dispatches,
      readbacks: this.#readbacks,
      readBack: this.#readBack,
      written: this.#written,
      waited: this.#waited,
    }
  }

  /** The times of all that `run` submits, on a device with timestamps. */
  async time(run: () => unknown): Promise<Times> {
    const spans: Span[] = []
    this.#spans = spans
    this.#next = 0
    try {
      await run()
    } finally {
      this.#spans = null
    }
    return timesOf(spans, await this.#read())
  }

  #query(): number {
    if (this.#next === CAPACITY) throw new Error(`more than ${CAPACITY} timestamps at once`)
    return this.#next++
  }

  #watchEncoder(encoder: GPUCommandEncoder): GPUCommandEncoder {
    const { beginComputePass, finish } = encoder
    const spans = this.#spans
    const querySet = this.#queries
    if (!spans || !querySet) {
      encoder.beginComputePass = (descriptor) =>
        this.#watchPass(beginComputePass.call(encoder, descriptor))
      return encoder
    }
    // An empty pass at either end has the timestamps, for copies have none of their own.
    const mark = (timestampWrites: GPUComputePassTimestampWrites) =>
      beginComputePass.call(encoder, { timestampWrites }).end()
    const begin = this.#query()
    mark({ querySet, beginningOfPassWriteIndex: begin })
    encoder.beginComputePass = (descriptor) => {
      const span = { label: descriptor?.label ?? '', begin: this.#query(), end: this.#query() }
      spans.push(span)
      const timestampWrites = {
        querySet,
        beginningOfPassWriteIndex: span.begin,
        endOfPassWriteIndex: span.end,
      }
      return this.#watchPass(beginComputePass.call(encoder, { ...descriptor, timestampWrites }))
    }
    encoder.finish = (descriptor) => {
      const end = this.#query()
      mark({ querySet, endOfPassWriteIndex: end })
      spans.push({ label: null, begin, end })
      return finish.call(encoder, descriptor)
    }
    return encoder
  }

  #watchPass(pass: GPUComputePassEncoder): GPUComputePassEncoder {
    const { dispatchWorkgroups } = pass
    pass.dispatchWorkgroups = (...size) => {
      this.#dispatches++
      return dispatchWorkgroups.apply(pass, size)
    }
    return pass
  }

  #watchQueue(queue: GPUQueue): void {
    const { writeBuffer } = queue
    queue.writeBuffer = (buffer, at, data, from = 0, size) => {
      // Offsets and sizes count elements in a typed array, bytes otherwise.
      const each = 'BYTES_PER_ELEMENT' in data ? Number(data.BYTES_PER_ELEMENT) : 1
      this.#written += each * (size ?? data.byteLength / each - from)
      writeBuffer.call(queue, buffer, at, data, from, size)
    }
  }

  #watchBuffer(buffer: GPUBuffer): GPUBuffer {
    if (!(buffer.usage & GPUBufferUsage.MAP_READ)) return buffer
    const { mapAsync } = buffer
    buffer.mapAsync = (mode, from = 0, size = buffer.size - from) => {
      this.#readbacks++
      this.#readBack += size
      return this.#wait(mapAsync.call(buffer, mode, from, size))
    }
    return buffer
  }

  async #wait<T>(answer: Promise<T>): Promise<T> {
    if (this.#pending++ === 0) this.#since = performance.now()
    try {
      return await answer
    } finally {
      if (--this.#pending === 0) this.#waited += performance.now() - this.#since
    }
  }

  /** Reads the queries' timestamps, in ns. */
  async #read(): Promise<BigUint64Array> {
    const { device } = this
    const size = 8 * this.#next
    const [resolved, mapped] = [
      device.createBuffer({ size, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC }),
      device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }),
    ]
    const encoder = device.createCommandEncoder()
    encoder.resolveQuerySet(this.#queries!, 0, this.#next, resolved, 0)
    encoder.copyBufferToBuffer(resolved, 0, mapped, 0, size)
    device.queue.submit([encoder.finish()])
    await mapped.mapAsync(GPUMapMode.READ)
    const values = new BigUint64Array(mapped.getMappedRange().slice(0))
    resolved.destroy()
    mapped.destroy()
    return values
  }
}

/** Turns timestamps into times. Work on one queue ends in the order in which it was submitted. */
function timesOf(spans: readonly Span[], stamps: BigUint64Array): Times {
  const passes: { label: string; ms: number }[] = []
  let gpu = 0
  for (const whole of [true, false]) {
    let before = 0n
    for (const { label, begin, end } of spans
      .filter(({ label }) => (label === null) === whole)
      .sort((a, b) => (stamps[a.end]! < stamps[b.end]! ? -1 : 1))) {
      const from = stamps[begin]! > before ? stamps[begin]! : before
      before = stamps[end]!
      const ms = Number(before - from) / 1e6
      if (label === null) gpu += ms
      else passes.push({ label, ms })
    }
  }
  return { passes, gpu }
}
