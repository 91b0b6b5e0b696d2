// The codec's inner loops: wire types, checksum, slices.
//
// GB/s of wire types count the float32 values; the others count frames. The wire types and the
// checksum are not exported by the package, so they are imported from its source.

import { createCompressor } from 'lowrank'
import { joinSlices, splitFrame } from 'lowrank/frames'
import type { Wire } from '../src/codec/wire/index.ts'
import { wireType } from '../src/codec/wire/index.ts'
import { xxh32 } from '../src/codec/xxh32.ts'
import { byEffort } from './effort.ts'
import { type Case, measure, withRatios } from './measure.ts'
import type { Section } from './section.ts'

const LOSSY: readonly Wire[] = ['f16', 'bf16', 'int8']
const SLICES = 16

/** The largest error of a value, relative to the largest value of its block. */
const ERROR: Readonly<Record<Wire, number>> = {
  f32: 0,
  f16: 2 ** -11,
  bf16: 2 ** -8,
  int8: 0.5 / 127 + 2 ** -20,
}

export const codec: Section = async (settings, { progress, table }) => {
  const floats = byEffort(settings, 1 << 22, 1 << 22, 1 << 10)
  const values = Float32Array.from({ length: floats }, (_, i) => Math.sin(i * 0.7) + 1e-3)
  const memcpy = 'memcpy'
  const copy = new Float32Array(floats)
  const cases: Case[] = [
    { name: memcpy, bytes: 4 * floats, run: () => copy.set(values) },
    ...LOSSY.flatMap((wire) => wireCases(wire, values)),
    ...(await frameCases(values)),
  ].map((one) => (one.name === memcpy ? one : { ...one, yardstick: memcpy }))
  const rows = await measure(cases, settings, (name) => progress(`codec: ${name}`))
  table({
    title: `codec, ${floats} floats`,
    ratios: 'percent',
    against: '% of memcpy',
    rows: withRatios(rows),
  })
}

function wireCases(wire: Wire, values: Float32Array): Case[] {
  const bytes = new Uint8Array(wireType(wire).encodedLength([values.length]))
  const back = new Float32Array(values.length)
  wireType(wire).encode(values, [values.length], bytes)
  wireType(wire).decode(bytes, values.length, back)
  const most = ERROR[wire] * 1.001
  if (values.some((value, i) => !(Math.abs(value - back[i]!) <= most))) {
    throw new Error(`${wire}: a value comes back further off than ${most}`)
  }
  return [
    {
      name: `encode ${wire}`,
      bytes: values.byteLength,
      run: () => wireType(wire).encode(values, [values.length], bytes),
    },
    {
      name: `decode ${wire}`,
      bytes: values.byteLength,
      run: () => wireType(wire).decode(bytes, values.length, back),
    },
  ]
}

async function frameCases(values: Float32Array): Promise<Case[]> {
  const compressor = await createCompressor([{ shape: [values.length], compress: false }])
  const frame = await compressor.compress([values])
  const bytes = frame.length
  const slices = splitFrame(frame, Math.ceil(frame.length / SLICES) + 256)
  if (Buffer.compare(joinSlices(slices), frame) !== 0)
    throw new Error('join: not the frame that was split')
  // XXH32 of "a" with seed 0, from the specification's test vectors.
  if (xxh32(Uint8Array.of(97)) !== 0x550d7456) throw new Error('xxh32: not the checksum of "a"')
  return [
    { name: 'XXH32', bytes, run: () => xxh32(frame) },
    { name: `split in ${slices.length}`, bytes, run: () => splitFrame(frame, slices[0]!.length) },
    { name: `join ${slices.length}`, bytes, run: () => joinSlices(slices) },
  ]
}
