// The mean of four workers' frames of ResNet-18, uncompressed: node --import tsx bench/aggregate.ts [--json]
//
// GB/s are of frames read, every check included.
import { aggregate, createAggregate, createCompressor } from '../src/index.ts'
import { type Case, measure, report } from './measure.ts'
import { RESNET18 } from './models.ts'

const WORKERS = 4

const shapes = RESNET18.map((shape) => ({ shape, compress: false }))
const gradients = RESNET18.map((shape) => {
  const length = shape.reduce((product, n) => product * n, 1)
  return Float32Array.from({ length }, (_, i) => (i % 1000) / 1000)
})
const frames: Uint8Array[] = []
for (let sender = 0; sender < WORKERS; sender++) {
  const compressor = await createCompressor(shapes, { sender })
  frames.push(await compressor.compress(gradients))
}
const streaming = createAggregate()
const entry = (name: string, run: () => void): Case => ({
  name,
  run,
  bytes: frames.reduce((sum, { length }) => sum + length, 0),
  flops: 0,
})

report({
  [`${WORKERS} frames of ${frames[0]!.length} bytes`]: measure([
    entry('aggregate', () => {
      aggregate(frames)
    }),
    entry('createAggregate: add, result', () => {
      streaming.reset()
      for (const frame of frames) streaming.add(frame)
      streaming.result()
    }),
  ]),
})
