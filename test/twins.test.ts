// A kernel is written three times under one name: as loops in reference.ts, as SIMD in assembly/, as
// WGSL in shaders/. One that is missing needs a reason here.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { reference } from '../src/backends/reference.ts'
import { loadModule } from '../src/backends/wasm/load.ts'
import { philox } from '../src/linalg/philox.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Kernels of the module that are not in `Kernels`, and why. */
const OTHERS: Record<string, string> = {
  philox: 'the generator under normal, for its known answers; its reference is philox.ts',
  scale: 'one product per float, on slots of a session: Session.scale',
}

/** Shaders without a twin: part of other kernels. */
const PARTS = ['reduce']

/** Kernels without a shader of their name: the shader that has them, or why only the CPU does. */
const ELSEWHERE: Record<string, string> = {
  project: 'accumulateProject.wgsl',
  reconstruct: 'settle.wgsl',
  residual: 'settle.wgsl',
  accumulate: 'to take a gradient back, accumulateProject.wgsl adds it with the other sign',
  normal: 'workers must agree on random numbers to the bit, which WGSL does not promise',
  philox: 'as normal',
}

const kernels = exportsOf('assembly/index.ts')
const members = membersOf('src/backend.ts', 'Kernels').filter((name) => name !== 'name')

const test = suite('twins')

test('the index exports what the module has', async () => {
  const exported = WebAssembly.Module.exports(await loadModule())
  const functions = exported.filter(({ kind }) => kind === 'function').map(({ name }) => name)
  assert.equal(functions.sort(), [...kernels].sort())
})

test('TypeScript declares what the module has', () => {
  const declared = membersOf('src/backends/wasm/load.ts', 'KernelExports')
  assert.equal(declared.sort(), [...kernels, 'heapBase'].sort())
})

test('every kernel has its text in the reference, and is in Kernels or says why not', () => {
  assert.ok(kernels.length > 10)
  for (const name of kernels) {
    const other = Object.hasOwn(OTHERS, name)
    assert.is(members.includes(name), !other, `Kernels.${name}`)
    assert.is(Object.hasOwn(reference, name), !other, `reference.${name}`)
  }
  for (const name of Object.keys(OTHERS)) assert.ok(kernels.includes(name), `${name}: no kernel`)
  assert.type(philox, 'function')
})

test('Kernels has no member without a kernel', () => {
  for (const name of members) assert.ok(kernels.includes(name), name)
})

test('every kernel is in the file of its name, which begins with its formula', () => {
  for (const name of kernels) {
    const [first] = read(`assembly/${name}.ts`).split('\n')
    assert.match(first!, /^\/\/ .*[←Σ]/, `assembly/${name}.ts`)
    assert.match(read(`assembly/${name}.ts`), `export function ${name}(`)
  }
})

test('every shader has a twin in assembly, and each points at the other', () => {
  const folder = join(root, 'shaders')
  const shaders = existsSync(folder) ? readdirSync(folder) : []
  assert.equal(
    shaders.flatMap((file) => strangers(file, read(`shaders/${file}`), read)),
    [],
  )
})

test('every kernel has a shader, or it is said why not', () => {
  const shaders = readdirSync(join(root, 'shaders'))
  for (const name of kernels) {
    const elsewhere = ELSEWHERE[name]
    assert.is(elsewhere === undefined, shaders.includes(`${name}.wgsl`), name)
    if (!elsewhere?.endsWith('.wgsl')) continue
    assert.match(read(`shaders/${elsewhere}`), `twin: assembly/${name}.ts`)
    assert.match(read(`assembly/${name}.ts`).split('\n')[0]!, `twin: shaders/${elsewhere}`)
  }
  for (const name of Object.keys(ELSEWHERE)) assert.ok(kernels.includes(name), name)
})

test('the check of shaders finds strangers', () => {
  const twin = '// P ← M·Q   twin: assembly/project.ts\nfn project() {}\n'
  const known = (path: string) =>
    path === 'assembly/project.ts' ? '// twin: shaders/project.wgsl' : ''
  assert.equal(strangers('project.wgsl', twin, known), [])
  assert.equal(strangers('reduce.wgsl', '// partial sums\nfn reduce() {}', known), [])
  assert.equal(strangers('notes.txt', '', known), ['shaders/notes.txt: expected a .wgsl file'])
  assert.equal(strangers('invert.wgsl', twin, known), [
    'shaders/invert.wgsl: assembly exports no such kernel',
  ])
  assert.equal(
    strangers('project.wgsl', '// P ← M·Q\nfn other() {}', () => '// P ← M·Q'),
    [
      'shaders/project.wgsl: has no fn project',
      'shaders/project.wgsl: its first line does not name assembly/project.ts',
      'assembly/project.ts: its first line does not name shaders/project.wgsl',
    ],
  )
})

test.run()

/** Finds why a shader is not the twin of a kernel. */
function strangers(file: string, text: string, source: (path: string) => string): string[] {
  const shader = `shaders/${file}`
  if (!file.endsWith('.wgsl')) return [`${shader}: expected a .wgsl file`]
  const name = file.slice(0, -'.wgsl'.length)
  const found: string[] = []
  if (PARTS.includes(name)) return found
  if (!kernels.includes(name)) return [`${shader}: assembly exports no such kernel`]
  const assembly = `assembly/${name}.ts`
  if (!text.includes(`fn ${name}(`)) found.push(`${shader}: has no fn ${name}`)
  const names = (from: string, to: string) => from.split('\n')[0]!.includes(to)
  if (!names(text, assembly)) found.push(`${shader}: its first line does not name ${assembly}`)
  if (!names(source(assembly), shader)) {
    found.push(`${assembly}: its first line does not name ${shader}`)
  }
  return found
}

/** Names of the functions that an index of `export { … } from` statements passes on. */
function exportsOf(path: string): string[] {
  return parse(path).statements.flatMap((statement) => {
    if (!ts.isExportDeclaration(statement) || !statement.exportClause) return []
    if (!ts.isNamedExports(statement.exportClause)) return []
    return statement.exportClause.elements.map(({ name }) => name.text)
  })
}

function membersOf(path: string, name: string): string[] {
  const found = parse(path).statements.find(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text === name,
  )
  assert.ok(found, `${path} has no interface ${name}`)
  return found.members.map((member) => (member.name as ts.Identifier).text)
}

function parse(path: string): ts.SourceFile {
  return ts.createSourceFile(path, read(path), ts.ScriptTarget.ESNext)
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}
