// What users do with bytes and floats that the package returns, without a cast. types.test.ts compiles
// a copy of it with the oldest and the newest TypeScript, too.
import { aggregate, createCompressor, createSgd, mergeCheckpoints } from 'lowrank'
import { createAggregate, fromPayload, joinSlices, payload, splitFrame } from 'lowrank/frames'
import { createGossip } from 'lowrank/gossip'

export async function send(
  gradients: Float32Array[],
  socket: WebSocket,
  channel: RTCDataChannel,
): Promise<void> {
  const compressor = await createCompressor([[16, 12], [16]])
  const sgd = await createSgd(compressor, { learningRate: 0 })
  const gossip = await createGossip([[16, 12]], { self: 0 })
  const frame = await compressor.compress(gradients)
  const results = [
    frame,
    compressor.compressSync(gradients),
    aggregate([frame]),
    createAggregate().result(),
    joinSlices(splitFrame(frame, 100)),
    fromPayload(payload(frame), frame, 1),
    mergeCheckpoints([await compressor.save(), await sgd.save()]),
    gossip.save(),
    ...(await gossip.begin(gradients)).values(),
  ]
  const next = await compressor.receive(frame)
  if (next) results.push(next)
  for (const bytes of [...results, payload(frame)]) {
    socket.send(bytes)
    channel.send(bytes)
    await fetch('/', { method: 'POST', body: bytes })
    await crypto.subtle.digest('SHA-256', bytes)
    new Blob([bytes])
  }
  await compressor.step(gradients, async (frame) => {
    channel.send(frame)
    const answer = await fetch('/', { method: 'POST', body: frame })
    return answer.arrayBuffer()
  })
  await sgd.step(gradients, gradients, (frame) => frame.slice())
  // @ts-expect-error: not float64
  await compressor.compress([new Float64Array(4)])
  // @ts-expect-error: not their buffer
  await compressor.compress([{ buffer: new ArrayBuffer(4) }])
  // @ts-expect-error: no bytes
  await compressor.receive('bytes')
}
