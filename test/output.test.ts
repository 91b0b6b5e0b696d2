// scripts/output.ts: whether a file can be written is known before it is.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { checkFolder, checkOutput, writeOutput } from '../scripts/output.ts'

const test = suite('output')
let folder = ''
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'lowrank-output-'))
  mkdirSync(join(folder, 'folder'))
  writeFileSync(join(folder, 'file'), 'old')
})
test.after.each(() => rmSync(folder, { recursive: true }))

test('leaves everything as it is', () => {
  symlinkSync(join(folder, 'target'), join(folder, 'dangling'))
  const before = readdirSync(folder)
  for (const name of ['file', 'new', 'dangling']) checkOutput('--json', join(folder, name))
  assert.equal(readdirSync(folder), before)
  assert.is(readFileSync(join(folder, 'file'), 'utf8'), 'old')
  checkOutput('--json', '/dev/null')
})

for (const [path, why] of [
  ['folder', 'it is a folder'],
  ['none/a', 'its folder does not exist'],
  ['file/a', 'its folder is a file'],
  ['', 'it is a folder'],
] as const) {
  test(`refuses "${path}" before and after: ${why}`, () => {
    const all = join(folder, path)
    const says = `"--json": ${all} cannot be written: ${why}`
    const before = readdirSync(folder, { recursive: true })
    assert.throws(() => checkOutput('--json', all), says)
    assert.throws(() => writeOutput('--json', all, ''), says)
    assert.equal(readdirSync(folder, { recursive: true }), before)
  })
}

test('refuses what it has no permission for', () => {
  chmodSync(join(folder, 'file'), 0o400)
  chmodSync(join(folder, 'folder'), 0o500)
  chmodSync(folder, 0o755)
  const root = process.getuid?.() === 0
  if (root) process.seteuid!(65534) // root may write everywhere
  try {
    for (const path of ['file', 'folder/a']) {
      assert.throws(() => checkOutput('--json', join(folder, path)), /: no permission$/)
    }
  } finally {
    if (root) process.seteuid!(0)
  }
})

test('folders are made; one in which a file cannot be written is refused', () => {
  const deep = join(folder, 'a', 'b')
  checkFolder('--out', deep, ['page'])
  assert.ok(existsSync(deep))
  assert.equal(readdirSync(deep), [])
  mkdirSync(join(deep, 'page'))
  assert.throws(
    () => checkFolder('--out', deep, ['page']),
    /page cannot be written: it is a folder/,
  )
  const file = join(folder, 'file')
  assert.throws(() => checkFolder('--out', file, []), /"--out": .*: there is a file of that name/)
  assert.throws(() => checkFolder('--out', join(file, 'a'), []), /its folder is a file/)
})

test.run()
