import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Change, compareReports } from '../../bench/compare.ts'
import { goals } from '../../bench/goals.ts'
import { statistics, withRatios } from '../../bench/measure.ts'
import { LSTM, parametersOf, RESNET18 } from '../../bench/models.ts'
import type { Report, Row, Table } from '../../bench/results.ts'

const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url))
const NODE = ['--import', 'tsx', MAIN]
const OURS = ['kernels', 'step', 'methods', 'aggregate', 'codec']

const bench = suite('bench')
let folder: string

bench.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'lowrank-bench-'))
})
bench.after(() => rmSync(folder, { recursive: true }))

bench('measures, writes a report, and compares another run with it', () => {
  const [first, second] = ['first.json', 'second.json'].map((name) => join(folder, name)) as [
    string,
    string,
  ]
  const all = run('--tiny', '--json', first, ...OURS)
  assert.is(all.status, 0, all.stderr)
  const report = read(first)
  assert.match(report.command, 'npm run bench -- --tiny')
  assert.equal([...new Set(report.tables.map(({ title }) => title.split(',')[0]))], OURS)
  for (const { title, rows } of report.tables) {
    assert.is(new Set(rows.map(({ name }) => name)).size, rows.length, `${title}: names`)
    for (const row of rows) {
      const where = `${title}: ${row.name}`
      assert.ok(row.ms > 0 && row.spread >= 0 && row.samples >= 5, where)
      assert.is(row.ratio === undefined, row.yardstick === undefined, where)
      assert.ok(row.ratio === undefined || row.ratio > 0, where)
      assert.match(all.stdout, row.name)
    }
  }

  const again = run('--tiny', '--json', second, '--compare', first, '--markdown', 'codec')
  assert.is(again.status, 0, again.stderr)
  assert.match(again.stdout, /^### codec, .*\n\n\| {2}\| median ms \|/m)
  assert.match(again.stdout, /^### since then: \d+ of 9 ratios/m)
  const { changes } = read(second)
  assert.is(changes?.length, 9) // every row of the codec but memcpy
  for (const { change, now, before } of changes!) assert.is(change, now / before)
})

bench('says how it is used, and refuses what it does not know', () => {
  const help = run('--help')
  assert.is(help.status, 0)
  for (const name of [...OURS, 'peers', 'torch', '--quick', '--compare'])
    assert.match(help.stdout, name)
  for (const [words, message] of [
    [['nonsense'], /'nonsense' is invalid/],
    [['--nonsense'], /unknown option '--nonsense'/],
    [['--compare', join(folder, 'nowhere.json')], /nowhere\.json/],
    [['--json', folder], /^bench: "--json": .* cannot be written: it is a folder$/m],
    [['--json', join(folder, 'none', 'a')], /^bench: "--json": .*: its folder does not exist$/m],
  ] as [string[], RegExp][]) {
    const { status, stderr } = run(...words)
    assert.is(status, 1)
    assert.match(stderr, message)
    assert.not.match(stderr, /\n {4}at /) // a message, not a stack
  }
})

bench('ends at Ctrl-C, with what it has started', async () => {
  const child: ChildProcess = spawn(process.execPath, [...NODE, 'kernels'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let stderr = ''
  child.stderr!.setEncoding('utf8')
  for await (const text of child.stderr!.iterator({ destroyOnReturn: false })) {
    stderr += text
    if (stderr.includes('kernels …')) break
  }
  await setTimeout(500) // into the section
  const children = childrenOf(child.pid!)
  assert.is(children.length, 1)
  child.kill('SIGINT')
  const [code] = await once(child, 'exit')
  assert.is(code, 130)
  for (const pid of children) assert.throws(() => process.kill(pid, 0), /ESRCH/)
})

bench('ratios are to a yardstick of the same work, medians of all samples', () => {
  assert.equal(statistics([3, 1, 2, 100]), { ms: 2.5, spread: 1, samples: 4 })
  const [plain, half] = withRatios([
    row('stream', 2, { bytes: 100 }),
    row('kernel', 3, { bytes: 50, yardstick: 'stream' }),
  ])
  assert.is(plain!.ratio, undefined)
  assert.is(half!.ratio, 3) // twice as many bytes would have taken 6
  assert.throws(() => withRatios([row('a', 1, { yardstick: 'b' })]), /no row "b"/)
})

bench('a change is one beyond the spread of both runs', () => {
  const then = reportOf([row('stream', 1), row('kernel', 2, { yardstick: 'stream' })])
  const verdict = (ms: number, stream: number): Change['verdict'] => {
    const rows = [row('stream', stream), row('kernel', ms, { yardstick: 'stream' })]
    return compareReports(reportOf(rows), then)[0]!.verdict
  }
  assert.is(verdict(2, 1), 'the same')
  assert.is(verdict(20, 10), 'the same') // another machine
  assert.is(verdict(2.1, 1), 'the same') // spreads are 1 % of each of four medians
  assert.is(verdict(2.2, 1), 'slower')
  assert.is(verdict(1.8, 1), 'faster')
  assert.equal(compareReports(reportOf([row('stream', 1)]), then), [])
})

bench('goals are measured by the rows that they name', () => {
  const step = (rank: number, ratio: number) =>
    row(`gradients in the caller’s arrays, r = ${rank}`, 1, { yardstick: 'stream: step', ratio })
  const title = 'step, ResNet-18'
  const found = goals([tableOf(title, [step(1, 1.6), step(2, 2.1), step(4, 2.8)])])
  assert.equal(
    found.map(({ measured, verdict }) => [measured, verdict]),
    [
      ['1.6', 'aim met'],
      ['2.1', 'met'],
      ['2.8', 'missed'],
    ],
  )
  assert.equal(goals([]), [])
})

bench('models have the sizes that their papers say', () => {
  assert.is(parametersOf(RESNET18), 11_173_962)
  assert.is(parametersOf(LSTM), 28_949_319)
})

bench.run()

function run(...words: string[]) {
  return spawnSync(process.execPath, [...NODE, ...words], { encoding: 'utf8' })
}

function read(path: string): Report & { readonly changes: readonly Change[] | null } {
  return JSON.parse(readFileSync(path, 'utf8'))
}

function row(name: string, ms: number, more: Partial<Row> = {}): Row {
  const one = { name, ms, spread: ms / 100, samples: 9, bytes: 0, flops: 0, ...more }
  return one
}

function tableOf(title: string, rows: readonly Row[]): Table {
  return { title, ratios: 'times', against: '× stream', rows }
}

function reportOf(rows: readonly Row[]): Report {
  const tables = [tableOf('a table', withRatios(rows))]
  const where = { cpu: '', simd: 'plain' as const, node: '', date: '', command: '', pinned: true }
  return { ...where, tables, skipped: [], goals: [] }
}

function childrenOf(pid: number): number[] {
  const { stdout } = spawnSync('ps', ['-o', 'pid=', '--ppid', `${pid}`], { encoding: 'utf8' })
  return stdout.trim().split(/\s+/).filter(Boolean).map(Number)
}
