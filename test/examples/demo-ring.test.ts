// `npm run demo -- --topology ring`: its report, and its behaviour when something goes wrong.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { shapesOf } from '../../examples/demo/model.ts'
import { createRing } from '../../examples/demo/ring.ts'
import type { RingReport } from '../../examples/demo/ringreport.ts'
import { createCorpus, readText } from '../../examples/demo/text.ts'
import { allGone, folder, README, run, startLong } from './demo.ts'

const RING = ['--topology', 'ring']

const never = new AbortController().signal
const corpusFor = (workers: number) => createCorpus(readText([README]), workers)

const demo = suite('demo in a ring')

demo('frames are what the sockets have sent, and a seed repeats a run', async () => {
  const svg = join(folder, 'ring.svg')
  const asked = [...RING, '-w', '3', '-s', '2', '-r', '2', '--wire', 'f32', '--text', README]
  const args = [...asked, '--json', '--svg', svg]
  const { status, stdout, stderr } = run(args)
  assert.is(status, 0, stderr)
  const { plain, powerGossip, symbols, settings, ...report } = JSON.parse(stdout) as RingReport

  // In two steps each neighbour gets everything twice; or both factors once, and vectors twice.
  const floats = { plain: 0, powerGossip: 0 }
  for (const [rows = 0, cols] of shapesOf(symbols)) {
    floats.plain += 2 * rows * (cols ?? 1)
    floats.powerGossip += cols === undefined ? 2 * rows : settings.rank * (rows + cols)
  }
  for (const [{ workers, measurements, lost, left }, values] of [
    [plain, floats.plain],
    [powerGossip, floats.powerGossip],
  ] as const) {
    assert.is(workers.length, 3)
    const { frames } = workers[0]!.sent
    const heads = frames - 2 * 4 * values
    assert.ok(heads > 0 && heads < 4 * 256, `four frames, of which ${heads} bytes are no floats`)
    for (const worker of workers) {
      assert.is(worker.sent.frames, frames)
      assert.is(worker.sent.sockets, worker.sent.frames + worker.sent.headers)
      assert.is(worker.missed, 0)
    }
    assert.is(measurements[1]!.sentBytes, 3 * frames)
    assert.equal([measurements[0]!.step, measurements[1]!.step], [1, 2])
    assert.ok(measurements[1]!.loss < measurements[0]!.loss)
    assert.ok(measurements.every(({ consensusDistance }) => consensusDistance > 0))
    assert.is(new Set(workers.map(({ parameters }) => parameters)).size, 3)
    assert.equal([lost, left], [[], []])
  }
  const [whole, few] = [plain, powerGossip].map(({ workers }) => workers[0]!.sent.frames)
  assert.is(report.compressionRatio, whole! / few!)

  const picture = readFileSync(svg, 'utf8')
  for (const text of ['PowerGossip, rank 2, f32', 'plain gossip', '3 workers in a ring']) {
    assert.ok(picture.includes(text), text)
  }

  const ring = await createRing(corpusFor(3), settings, 'powergossip', never)
  const again = await ring.train({ step() {}, measured() {} }).finally(ring.close)
  for (const [i, { parameters, loss }] of again.workers.entries()) {
    assert.is(parameters, powerGossip.workers[i]!.parameters)
    assert.is(loss, powerGossip.workers[i]!.loss)
  }
  assert.equal(again.measurements, powerGossip.measurements)
  await allGone(ring.processes)
})

demo('when a worker is killed its neighbours leave it, and the others end as a path', async () => {
  const settings = { workers: 4, rank: 1, iterations: 2, wire: 'f16', steps: 6, seed: 0 } as const
  const ring = await createRing(corpusFor(4), settings, 'powergossip', never)
  let killed = false
  const run = await ring
    .train({
      step(step) {
        if (step < 1 || killed) return
        killed = process.kill(ring.processes[2]!, 'SIGKILL')
      },
      measured() {},
    })
    .finally(ring.close)
  const [lost, ...others] = run.lost
  assert.is(lost?.worker, 2)
  assert.is(lost?.how, 'killed by SIGKILL')
  assert.equal(others, [])
  assert.equal(run.left.map(({ worker, neighbour }) => [worker, neighbour]).sort(), [
    [1, 2],
    [3, 2],
  ])
  assert.equal(
    run.workers.map(({ worker }) => worker),
    [0, 1, 3],
  )
  const { step, loss } = run.measurements.at(-1)!
  assert.is(step, 6)
  assert.ok(loss < run.measurements[0]!.loss)
  await allGone(ring.processes)
})

for (const [signal, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const]) {
  demo(`${signal} leaves no process behind`, async () => {
    const { child, workers, ended } = await startLong([...RING, '-w', '3', '--text', README])
    assert.is(workers.length, 3)
    child.kill(signal)
    assert.is((await ended()).code, code)
    await allGone([child.pid!, ...workers])
  })
}

demo('workers end by themselves when their launcher is killed', async () => {
  const { child, workers, ended } = await startLong([...RING, '-w', '3', '--text', README])
  child.kill('SIGKILL')
  await ended()
  await allGone(workers)
})

demo('--help names what is for a ring', () => {
  const { status, stdout } = run(['--help'])
  assert.is(status, 0)
  for (const option of ['topology', 'iterations']) assert.match(stdout, `--${option}`)
})

for (const [args, message] of [
  [['--topology', 'torus'], /argument 'torus' is invalid. Allowed choices are star, ring/],
  [[...RING, '--transport', 'mpi'], /"--transport": expected ws with --topology ring, got mpi/],
  [[...RING, '--method', 'top-k'], /"--method": expected none with --topology ring, got top-k/],
  [[...RING, '--backend', 'webgpu'], /"--backend": expected wasm with --topology ring, got webgpu/],
  [[...RING, '--software'], /"--software": expected none with --topology ring, got true/],
  [[...RING, '-w', '2'], /"--workers": expected 3 or more with --topology ring, got 2/],
  [['--iterations', '2'], /"--iterations": expected --topology ring with it/],
] as const) {
  demo(`refuses ${args.join(' ')}`, () => {
    const { status, stdout, stderr } = run(args)
    assert.is(status, 1)
    assert.is(stdout, '')
    assert.match(stderr, message)
  })
}

demo.run()
