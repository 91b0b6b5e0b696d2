import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Stage, update } from '../scripts/stages.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const test = suite('build')
let folder = ''

/** Joins the files of `from/` into `to/all`, and copies each of them into `to/each/`. */
const stage: Stage = {
  name: 'joined',
  inputs: ['from', 'options.json', 'absent'],
  outputs: ['to/all', 'to/each'],
  async make(fresh) {
    mkdirSync(join(fresh, 'to/each'), { recursive: true })
    for (const name of readdirSync(join(folder, 'from'))) {
      const text = read(`from/${name}`)
      writeFileSync(join(fresh, 'to/each', name), text)
      appendFileSync(join(fresh, 'to/all'), text)
    }
  },
}

test.before.each(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lowrank-build-'))
  mkdirSync(join(folder, 'from'))
  write('from/a', 'A')
  write('from/b', 'B')
  write('options.json', '{}')
  assert.is(await update(folder, stage), true)
})
test.after.each(() => rmSync(folder, { recursive: true }))

test('makes its outputs once, and leaves nothing else behind', async () => {
  assert.is(read('to/all'), 'AB')
  assert.equal(files(), ['build/joined.made', 'to/all', 'to/each/a', 'to/each/b'])
  assert.is(await update(folder, stage), false)
})

test('does not go by times', async () => {
  const later = new Date(Date.now() + 10_000)
  utimesSync(join(folder, 'from/a'), later, later)
  assert.is(await update(folder, stage), false)
})

const CHANGES: Record<string, () => void> = {
  'an input that has changed': () => write('from/a', 'a'),
  'an input that has come': () => write('from/c', 'C'),
  'an input that has gone': () => rmSync(join(folder, 'from/b')),
  'an input that had not been there': () => write('absent', ''),
  'an input that has another name': () => {
    rmSync(join(folder, 'from/a'))
    write('from/0', 'A')
  },
  'a byte that moved from one input to the next': () => {
    write('from/a', '')
    write('from/b', 'AB')
  },
  'an output that has gone': () => rmSync(join(folder, 'to/each/a')),
  'all outputs gone': () => rmSync(join(folder, 'to'), { recursive: true }),
  'an output that is damaged': () => write('to/all', 'AA'),
  'an output that is cut off': () => write('to/all', ''),
  'a file among the outputs that is none': () => write('to/each/stray', ''),
  'no record': () => rmSync(join(folder, 'build'), { recursive: true }),
  'half a record': () => write('build/joined.made', read('build/joined.made').slice(0, 70)),
}
for (const [what, change] of Object.entries(CHANGES)) {
  test(`makes them again for ${what}`, async () => {
    change()
    assert.is(await update(folder, stage), true)
    const names = readdirSync(join(folder, 'from'))
    assert.equal(readdirSync(join(folder, 'to/each')), names)
    assert.is(read('to/all'), names.map((name) => read(`from/${name}`)).join(''))
    assert.is(await update(folder, stage), false)
  })
}

test('an input that is as it was again makes them what they were', async () => {
  write('from/a', 'a')
  await update(folder, stage)
  write('from/a', 'A')
  assert.is(await update(folder, stage), true)
  assert.is(read('to/all'), 'AB')
})

test('a stage that fails changes nothing, and is not current', async () => {
  write('from/a', 'a')
  const failing: Stage = {
    ...stage,
    async make(fresh) {
      mkdirSync(join(fresh, 'to'))
      writeFileSync(join(fresh, 'to/all'), 'half')
      throw new Error('no more')
    },
  }
  await update(folder, failing).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'no more'),
  )
  assert.is(read('to/all'), 'AB')
  assert.equal(files(), ['build/joined.made', 'to/all', 'to/each/a', 'to/each/b'])
  assert.is(await update(folder, stage), true)
  assert.is(read('to/all'), 'aB')
})

test('an input that changes while it is read is read again the next time', async () => {
  write('from/a', 'a')
  const disturbed: Stage = {
    ...stage,
    async make(fresh) {
      await stage.make(fresh)
      write('from/a', 'later')
    },
  }
  await update(folder, disturbed)
  assert.is(await update(folder, stage), true)
  assert.is(read('to/all'), 'laterB')
})

