import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { until } from './support/until.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const HEAD = `import { suite } from 'uvu'
import * as assert from 'uvu/assert'
const a = suite('a')
a('adds', () => assert.is(1 + 1, 2))
`

const test = suite('run')
let folder = ''

test.before.each(() => {
  mkdirSync(join(root, 'build'), { recursive: true })
  folder = mkdtempSync(join(root, 'build', 'run-test-'))
})
test.after.each(() => rmSync(folder, { recursive: true, force: true }))

test('counts passed, failed and skipped tests of all suites, and exits by them', () => {
  write('good', `${HEAD}a.run()\nconst b = suite('b')\nb('is', () => assert.ok(true))\nb.run()`)
  write('skips', `${HEAD}a.skip('no such device')\na.run()`)
  const good = run()
  assert.is(lastLine(good.stdout), '3 passed, 0 failed, 1 skipped')
  assert.match(good.stdout, 'skipped: no such device')
  assert.is(good.status, 0)

  write('bad', `${HEAD}a('fails', () => assert.is(1, 2))\na.run()`)
  const bad = run()
  assert.is(lastLine(bad.stdout), '4 passed, 1 failed, 1 skipped')
  assert.match(bad.stdout, /FAIL {2}a {2}"fails"/)
  assert.is(bad.status, 1)
  assert.is(lastLine(run(['good']).stdout), '2 passed, 0 failed, 0 skipped')
})

test('shows what a file that passes wants to be known', () => {
  write('good', `${HEAD}console.log('nothing\\nATTENTION: the second try')\na.run()`)
  const { stdout, status } = run()
  assert.match(stdout, /^• .*\n {5}ATTENTION: the second try\n1 passed/)
  assert.not.match(stdout, 'nothing')
  assert.is(status, 0)
})

test('runs the files of several folders, and has one total', () => {
  mkdirSync(join(folder, 'one'))
  mkdirSync(join(folder, 'other'))
  write('one/good', `${HEAD}a.run()`)
  write('other/good', `${HEAD}a.run()`)
  write('other/bad', `${HEAD}a('fails', () => assert.is(1, 2))\na.run()`)
  const both = ['--in', join(folder, 'one'), '--in', join(folder, 'other')]
  const runBoth = (...filters: string[]) => {
    const all = ['--import', 'tsx', 'test/run.ts', ...both, ...filters]
    return spawnSync(process.execPath, all, { cwd: root, encoding: 'utf8' })
  }
  const all = runBoth()
  assert.is(lastLine(all.stdout), '3 passed, 1 failed, 0 skipped')
  assert.is(all.status, 1)
  const good = runBoth('good')
  assert.is(lastLine(good.stdout), '2 passed, 0 failed, 0 skipped')
  assert.is(good.status, 0)
})

test('leaves alone what installed packages bring', () => {
  write('good', `${HEAD}a.run()`)
  mkdirSync(join(folder, 'engines', 'node_modules', 'zod'), { recursive: true })
  write('engines/node_modules/zod/theirs', `${HEAD}a('fails', () => assert.is(1, 2))\na.run()`)
  assert.is(lastLine(run().stdout), '1 passed, 0 failed, 0 skipped')
})

const BAD: Record<string, { source: string; says: RegExp; line: string }> = {
  'a suite that is never run': {
    source: `${HEAD}a.run()\nconst b = suite('b')\nb('is', () => {})`,
    says: /suite "b": \.run\(\) is missing/,
    line: '1 passed, 1 failed, 0 skipped',
  },
  'a test that comes after .run()': {
    source: `${HEAD}a.run()\na('late', () => {})`,
    says: /suite "a": 1 tests declared after \.run\(\)/,
    line: '1 passed, 1 failed, 0 skipped',
  },
  'a suite without tests': {
    source: `${HEAD}a.run()\nsuite('b').run()`,
    says: /suite "b": has no test/,
    line: '1 passed, 1 failed, 0 skipped',
  },
  'a test that leaves others out': {
    source: `${HEAD}a.only('one', () => {})\na.run()`,
    says: /\.only leaves other tests out/,
    line: '1 passed, 1 failed, 1 skipped',
  },
  'a file without tests': {
    source: `export {}`,
    says: /printed no totals/,
    line: '0 passed, 2 failed, 0 skipped',
  },
  'a file that ends by itself before its tests do': {
    source: `${HEAD}a('never', () => new Promise(() => {}))\na.run()`,
    says: /exited early/,
    line: '0 passed, 3 failed, 0 skipped',
  },
  'a file that ends the process in a test': {
    source: `${HEAD}a('leaves', () => process.exit(0))\na.run()`,
    says: /printed no totals/,
    line: '0 passed, 3 failed, 0 skipped',
  },
  'a hook that throws, which uvu takes for success': {
    source: `${HEAD}a.before(() => { throw new Error('hook') })\na.run()`,
    says: /0 passed, 1 failed/,
    line: '0 passed, 1 failed, 0 skipped',
  },
  'a suite that is run when the others have ended': {
    source: `${HEAD}a.run()\nawait new Promise((done) => setTimeout(done, 200))
