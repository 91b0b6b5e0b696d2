import { spawnSync } from 'node:child_process'
import { createCompressor, FrameError, plan } from 'lowrank'
import { fromPayload, payload } from 'lowrank/frames'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { compression } from '../../examples/demo/protocol.ts'
import type { Report } from '../../examples/demo/report.ts'
import { gaussian } from '../support/gaussian.ts'
import { allGone, run, startLong } from './demo.ts'

const mpi = suite('mpi')
const SHORT = ['-s', '2', '-r', '2', '--json']
const KINDS = ['uncompressed', 'compressed'] as const

const open = spawnSync('mpirun', ['--version'], { encoding: 'utf8' }).stdout?.includes('Open MPI')
const mpirun = ['mpirun', '--oversubscribe']
if (process.getuid?.() === 0) mpirun.push('--allow-run-as-root')

if (!open) mpi.skip('there is no Open MPI: apt-get install openmpi-bin')
else {
  mpi('two workers end with the bits that they have over WebSocket', () => {
    // The sum of two float32 is rounded once, and half of it is exact: as if summed in float64.
    const report = reportOf(run([...SHORT, '-w', '2', '--transport', 'mpi']))
    const other = reportOf(run([...SHORT, '-w', '2', '--wire', 'f32']))
    assert.is(report.settings.wire, 'f32')
    for (const kind of KINDS) {
      assert.equal(report[kind].parameters, other[kind].parameters)
      assert.equal(losses(report, kind), losses(other, kind))
      assert.ok(losses(report, kind).at(-1)! < losses(report, kind)[0]!)
    }
  })

  mpi('under mpirun, three workers have equal bits; a sum is all that travels', () => {
    const report = reportOf(run([...SHORT, '--transport', 'mpi'], [...mpirun, '-n', '3']))
    assert.is(report.settings.workers, 3)
    assert.is(report.identical, true)
    for (const kind of KINDS) {
      const { parameters, sentBytes, receivedBytes } = report[kind]
      assert.is(parameters.length, 3)
      const task = { ...report.settings, symbols: report.symbols }
      const { shapes, options } = compression(task, kind === 'compressed')
      const { floats, rounds } = plan(shapes, options)
      assert.is(sentBytes, 4 * (floats + 2 * rounds)) // two control words a round
      assert.is(receivedBytes, sentBytes)
      assert.ok(losses(report, kind).at(-1)! < losses(report, kind)[0]!)
    }
  })

  mpi('a worker that is killed ends the run, with a message, and leaves no process', async () => {
    const { child, workers, ended } = await startLong(['--transport', 'mpi'])
    process.kill(workers[1]!, 'SIGKILL')
    const { code, stderr } = await ended()
    assert.is(code, 1)
    assert.match(stderr, /mpirun noticed that process rank 1 .* exited on signal 9 \(Killed\)/)
    assert.match(stderr, /demo: mpirun ended with exit code 137/)
    await allGone([child.pid!, ...workers])
  })

  mpi('Ctrl-C leaves no process behind', async () => {
    const { child, workers, ended } = await startLong(['--transport', 'mpi'])
    child.kill('SIGINT')
    assert.is((await ended()).code, 130)
    await allGone([child.pid!, ...workers])
  })

  mpi('workers are ended when the process that called mpirun is killed', async () => {
    const { child, workers, ended } = await startLong(['--transport', 'mpi'])
    child.kill('SIGKILL')
    await ended()
    await allGone(workers)
  })

  mpi('refuses another number of workers than mpirun has started', () => {
    const { status, stderr } = run(['--transport', 'mpi', '-w', '3'], [...mpirun, '-n', '1'])
    assert.is(status, 1)
    assert.match(stderr, /"--workers": expected 1, as many as MPI has, got 3/)
  })

  mpi('a worker that fails ends the run, and says why', () => {
    const { status, stdout, stderr } = run(['--transport', 'mpi', '-w', '2', '-t', 'no-such-file'])
    assert.is(status, 1)
    assert.is(stdout, '')
    assert.match(stderr, /demo: worker [01]: ENOENT.*no-such-file/)
  })
}

mpi('refuses a wire type that MPI_Allreduce cannot sum', () => {
  const { status, stdout, stderr } = run(['--transport', 'mpi', '--wire', 'f16'])
  assert.is(status, 1)
  assert.is(stdout, '')
  assert.match(
    stderr,
    /^demo: "--wire": expected f32 with --transport mpi, got f16: .*--transport ws/,
  )
})

mpi('says what to install where there is no mpirun', () => {
  const { status, stderr } = run(['--transport', 'mpi'], ['/usr/bin/env', 'PATH=/nowhere'])
  assert.is(status, 1)
  assert.match(stderr, /^demo: mpirun was not found: install Open MPI/)
})

for (const round of [0, 1]) {
  mpi(`an engine whose sums differ in one bit in round ${round} is found in the next`, async () => {
    const fleet = await Promise.all(
      [0, 1].map((sender) => createCompressor([[40, 30], [7]], { rank: 2, sender })),
    )
    const gradients = [gaussian(1200, 1), gaussian(7, 2)]
    const sumOf = (frames: readonly Uint8Array[]) => {
      const [a, b] = frames.map(payload)
      return a!.map((value, i) => value + b![i]!)
    }
    let frames = await Promise.all(fleet.map((compressor) => compressor.compress(gradients)))
    for (let now = 0; now < 2; now++) {
      const sum = sumOf(frames)
      const unlike = sum.slice()
      if (now === round) new Uint32Array(unlike.buffer)[5]! ^= 1
      const next = await Promise.all(
        fleet.map((compressor, worker) =>
          compressor.receive(fromPayload(worker ? unlike : sum, frames[worker]!, 2)),
        ),
      )
      if (now === 0) frames = next as typeof frames
      else {
        for (const compressor of fleet) await compressor.decompress(null)
        frames = await Promise.all(fleet.map((compressor) => compressor.compress(gradients)))
      }
      if (now < round) continue
      const wrong = sumOf(frames)
      for (const frame of frames) {
        assert.throws(
          () => fromPayload(wrong, frame, 2),
          (error: Error) => error instanceof FrameError && /control word/.test(error.message),
        )
      }
      break
    }
    for (const compressor of fleet) compressor.dispose()
  })
}

mpi.run()

function reportOf({ status, stdout, stderr }: ReturnType<typeof run>): Report {
  assert.is(status, 0, stderr)
  return JSON.parse(stdout) // so there is nothing else on stdout
}

function losses(report: Report, kind: (typeof KINDS)[number]): number[] {
  return report[kind].measurements.map(({ loss }) => loss)
}
