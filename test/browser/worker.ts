// One worker of a fleet that has members in Node and in the browser: the same text for both, on the
// built package.
import { createCompressor } from 'lowrank'

export const SHAPES = [[48, 20], [20], [8, 5, 3, 3], [7]]

/**
 * Pulls parameters, with all others, to the middle of the workers' own targets.
 *
 * @param exchange  resolves to the mean of all workers' frames
 * @returns the parameters' bits
 */
export async function work(
  sender: number,
  steps: number,
  exchange: (frame: Uint8Array) => Promise<Uint8Array>,
): Promise<number[]> {
  using compressor = await createCompressor(SHAPES, { rank: 2, seed: 7, sender })
  const parameters = SHAPES.map((shape) => new Float32Array(shape.reduce((a, b) => a * b)))
  const gradients = parameters.map(({ length }) => new Float32Array(length))
  for (let step = 0; step < steps; step++) {
    for (const [i, gradient] of gradients.entries()) {
      for (let j = 0; j < gradient.length; j++) {
        gradient[j] = parameters[i]![j]! - target(sender, i, j)
      }
    }
    let frame: Uint8Array | null = await compressor.compress(gradients)
    while (frame) frame = await compressor.receive(await exchange(frame))
    await compressor.decompress(parameters, { scale: -0.25, accumulate: true })
  }
  return parameters.flatMap((p) => Array.from(new Uint32Array(p.buffer)))
}

/** Some number from −1 to 1, by integers alone. */
function target(sender: number, parameter: number, index: number): number {
  const mixed = Math.imul((sender + 1) * 7919 + parameter * 104729 + index, 0x9e3779b1)
  return (mixed >> 8) / 2 ** 23
}
