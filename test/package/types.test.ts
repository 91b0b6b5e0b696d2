// The declarations in users' programs: tsc skips no check there, and no other types are installed.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createProject } from './project.ts'

const PROGRAM = readFileSync(new URL('program.ts', import.meta.url), 'utf8')
const consumers = new URL('../consumers/node_modules/', import.meta.url)
const { Bundler, NodeNext } = ts.ModuleResolutionKind

const project = await createProject()
const program = project.write('program.ts', PROGRAM)
project.write(
  'bytes-program.ts',
  readFileSync(new URL('bytes-program.ts', import.meta.url), 'utf8'),
)

const test = suite('types')

test.after(() => project.remove())

for (const [name, module, moduleResolution] of [
  ['bundler', ts.ModuleKind.ESNext, Bundler],
  ['nodenext', ts.ModuleKind.NodeNext, NodeNext],
] as const) {
  for (const lib of [['es2022'], ['esnext', 'dom']]) {
    test(`a strict program compiles: moduleResolution ${name}, lib ${lib.join(', ')}`, () => {
      const options = { module, moduleResolution, lib: lib.map((one) => `lib.${one}.d.ts`) }
      assert.equal(complaints(options), [])
    })
  }
}

test('a strict program compiles: with the types of WebGPU, which are taken for buffers then', () => {
  const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))
  const known = {
    lib: ['lib.esnext.d.ts', 'lib.dom.d.ts'],
    typeRoots: [modules],
    types: ['@webgpu/types'],
  }
  const options = { module: ts.ModuleKind.NodeNext, ...known }
  assert.equal(complaints(options), [])
  project.write(
    'program.ts',
    `${PROGRAM}\nexport const tensor: GpuTensor = { buffer: new Map() }\n`,
  )
  try {
    assert.match(complaints(options)[0]!, "'GPUBuffer'")
  } finally {
    project.write('program.ts', PROGRAM)
  }
})

// Before 5.7 `Uint8Array` was not generic; 7 is written anew.
for (const version of ['5.4', '5.7', '5.9', '7']) {
  const tsc = fileURLToPath(new URL(`typescript-${version}/bin/tsc`, consumers))
  const skipped = existsSync(tsc) ? test : test.skip // npm ci --prefix test/consumers
  skipped(`strict programs compile with TypeScript ${version}, and bytes need no cast`, () => {
    const compilerOptions = {
      ...{ target: 'es2022', module: 'nodenext', lib: ['esnext', 'dom', 'dom.iterable'] },
      ...{ strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false },
      ...{ noEmit: true, types: [] },
    }
    const files = ['program.ts', 'bytes-program.ts']
    const config = project.write('tsconfig.json', JSON.stringify({ compilerOptions, files }))
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', config], {
      encoding: 'utf8',
    })
    assert.is(stdout, '')
    assert.is(status, 0)
  })
}

test('the check finds what does not compile', () => {
  project.write('program.ts', `${PROGRAM}\nexport const text: string = plan(shapes).bytes\n`)
  try {
    const [complaint, ...others] = complaints({ module: ts.ModuleKind.NodeNext })
    assert.match(complaint!, "Type 'number' is not assignable to type 'string'")
    assert.equal(others, [])
  } finally {
    project.write('program.ts', PROGRAM)
  }
})

test.run()

function complaints(options: ts.CompilerOptions): string[] {
  const strictest: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
    types: [],
    ...options,
  }
  const compiled = ts.createProgram([program], strictest)
  return ts
    .getPreEmitDiagnostics(compiled)
    .map(
      ({ file, messageText }) =>
        `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`,
    )
}