const b = suite('b')\nb('is', () => {})\nb.run()`,
    says: /printed totals twice/,
    line: '1 passed, 1 failed, 0 skipped',
  },
  'a file that does not parse': {
    source: `${HEAD}a.run(`,
    says: /exit code 1/,
    line: '0 passed, 3 failed, 0 skipped',
  },
}
for (const [what, { source, says, line }] of Object.entries(BAD)) {
  test(`fails for ${what}`, () => {
    write('bad', source)
    const { stdout, status } = run()
    assert.match(stdout, says)
    assert.is(lastLine(stdout), line)
    assert.is(status, 1)
  })
}

test('fails if there is nothing to run', () => {
  const { stdout, status } = run(['nothing'])
  assert.is(lastLine(stdout), '0 passed, 0 failed, 0 skipped')
  assert.is(status, 1)
})

// A file that starts a child, notes both process numbers, and hangs.
const HANGS = `import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
${HEAD}a('hangs', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' })
  writeFileSync(new URL('./pids', import.meta.url), process.pid + ' ' + child.pid)
  await new Promise((done) => setTimeout(done, 60_000))
})
a.run()`

test('kills a file that says nothing for too long, and its children', async () => {
  write('hangs', HANGS)
  const { stdout, status } = run([], { TEST_TIMEOUT_MS: '3000' })
  assert.match(stdout, /printed nothing for 3000 ms/)
  assert.is(status, 1)
  await gone(pids())
})

test('lets a slow file go on as long as its tests come to an end', async () => {
  const slow = [1, 2, 3].map(
    (i) => `a('waits ${i}', () => new Promise((done) => setTimeout(done, 4_000)))\n`,
  )
  write('slow', `${HEAD}${slow.join('')}a.run()`)
  const { stdout, status } = run([], { TEST_TIMEOUT_MS: '10000' })
  assert.is(lastLine(stdout), '4 passed, 0 failed, 0 skipped')
  assert.is(status, 0)
})

test('takes its files along when it is interrupted', async () => {
  write('hangs', HANGS)
  const child = spawn(process.execPath, ['--import', 'tsx', 'test/run.ts', '--in', folder], {
    cwd: root,
    stdio: 'ignore',
  })
  const exited = once(child, 'exit')
  await until('the file has started', () => pids().length === 2)
  child.kill('SIGINT')
  assert.equal(await exited, [130, null])
  await gone(pids())
})

test.run()

function write(name: string, source: string): void {
  writeFileSync(join(folder, `${name}.test.ts`), source)
}

function run(words: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const all = ['--import', 'tsx', 'test/run.ts', '--in', folder, ...words]
  return spawnSync(process.execPath, all, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })
}

function lastLine(text: string): string | undefined {
  return text.trimEnd().split('\n').at(-1)
}

function pids(): number[] {
  try {
    return readFileSync(join(folder, 'pids'), 'utf8').split(' ').map(Number)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

async function gone(processes: readonly number[]): Promise<void> {
  assert.is(processes.length, 2)
  await until('the processes have ended', () => !processes.some(alive))
}
