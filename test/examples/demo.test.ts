import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { plan } from 'lowrank'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { compression } from '../../examples/demo/protocol.ts'
import type { Report } from '../../examples/demo/report.ts'
import { createCorpus, readText } from '../../examples/demo/text.ts'
import { allGone, folder, README, run, startLong, startShown } from './demo.ts'

const demo = suite('demo')

demo('trains twice, counts the bytes that plan tells, and ends with equal workers', () => {
  const svg = join(folder, 'loss.svg')
  const [report, again] = [1, 2].map(() => {
    const { status, stdout, stderr } = run([
      '-w',
      '3',
      '-s',
      '8',
      '-r',
      '2',
      '--json',
      '--svg',
      svg,
    ])
    assert.is(status, 0, stderr)
    return JSON.parse(stdout) as Report // so there is nothing else on stdout
  }) as [Report, Report]

  for (const [kind, compressed] of [
    ['uncompressed', false] as const,
    ['compressed', true] as const,
  ]) {
    const { measurements, parameters, sentBytes, receivedBytes } = report[kind]
    const losses = measurements.map(({ loss }) => loss)
    assert.ok(losses.every(Number.isFinite), `${kind}: ${losses}`)
    assert.ok(losses.at(-1)! < losses[0]!, `${kind}: ${losses}`)
    assert.is(measurements.at(-1)!.step, 8)
    assert.is(parameters.length, 3)
    assert.is(new Set(parameters).size, 1)

    const { shapes, options } = compression(
      { ...report.settings, symbols: report.symbols },
      compressed,
    )
    const expected = plan(shapes, options)
    assert.is(sentBytes, expected.bytes)
    assert.is(receivedBytes, expected.received(3).bytes)
    for (const { step, sentBytes } of measurements) assert.is(sentBytes, step * expected.bytes)
    assert.equal(parameters, again[kind].parameters, 'a seed repeats a run')
  }
  assert.is(report.identical, true)
  assert.is(report.agreed, true)
  assert.is(report.compressionRatio, report.uncompressed.sentBytes / report.compressed.sentBytes)
  assert.ok(report.compressionRatio > 50, `${report.compressionRatio}`)
  assert.not.equal(report.uncompressed.parameters, report.compressed.parameters)

  const picture = readFileSync(svg, 'utf8')
  assert.match(picture, /^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/)
  for (const text of ['compressed, rank 2, f16', 'uncompressed', 'unigram entropy', 'bytes sent']) {
    assert.ok(picture.includes(text), text)
  }
})

demo('ends with a clear message when a worker is killed, and leaves no process', async () => {
  const { child, workers, ended } = await startLong()
  process.kill(workers[1]!, 'SIGKILL')
  const { code, stderr } = await ended()
  assert.is(code, 1)
  assert.match(
    stderr,
    /demo: worker 1 was lost in step \d+ of the uncompressed run: killed by SIGKILL/,
  )
  await allGone([child.pid!, ...workers])
})

for (const [signal, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const]) {
  demo(`${signal} leaves no process behind`, async () => {
    const { child, workers, ended } = await startLong()
    child.kill(signal)
    assert.is((await ended()).code, code)
    await allGone([child.pid!, ...workers])
  })
}

demo('workers end by themselves when the coordinator is killed', async () => {
  const { child, workers, ended } = await startLong()
  child.kill('SIGKILL')
  await ended()
  await allGone(workers)
})

demo('--help names every option', () => {
  const { status, stdout } = run(['--help'])
  assert.is(status, 0)
  for (const option of [
    'transport',
    'workers',
    'method',
    'wire',
    'backend',
    'software',
    'rank',
    'steps',
    'seed',
    'text',
    'svg',
    'json',
  ]) {
    assert.match(stdout, `--${option}`)
  }
})

for (const [args, message] of [
  [['--rank', '0'], /'-r, --rank <n>' argument '0' is invalid. Expected an integer from 1 to 64/],
  [['--steps', '1e3'], /'-s, --steps <n>' argument '1e3' is invalid/],
  [
    ['--method', 'sparse'],
    /argument 'sparse' is invalid. Allowed choices are powersgd, half-steps,/,
  ],
  [
    ['--method', 'top-k', '--transport', 'mpi'],
    /demo: "--method": expected one whose frames are summed with --transport mpi, got top-k/,
  ],
  [
    ['--method', 'dad', '--backend', 'webgpu'],
    /demo: "--backend": expected wasm with --method dad/,
  ],
  [['--software'], /demo: "--software": expected --backend webgpu or mixed with it/],
  [['--colour'], /unknown option '--colour'/],
  [['extra'], /too many arguments/],
  [['--text', 'no-such-file'], /demo: ENOENT.*no-such-file/],
  [['--svg', folder], /^demo: "--svg": .* cannot be written: it is a folder$/m],
  [['--svg', join(folder, 'none', 'a.svg')], /^demo: "--svg": .*: its folder does not exist$/m],
  [['--topology', 'ring', '--svg', folder], /^demo: "--svg": .*: it is a folder$/m],
] as const) {
  demo(`refuses ${args.join(' ')}`, () => {
    const { status, stdout, stderr } = run(args)
    assert.is(status, 1)
    assert.is(stdout, '')
    assert.match(stderr, message)
  })
}

demo('prints the results also if the picture cannot be written at the end', async () => {
  const gone = join(folder, 'gone')
  mkdirSync(gone)
  const args = ['-w', '1', '-s', '1', '--json', '--text', README, '--svg', join(gone, 'a.svg')]
  const { child, output, ended } = await startShown(args)
  rmSync(gone, { recursive: true })
  const { code, stderr } = await ended()
  assert.is(code, 1)
  assert.is((JSON.parse(output()) as Report).agreed, true)
  assert.match(stderr, /demo: "--svg": .*a\.svg cannot be written: its folder does not exist\n$/)
  assert.not.match(stderr, 'the picture:')
  await allGone([child.pid!])
})

demo('reads files, packed files and directories, in order', () => {
  const directory = join(folder, 'texts')
  mkdirSync(directory)
  writeFileSync(join(directory, 'b.txt'), 'second ')
  writeFileSync(join(directory, 'a.txt.gz'), gzipSync('first '))
  writeFileSync(join(directory, 'c.md'), 'not this')
  const other = join(folder, 'other.md')
  writeFileSync(other, 'third')
  assert.is(readText([directory, other]), 'first second third')
  mkdirSync(join(folder, 'empty'))
  assert.throws(() => readText([join(folder, 'empty')]), /no \.txt or \.txt\.gz files in/)
})

demo('divides a text by position', () => {
  const { symbols, shares, heldOut, unigramEntropy } = createCorpus('abbc'.repeat(5000), 3)
  assert.is(symbols, 4) // and one for rare characters
  assert.equal(
    shares.map(({ length }) => length),
    [6000, 6000, 6000],
  )
  assert.is(heldOut.length, 2000)
  assert.equal([...heldOut.subarray(0, 4)], [2, 1, 1, 3]) // the most frequent is 1
  assert.ok(Math.abs(unigramEntropy - 1.5 * Math.LN2) < 1e-12)
  assert.throws(
    () => createCorpus('short', 2),
    /too short for 2 workers: expected 10000 characters/,
  )
})

demo.run()
