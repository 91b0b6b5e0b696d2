import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { CIFAR, SHAKESPEARE } from '../data.ts'
import { integers } from '../models/model.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'reproduce-'))
const data = join(folder, 'data')
const out = join(folder, 'out')
const store = join(folder, 'store')

// Made-up files in the formats of the real data sets, which may not be here.
const draw = integers(1)
for (const file of SHAKESPEARE) put(file, 12_000, () => 32 + draw(65))
for (const file of CIFAR) put(file, 40 * 3073, (i) => (i % 3073 === 0 ? draw(10) : draw(256)))

const test = suite('npm run reproduce')

test.after(() => rmSync(folder, { recursive: true }))

test('goes on from where it was interrupted, and writes page, charts and results', async () => {
  const first = start('--tiny', '--only', 'quality', '--jobs', '1')
  await first.said(/^1 of /m)
  first.child.kill('SIGINT')
  assert.is(await first.code, 130)
  assert.match(first.text(), 'reproduce: ended by SIGINT; the same command goes on from here')
  // There may be more than one: before the signal arrives, the next run may have ended as well.
  const kept = lines()
  assert.ok(kept.length >= 1)

  const second = start('--tiny', '--only', 'quality')
  assert.is(await second.code, 0, second.text())
  assert.match(second.text(), new RegExp(`^${kept.length} of \\d+ runs are done`))
  assert.ok(lines().length > kept.length, 'it was interrupted')
  assert.equal(lines().slice(0, kept.length), kept)
  const keys = lines().map((line) => JSON.stringify(JSON.parse(line).run))
  assert.is(new Set(keys).size, keys.length, 'no run was executed twice')

  const page = readFileSync(join(out, 'README.md'), 'utf8')
  const charts = [...page.matchAll(/!\[[^\]]+\]\(([^)]+\.svg)\)/g)].map(([, name]) => name!)
  assert.ok(charts.length >= 4)
  assert.equal(readdirSync(out).sort(), ['README.md', 'results.json', ...charts].sort())
  const results = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'))
  assert.is(results.runs, keys.length)
  for (const { name, losses, sentBytes } of results.quality) {
    assert.ok(
      losses.every((loss: number) => loss > 0 && loss < 20),
      name,
    )
    assert.ok(sentBytes > 0, name)
  }

  const third = start('--tiny', '--only', 'quality')
  assert.is(await third.code, 0)
  assert.is(lines().length, keys.length, 'everything had been computed')
})

test('refuses what it cannot do, by name', async () => {
  const refused = async (words: readonly string[], expected: string) => {
    const { code, text } = start(...words)
    assert.is(await code, 1)
    assert.match(text(), expected)
  }
  await refused(['--tiny', '--quick'], "'--tiny' cannot be used with option '--quick'")
  await refused(
    ['--only', 'nothing'],
    'Allowed choices are bytes, quality, accordion, gossip, pays',
  )
  await refused(['--jobs', '0'], 'Expected an integer from 1 to 64')
  await refused(
    ['--tiny', '--only', 'quality', '--data', folder],
    `"--data": expected ${SHAKESPEARE[0]}`,
  )
  const file = join(data, SHAKESPEARE[0]!)
  const small = ['--tiny', '--only', 'quality']
  await refused([...small, '--out', file], '"--out": ')
  await refused([...small, '--store', file], '"--store": ')
})

test.run()

function put(file: string, length: number, byte: (i: number) => number): void {
  const path = join(data, file)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(
    path,
    gzipSync(
      Uint8Array.from({ length }, (_, i) => byte(i)),
      { level: 1 },
    ),
  )
}

function lines(): string[] {
  return readFileSync(join(store, 'tiny.jsonl'), 'utf8').trim().split('\n')
}

/** Starts the command, with the data made here unless told otherwise. */
function start(...words: string[]) {
  const given = words.includes('--data') ? words : [...words, '--data', data]
  const folders = ['--out', out, '--store', store, ...given] // the last of two counts
  const all = ['--import', 'tsx', 'reproduce/main.ts', ...folders]
  const child = spawn(process.execPath, all, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  const waiting: { pattern: RegExp; resolve: () => void }[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (part: string) => {
      text += part
      for (const { pattern, resolve } of waiting) if (pattern.test(text)) resolve()
    })
  }
  const code = once(child, 'close').then(([code]) => code as number | null)
  const said = (pattern: RegExp) =>
    new Promise<void>((resolve, reject) => {
      waiting.push({ pattern, resolve })
      code.then(() => reject(new Error(`it never said ${pattern}, but ${text}`)))
    })
  return { child, code, said, text: () => text }
}
