// The tarball has the right files, and its package.json leads every kind of resolution to them.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkPackage, createPackageFromTarballData, type Problem } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { GOLDEN } from '../support/golden.ts'
import { createProject, runNode } from './project.ts'

const project = await createProject()
const installed = join(project.folder, 'node_modules/lowrank')

const test = suite('manifest')

test.after(() => project.remove())

test('publint has nothing to say, suggestions included', async () => {
  const { messages } = await publint({ pack: { tarball: project.tarball.buffer }, strict: true })
  assert.equal(messages, [])
})

test('types are found wherever ES modules are', async () => {
  const analysis = await checkPackage(createPackageFromTarballData(project.tarball))
  assert.ok(analysis.types, 'no types')
  assert.ok(Object.keys(analysis.entrypoints).includes('./kernels'))
  // Old resolution knows no "exports"; engines >= 20.19 allow require() of an ES module; bytes have
  // no types.
  const elsewhere = ['node10', 'node16-cjs']
  const concerns = (problem: Problem) =>
    !('resolutionKind' in problem && elsewhere.includes(problem.resolutionKind)) &&
    !('entrypoint' in problem && problem.entrypoint.endsWith('.wasm'))
  assert.equal(analysis.problems.filter(concerns), [])
})

test('it holds what is needed to run and to read, and no more', () => {
  const top = readdirSync(installed).sort()
  const expected = [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'assembly',
    'dist',
    'package.json',
    'shaders',
    'src',
  ]
  assert.equal(top, expected)
  const files = readdirSync(installed, { recursive: true, encoding: 'utf8' })
  assert.ok(files.some((file) => file.endsWith('.wasm')))
  assert.equal(
    files.filter((file) => /test|bench|node_modules|\.tgz$/.test(file)),
    [],
  )
})

test('no door loads many files: each takes Node most of a millisecond', () => {
  const doors = [
    'baselines',
    'factored',
    'frames',
    'gossip',
    'index',
    'kernels',
    'methods',
    'threads',
    'topology',
    'webgpu',
  ].map((d) => `${d}.js`)
  for (const door of doors) {
    const all = new Set<string>()
    const follow = (file: string) => {
      if (all.has(file)) return
      all.add(file)
      const text = readFileSync(join(installed, 'dist', file), 'utf8')
      for (const [, next] of text.matchAll(/from "\.\/([^"]+)"/g)) follow(next!)
    }
    follow(door)
    assert.ok(all.size < 11, `${door}: ${[...all]}`)
  }
})

test('import in Node comes to the golden hash', () => {
  const program = project.write(
    'import.js',
    `import * as lowrank from 'lowrank'
     import { goldenRun } from './golden.js'
     console.log(await goldenRun(lowrank))`,
  )
  assert.is(runNode(program), GOLDEN.run)
})

test('require in Node comes to the golden hash: no module awaits at its top level', () => {
  const program = project.write(
    'require.cjs',
    `const { aggregate, createCompressor, wasm } = require('lowrank')
     const doors = [require('lowrank/frames').inspect, require('lowrank/kernels').svd]
     if (!doors.every((one) => typeof one === 'function')) throw new Error(String(doors))
     import('./golden.js').then(async ({ goldenRun }) => {
       console.log(await goldenRun({ aggregate, createCompressor, wasm }))
     })`,
  )
  assert.is(runNode(program), GOLDEN.run)
})

test.run()
