import { readdirSync, readFileSync } from 'node:fs'
import { join, posix, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Groups of files, lowest first. Each may import itself and those before it, but for some. */
const LAYERS: readonly { name: string; files: RegExp; never: readonly string[] }[] = [
  { name: 'errors', files: /^errors\.ts$/, never: [] },
  { name: 'seam', files: /^seam\.ts$/, never: ['errors'] },
  { name: 'helpers', files: /^(bytes|effects)\.ts$/, never: [] },
  { name: 'arithmetic', files: /^(eigen|philox)\.ts$/, never: ['errors', 'seam', 'helpers'] },
  // It knows no plans: a server that aggregates needs nothing else.
  { name: 'codec', files: /^codec\//, never: ['seam', 'helpers'] },
  { name: 'gathering', files: /^gathering\.ts$/, never: [] },
  { name: 'options', files: /^(options|method)\.ts$/, never: ['helpers'] },
  { name: 'plan', files: /^plan\.ts$/, never: ['helpers'] },
  { name: 'algorithms', files: /^algorithms\//, never: ['codec'] },
  { name: 'backends', files: /^backends\//, never: ['codec', 'options', 'algorithms'] },
  {
    name: 'step',
    files: /^(framing|gathering|state|step)\.ts$/,
    never: ['algorithms', 'backends'],
  },
  { name: 'gossip', files: /^gossip\//, never: ['backends', 'step'] },
  { name: 'traffic', files: /^traffic\.ts$/, never: ['backends'] },
  { name: 'standing', files: /^standing\.ts$/, never: ['backends'] },
  { name: 'compressor', files: /^compressor\.ts$/, never: ['algorithms', 'backends', 'codec'] },
  { name: 'routines', files: /^(sgd|decompositions|qr)\.ts$/, never: ['algorithms'] },
  {
    name: 'doors',
    files: /^(baselines|factored|frames|gossip|index|kernels|methods|threads|topology|webgpu)\.ts$/,
    never: ['doors'],
  },
]

/** Files by their path under src, with their text. */
type Files = ReadonlyMap<string, string>

const src = filesIn('src')

const test = suite('layout')

test('imports point one way', () => {
  assert.ok(src.size > 20, `only ${src.size} files found`)
  assert.equal(offences(src), [])
})

test('the check finds an import that points back up', () => {
  const before = offences(src)
  const planted = (path: string, line: string) =>
    offences(new Map([...src, [path, `${src.get(path)}\n${line}`]])).filter(
      (offence) => !before.includes(offence),
    )
  assert.equal(planted('seam.ts', "import { FrameError } from './errors.ts'"), [
    'seam.ts (seam) imports errors.ts (errors)',
  ])
  assert.equal(planted('codec/frame.ts', "export type { Plan } from '../seam.ts'"), [
    'codec/frame.ts (codec) imports seam.ts (seam)',
  ])
  assert.equal(planted('algorithms/powersgd.ts', "import '../backends/wasm/index.ts'"), [
    'algorithms/powersgd.ts (algorithms) imports backends/wasm/index.ts (backends)',
  ])
  assert.equal(planted('backends/reference.ts', "await import('../codec/xxh32.ts')"), [
    'backends/reference.ts: awaits at its top level',
    'backends/reference.ts (backends) imports codec/xxh32.ts (codec)',
  ])
  assert.equal(planted('plan.ts', "let c: import('./compressor.ts').Compressor"), [
    'plan.ts (plan) imports compressor.ts (compressor)',
  ])
  assert.equal(planted('bytes.ts', "import { Buffer } from 'node:buffer'"), [
    'bytes.ts imports the package node:buffer',
  ])
  assert.equal(planted('bytes.ts', "import { thing } from './nothing.ts'"), [
    'bytes.ts imports nothing.ts, which is not there',
  ])
})

test('the check finds files without a layer and awaits at the top level', () => {
  assert.equal(offences(new Map([['other.ts', '']])), ['other.ts: belongs to no layer'])
  const waits = (text: string) => offences(new Map([['errors.ts', text]])).length
  assert.is(waits('if (true) { await 0 }'), 1)
  assert.is(waits('for await (const x of []) x'), 1)
  assert.is(waits('const f = async () => { await 0 }'), 0)
  assert.is(waits('class A { async b() { for await (const x of []) x } }'), 0)
})

test('no files import each other in a circle, be it types alone', () => {
  const found = ['src', 'bench', 'examples', 'reproduce', 'scripts', 'test'].flatMap((folder) =>
    circles(filesIn(folder)),
  )
  assert.equal(found, [])
  const files = new Map([
    ['a.ts', "import type { B } from './b.ts'"],
    ['b.ts', "import './deep/c.ts'"],
    ['deep/c.ts', "export { a } from '../a.ts'"],
    ['d.ts', "import './a.ts'"],
  ])
  assert.equal(circles(files), ['a.ts → b.ts → deep/c.ts → a.ts'])
})

test('there is nothing to install but the package', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  for (const kind of ['dependencies', 'optionalDependencies', 'bundleDependencies']) {
    assert.equal(manifest[kind] ?? {}, {}, kind)
  }
  assert.is(manifest.sideEffects, false)
  assert.is(manifest.type, 'module')
})

test('the compiler insists on marked type imports and syntax that can be erased', () => {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
  const { strict, verbatimModuleSyntax, erasableSyntaxOnly } = config.compilerOptions
  assert.equal([strict, verbatimModuleSyntax, erasableSyntaxOnly], [true, true, true])
})

test('imports compile no WebAssembly; aggregate and plan need none', async () => {
  const used: string[] = []
  const real = globalThis.WebAssembly
  globalThis.WebAssembly = new Proxy(real, {
    get(target, key) {
      used.push(String(key))
      return Reflect.get(target, key)
    },
  })
  try {
    const doors = [...src.keys()].filter((path) => layerOf(path)?.name === 'doors')
    assert.ok(doors.includes('index.ts'))
    for (const door of doors) await import(pathToFileURL(join(root, 'src', door)).href)
    const { aggregate, createCompressor, plan } = await import('../src/index.ts')
    plan([[8, 8]])
    assert.equal(used, [])
    using compressor = await createCompressor([[3]])
    assert.ok(used.includes('compile'), 'the probe sees what createCompressor does')
    used.length = 0
    aggregate([compressor.compressSync([new Float32Array(3)])])
    assert.equal(used, [])
  } finally {
    globalThis.WebAssembly = real
  }
})

test('every assembly file is exported by the index or inlined, never both', () => {
  const assembly = filesIn('assembly')
  const exported = new Set(importsOf('index.ts', assembly.get('index.ts')!))
  const files = [...assembly.keys()].filter((path) => path !== 'index.ts')
  const inline = (path: string) => path.startsWith('inline/')
  assert.ok(files.some(inline) && files.some((path) => !inline(path)))
  for (const path of files) {
    const name = path.replace(/\.ts$/, '')
    assert.is(exported.has(name), !inline(path), `assembly/${path}`)
  }
})

test.run()

/** What is wrong with these files' imports, and awaits that would make importing them wait. */
function offences(files: Files): string[] {
  return [...files].flatMap(([path, text]) => {
    const layer = layerOf(path)
    if (!layer) return [`${path}: belongs to no layer`]
    const waits = awaitsAtTop(parse(path, text)) ? [`${path}: awaits at its top level`] : []
    return waits.concat(
      importsOf(path, text, true).flatMap((to) => {
        if (to.startsWith('package:')) return [`${path} imports the package ${to.slice(8)}`]
        const other = files.has(to) && layerOf(to)
        if (!other) return [`${path} imports ${to}, which is not there`]
        const lower = LAYERS.indexOf(other) <= LAYERS.indexOf(layer)
        if (lower && !layer.never.includes(other.name)) return []
        return [`${path} (${layer.name}) imports ${to} (${other.name})`]
      }),
    )
  })
}

/** Each circle once: as the path from its first file, in the order of names, back to it. */
function circles(files: Files): string[] {
  const found = new Map<string, string>()
  const done = new Set<string>()
  const follow = (path: string, before: readonly string[]): void => {
    const at = before.indexOf(path)
    if (at >= 0) {
      const members = before.slice(at)
      const key = [...members].sort().join()
      if (!found.has(key)) found.set(key, [...members, path].join(' → '))
    } else if (!done.has(path) && files.has(path)) {
      for (const to of importsOf(path, files.get(path)!)) follow(to, [...before, path])
      done.add(path)
    }
  }
  for (const path of [...files.keys()].sort()) follow(path, [])
  return [...found.values()]
}

function layerOf(path: string) {
  return LAYERS.find(({ files }) => files.test(path))
}

/** Paths under the folder that a file imports, exports from, or names in a type. */
function importsOf(path: string, text: string, mark = false): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    let from: ts.Node | undefined
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) from = node.moduleSpecifier
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      from = node.argument.literal
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      from = node.arguments[0]
    }
    if (from && ts.isStringLiteral(from)) {
      const relative = from.text.startsWith('.')
      const to = relative ? posix.join(posix.dirname(path), from.text) : from.text
      found.push(relative || !mark ? to : `package:${to}`)
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(path, text))
  return found
}

function awaitsAtTop(node: ts.Node): boolean {
  if (ts.isFunctionLike(node)) return false
  if (ts.isAwaitExpression(node)) return true
  if (ts.isForOfStatement(node) && node.awaitModifier) return true
  return ts.forEachChild(node, (child) => awaitsAtTop(child) || undefined) ?? false
}

function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, false, ts.ScriptKind.TS)
}

function filesIn(folder: string): Files {
  const at = join(root, folder)
  const paths = readdirSync(at, { recursive: true, encoding: 'utf8' })
  return new Map(
    paths
      .filter((path) => path.endsWith('.ts'))
      .sort()
      .map((path) => [path.split(sep).join('/'), readFileSync(join(at, path), 'utf8')]),
  )
}