test('two at once come to the same as one', async () => {
  write('from/a', 'a'.repeat(100_000))
  await Promise.all([update(folder, stage), update(folder, stage)])
  assert.is(read('to/all'), `${'a'.repeat(100_000)}B`)
  assert.equal(files(), ['build/joined.made', 'to/all', 'to/each/a', 'to/each/b'])
  assert.is(await update(folder, stage), false)
})

test('one that was killed is not current, and its folder is removed in time', async () => {
  const program = join(folder, 'killed.mts')
  writeFileSync(
    program,
    `import { update } from ${JSON.stringify(pathToFileURL(join(root, 'scripts/stages.ts')).href)}
     const make = () => { console.log('here'); return new Promise((done) => setTimeout(done, 60_000)) }
     await update(${JSON.stringify(folder)}, { name: 'joined', inputs: ['from'], outputs: ['to/all'], make })`,
  )
  const child = spawn(process.execPath, ['--import', 'tsx', program], { cwd: root })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'close')
  const [left, ...others] = readdirSync(join(folder, 'build')).filter((n) => n.startsWith('unf'))
  assert.equal([typeof left, others], ['string', []])

  write('from/a', 'a')
  assert.is(await update(folder, stage), true)
  assert.ok(existsSync(join(folder, 'build', left!)), 'it may still be at work')
  const before = new Date(Date.now() - 2 * 3_600_000)
  utimesSync(join(folder, 'build', left!), before, before)
  write('from/a', 'A')
  await update(folder, stage)
  assert.not(existsSync(join(folder, 'build', left!)))
})

test('the build of this project mends what is damaged, and says nothing unless it fails', () => {
  copyProject()
  // A copy of a current build has nothing to build.
  assert.equal(node('scripts/build.ts'), { said: '', status: 0 })
  const index = read('dist/index.js')
  write('dist/index.js', index.slice(0, 100))
  rmSync(join(folder, 'dist/lowrank.wasm'))
  rmSync(join(folder, 'src/backends/wasm/binary.ts'))
  assert.equal(node('scripts/build.ts'), { said: '', status: 0 })
  assert.is(read('dist/index.js'), index)
  assert.ok(existsSync(join(folder, 'dist/lowrank.wasm')))
  assert.ok(existsSync(join(folder, 'src/backends/wasm/binary.ts')))

  write('program.mts', "console.log('the program', ...process.argv.slice(2))")
  assert.equal(start('program.mts', '--rank', '2'), { said: 'the program --rank 2\n', status: 0 })

  appendFileSync(join(folder, 'assembly/index.ts'), 'export function broken(')
  const failed = node('scripts/build.ts')
  assert.is(failed.status, 1)
  assert.match(failed.said, /^build: .*asc[\s\S]*ERROR TS/)
  assert.equal(start('program.mts'), failed)
  assert.is(read('dist/index.js'), index, 'the last that could be built')

  // Here a build would fail, so none was started.
  assert.equal(start('program.mts', '--help'), { said: 'the program --help\n', status: 0 })
  write('program.mts', "import { missing } from 'lowrank'\nmissing()")
  assert.equal(start('program.mts', '--help'), failed, 'it needs a build')
})

test.run()

function write(path: string, text: string): void {
  writeFileSync(join(folder, path), text)
}

function read(path: string): string {
  return readFileSync(join(folder, path), 'utf8')
}

/** The project's files without the inputs. */
function files(): string[] {
  return ['build', 'to', 'to/each'].flatMap((path) =>
    readdirSync(join(folder, path), { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `${path}/${entry.name}`)
      .sort(),
  )
}

/** Copies all that a build needs, and its results. */
function copyProject(): void {
  const settings = ['asconfig.json', 'package.json', 'tsconfig.json', 'tsconfig.build.json']
  const built = readdirSync(join(root, 'build')).filter((name) => /\.(made|wasm)$/.test(name))
  const parts = ['assembly', 'shaders', 'src', 'scripts', 'dist', 'build/modules', ...settings]
  for (const part of [...parts, ...built.map((name) => `build/${name}`)]) {
    cpSync(join(root, part), join(folder, part), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction')
}

/** Runs scripts/start.ts in the copy. */
function start(...words: string[]) {
  return node('scripts/start.ts', ...words)
}

function node(...words: string[]) {
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--import', 'tsx', ...words], {
    cwd: folder,
    encoding: 'utf8',
  })
  return { said: (stdout + stderr).replace(/unfinished-\w+/g, ''), status }
}
