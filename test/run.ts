// `npm test` runs this: every test/**/*.test.ts in a process of its own.
//
//   npm test -- codec frames     only files whose path contains one of these
//   --in reproduce/test          where to look, instead of the folder of this file; may be repeated
//   TEST_JOBS=1                  files at a time; default 2
//   TEST_TIMEOUT_MS=300000       after so long without output a file and its children are killed: uvu
//                                prints a dot for each test. On a busy machine it is longer, by its load
//
// A file fails if one of its tests fails, if it does not report its tests, or if audit.ts finds a
// test that could not run. The last line is always "N passed, N failed, N skipped".
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { constants } from 'node:os'
import { join, relative, resolve, sep } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import type { Findings } from './support/audit.ts'
import { patience } from './support/patience.ts'

interface Result {
  readonly passed: number
  readonly skipped: number
  /** failed tests, and one for each other problem of the file */
  readonly failed: number
  /** what is wrong besides failed tests */
  readonly problems: readonly string[]
  /** names of skipped tests, which give the reason */
  readonly skips: readonly string[]
}

const here = fileURLToPath(new URL('.', import.meta.url))
const { positionals: wanted, values } = parseArgs({
  options: { in: { type: 'string', multiple: true } },
  allowPositionals: true,
})
const folders = (values.in ?? [here]).map((folder) => resolve(folder))
const jobs = Number(process.env.TEST_JOBS ?? 2)
const timeoutMs = Number(process.env.TEST_TIMEOUT_MS ?? 300_000)
const running = new Set<ChildProcess>()

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    for (const child of running) killGroup(child)
    process.exit(128 + constants.signals[signal])
  })
}

const files = folders.flatMap(filesIn)
const results: Result[] = []
const waiting = [...files]
if (!(jobs >= 1)) throw new RangeError(`TEST_JOBS: expected a number ≥ 1, got ${jobs}`)
if (!(timeoutMs >= 1)) throw new RangeError(`TEST_TIMEOUT_MS: expected ≥ 1, got ${timeoutMs}`)
if (files.length === 0) console.log(`no test file${wanted.map((w) => ` "${w}"`)} in ${folders}`)
await Promise.all(
  Array.from({ length: jobs }, async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) results.push(await run(file))
  }),
)
const total = (of: 'passed' | 'failed' | 'skipped') => results.reduce((sum, r) => sum + r[of], 0)
process.exitCode = files.length === 0 || total('failed') > 0 ? 1 : 0
console.log(`${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`)

/** The wanted test files, sorted, without those of installed packages. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((file) => file.split(sep).join('/'))
    .filter((file) => file.endsWith('.test.ts') && !/(^|\/)node_modules\//.test(file))
    .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
    .sort()
    .map((file) => join(folder, file))
}

/** Runs one file and prints its line, and all output if it fails, else lines that say ATTENTION. */
async function run(file: string): Promise<Result> {
  const started = performance.now()
  const audit = pathToFileURL(join(here, 'support/audit.ts')).href
  const child = spawn(process.execPath, ['--import', 'tsx', '--import', audit, file], {
    cwd: resolve(here, '..'),
    // A group of its own, so that children of the file can be ended with it.
    detached: true,
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  running.add(child)
  const output = collect(child.stdout!, child.stderr!)
  const findings = collect(child.stdio[3] as Readable)
  let late = false
  let printed = performance.now()
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', () => {
      printed = performance.now()
    })
  }
  const timer = setInterval(() => {
    if (performance.now() - printed < patience(timeoutMs)) return
    late = true
    killGroup(child)
  }, timeoutMs / 100)
  const ended = await new Promise<string>((done) => {
    let how = ''
    child.once('error', (error) => done(`could not be started: ${error.message}`))
    child.once('exit', (code, signal) => {
      how = code === 0 ? '' : signal ? `ended by ${signal}` : `exit code ${code}`
      killGroup(child) // else its children hold the pipes open
    })
    child.once('close', () => done(how))
  })
  clearInterval(timer)
  running.delete(child)

  const text = output()
  const result = judge(text, findings(), late ? `printed nothing for ${timeoutMs} ms` : ended)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const name = relative(resolve(here, '..'), file)
  const counts = `${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped`
  const notes = [
    ...result.skips.map((skip) => `skipped: ${skip}`),
    ...(text.match(/^ATTENTION.*$/gm) ?? []),
  ]
  const below = notes.map((note) => `\n     ${note}`).join('')
  console.log(`${result.failed ? '✘' : '•'} ${name}  ${counts}  ${seconds} s${below}`)
  if (result.failed) console.log([text, ...result.problems.map((p) => `  ${p}`), ''].join('\n'))
  return result
}

/** Judges a file by its output, findings and end. uvu prints one block of totals for all suites. */
function judge(text: string, findings: string, ended: string): Result {
  const blocks = [
    ...text.matchAll(/^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)$/gm),
  ]
  const problems: string[] = []
  if (blocks.length === 0) problems.push('printed no totals')
  // A suite that comes after the totals makes uvu begin anew and run suites twice.
  if (blocks.length > 1) problems.push('printed totals twice: a suite was run after the others')
  if (text.includes('Exiting early before testing is finished.')) problems.push('exited early')
  const [tests, passed, skipped] = (blocks[0] ?? []).slice(1).map(Number) as [
    number?,
    number?,
    number?,
  ]
  const broken = (tests ?? 0) - (passed ?? 0)
  if (ended && broken === 0) problems.push(ended)
  let skips: readonly string[] = []
  if (findings === '') problems.push('ended without saying which tests it has')
  else {
    const found = JSON.parse(findings) as Findings
    problems.push(...found.problems)
    skips = found.skips
  }
  return {
    passed: passed ?? 0,
    skipped: skipped ?? 0,
    failed: broken + problems.length,
    problems: broken && ended ? [...problems, ended] : problems,
    skips,
  }
}

/** Collects the output of streams, interleaved as it comes. */
function collect(...streams: Readable[]): () => string {
  let text = ''
  for (const stream of streams) {
    stream.setEncoding('utf8')
    stream.on('data', (part: string) => {
      text += part
    })
  }
  return () => text
}

/** Ends a file's process and all that it started in its group. */
function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // ESRCH: nobody is left
  }
}
