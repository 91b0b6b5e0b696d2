// The mean of four workers' frames of ResNet-18 without compression: 44.7 MB each as float32.
//
// GB/s count the frames that are read, and include every check; memcpy copies the same bytes.
import { aggregate, createAggregate, createCompressor } from 'lowrank'
import { type Case, measure, withRatios } from './measure.ts'
import { lengthsOf } from './models.ts'
import type { Section } from './section.ts'
import { modelsOf } from './step.ts'

const WORKERS = 4
const WIRES = ['f32', 'f16', 'bf16', 'int8'] as const
type Wire = (typeof WIRES)[number]

/** The largest error of encoding a number below 1. */
const LOSSES: Readonly<Record<Wire, number>> = { f32: 0, f16: 0, bf16: 2 ** -9, int8: 1 / 254 }

export const aggregates: Section = async (settings, { progress, table }) => {
  const [model] = modelsOf(settings)
  const shapes = model!.shapes.map((shape) => ({ shape, compress: false }))
  const gradients = lengthsOf(model!.shapes).map((length) =>
    Float32Array.from({ length }, (_, i) => (i % 1024) / 1024),
  )
  const cases: Case[] = []
  for (const wire of WIRES) {
    const frames: Uint8Array[] = []
    for (let sender = 0; sender < WORKERS; sender++) {
      const compressor = await createCompressor(shapes, { sender, wire })
      frames.push(await compressor.compress(gradients))
    }
    cases.push(...aggregateCases(wire, frames, gradients.at(-1)!.at(-1)!))
  }
  const rows = await measure(cases, settings, (name) => progress(`aggregate: ${name}`))
  table({
    title: aggregateTitle(model!.name),
    ratios: 'percent',
    against: '% of memcpy',
    rows: withRatios(rows),
  })
}

export function aggregateTitle(model: string): string {
  return `aggregate, ${WORKERS} frames of ${model}`
}

function aggregateCases(wire: Wire, frames: readonly Uint8Array[], expected: number): Case[] {
  const bytes = frames.reduce((sum, { length }) => sum + length, 0)
  const yardstick = `memcpy, ${wire}`
  const copy = new Uint8Array(Math.max(...frames.map(({ length }) => length)))
  const streaming = createAggregate()
  const stream = () => {
    streaming.reset()
    for (const frame of frames) streaming.add(frame)
    return streaming.result()
  }
  const [mean, streamed] = [aggregate(frames), stream()]
  // The mean of equal frames equals each of them. Values are multiples of 2⁻¹⁰ below 1, which
  // float16 can hold.
  const last = new DataView(mean.buffer, mean.byteOffset + mean.length - 4).getFloat32(0, true)
  if (!(Math.abs(last - expected) <= LOSSES[wire]))
    throw new Error(`aggregate, ${wire}: ${last} at the end, not ${expected}`)
  if (Buffer.compare(mean, streamed) !== 0)
    throw new Error(`createAggregate, ${wire}: another mean`)
  return [
    {
      name: yardstick,
      bytes,
      run() {
        for (const frame of frames) copy.set(frame)
      },
    },
    { name: aggregateName(wire), bytes, yardstick, run: () => aggregate(frames) },
    { name: `createAggregate, ${wire}`, bytes, yardstick, run: stream },
  ]
}

export function aggregateName(wire: string): string {
  return `aggregate, ${wire}`
}
