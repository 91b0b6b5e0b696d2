import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Groups of files, lowest first. Each may import itself and those before it, but for some. */
const LAYERS: readonly { name: string; files: RegExp; never: readonly string[] }[] = [
  { name: 'errors', files: /^errors\.ts$/, never: [] },
  { name: 'backend', files: /^backend\.ts$/, never: ['errors'] },
  { name: 'helpers', files: /^(bytes|gensync)\.ts$/, never: ['errors'] },
  { name: 'validate', files: /^validate\.ts$/, never: ['errors'] },
  // It knows no layouts and no methods: a server that aggregates needs nothing else.
  { name: 'codec', files: /^codec\//, never: ['backend'] },
  { name: 'algorithm', files: /^algorithm\.ts$/, never: ['errors', 'helpers'] },
  { name: 'options', files: /^options\.ts$/, never: [] },
  { name: 'layout', files: /^layout\.ts$/, never: ['helpers', 'codec', 'algorithm'] },
  { name: 'linalg', files: /^linalg\//, never: ['errors', 'codec', 'algorithm', 'options'] },
  { name: 'algorithms', files: /^algorithms\//, never: [] },
  {
    name: 'backends',
    files: /^backends\//,
    never: ['codec', 'algorithm', 'options', 'layout', 'algorithms'],
  },
  {
    name: 'step',
    files: /^compressor\/(framing|checkpoint|step)\.ts$/,
    never: ['linalg', 'algorithms', 'backends'],
  },
  {
    name: 'worker',
    files: /^compressor\/(traffic|worker-state)\.ts$/,
    never: ['linalg', 'backends'],
  },
  {
    name: 'compressor',
    files: /^compressor\/compressor\.ts$/,
    never: ['codec', 'linalg', 'algorithms', 'backends'],
  },
  { name: 'create', files: /^compressor\//, never: ['linalg'] },
  { name: 'gossip', files: /^gossip\//, never: ['step', 'worker', 'compressor', 'create'] },
  {
    name: 'doors',
    files: /^(baselines|factored|frames|gossip|index|kernels|methods|threads|topology|webgpu)\.ts$/,
    never: ['doors'],
  },
]

/** Names that were found hard, by what has taken their place: HOUSE-STYLE's word, not a private one. */
const REPLACED = {
  files: [
    ...[
      'standing',
      'state',
      'effects',
      'seam',
      'plan',
      'telling',
      'ritz',
      'alternation',
      'manners',
    ],
    ...['roll', 'alike', 'near', 'codes', 'summands', 'payload', 'parts', 'fields', 'gathering'],
    ...['crew', 'team', 'control', 'courses', 'pairs', 'descent', 'shelf', 'coding', 'floats'],
    ...['books', 'plants', 'play'],
  ],
  identifiers: [
    ...['Standing', 'standing', 'State', 'state', 'encodeState', 'decodeState', 'mergeStates'],
    ...['Waiting', 'PlanSummary', 'layoutPlan', 'replan', 'Telling', 'telling', 'tellingRounds'],
    ...[
      'ritz',
      'Alternation',
      'alternation',
      'Manners',
      'manners',
      'heeds',
      'HEEDED',
      'roll',
      'Roll',
    ],
    ...['createRoll', 'alike', 'sameStep', 'sameRound', 'near', 'Near', 'createNear', 'codes'],
    ...[
      'summands',
      'Crew',
      'Team',
      'Alone',
      'alone',
      'control',
      'Course',
      'courses',
      'Pair',
      'pairs',
    ],
    ...[
      'Descent',
      'descent',
      'Estimates',
      'Errors',
      'heard',
      'passing',
      'Shelf',
      'shelves',
      'Spot',
    ],
    ...['settleHalf', 'layoutHash', 'checkFeedback'],
  ],
  /** of the slots of a session */
  slots: ['query', 'own', 'mean'],
}

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
  assert.equal(planted('backend.ts', "import { FrameError } from './errors.ts'"), [
    'backend.ts (backend) imports errors.ts (errors)',
  ])
  assert.equal(planted('codec/frame.ts', "export type { Layout } from '../backend.ts'"), [
    'codec/frame.ts (codec) imports backend.ts (backend)',
  ])
  assert.equal(planted('gossip/node.ts', "import { Step } from '../compressor/step.ts'"), [
    'gossip/node.ts (gossip) imports compressor/step.ts (step)',
  ])
  assert.equal(planted('linalg/qr.ts', "import '../algorithms/powersgd.ts'"), [
    'linalg/qr.ts (linalg) imports algorithms/powersgd.ts (algorithms)',
  ])
  assert.equal(planted('algorithms/powersgd.ts', "import '../backends/wasm/index.ts'"), [
    'algorithms/powersgd.ts (algorithms) imports backends/wasm/index.ts (backends)',
  ])
  assert.equal(planted('backends/reference.ts', "await import('../codec/xxh32.ts')"), [
    'backends/reference.ts: awaits at its top level',
    'backends/reference.ts (backends) imports codec/xxh32.ts (codec)',
  ])
  assert.equal(planted('layout.ts', "let c: import('./compressor/compressor.ts').Compressor"), [
    'layout.ts (layout) imports compressor/compressor.ts (compressor)',
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

test('doors only re-export', () => {
  const doors = [...src].filter(([path]) => layerOf(path)?.name === 'doors')
  assert.ok(doors.length >= 10)
  for (const [path, text] of doors) assert.equal(statementsBesideExports(path, text), [], path)
  const planted = "export { a } from './a.ts'\nexport const b = 1\nimport './c.ts'"
  assert.equal(statementsBesideExports('door.ts', planted), [
    'export const b = 1',
    "import './c.ts'",
  ])
})

test('no two files export a type, or a function, of one name', () => {
  assert.equal(sharedNames(src), [])
  const files = new Map([
    ['a.ts', 'export interface Tile {}\nexport function take() {}\ninterface Own {}'],
    ['b.ts', 'export type Tile = 1\nexport const take = () => 1\nexport class Own {}'],
  ])
  assert.equal(sharedNames(files), ['Tile: a.ts, b.ts', 'take: a.ts, b.ts'])
})

test('no file and no exported name is one that has been replaced', () => {
  const trees = ['src', 'test', 'bench', 'examples', 'reproduce', 'scripts']
  assert.equal(
    trees.flatMap((folder) => replacedFiles(filesIn(folder)).map((path) => `${folder}/${path}`)),
    [],
  )
  assert.equal(replacedNames(src), [])
  assert.equal(
    replacedFiles(
      new Map([
        ['a/standing.ts', ''],
        ['b/worker-state.ts', ''],
      ]),
    ),
    ['a/standing.ts'],
  )
  const text =
    "export interface A { heeds: 1 }\nexport type Slot = 'left' | 'query'\nconst roll = 1"
  assert.equal(replacedNames(new Map([['a.ts', text]])), ['a.ts: heeds', "a.ts: slot 'query'"])
  const more = 'export class Standing { passing() {}\n#heard() {} }\nexport const ritz = 1'
  assert.equal(replacedNames(new Map([['a.ts', more]])), [
    'a.ts: Standing',
    'a.ts: passing',
    'a.ts: ritz',
  ])
})

test('bytes of frames are read and written by the names of their offsets', () => {
  // These two have formats of their own, with one number each.
  const own = ['codec/safetensors.ts', 'codec/xxh32.ts']
  const literal = /\.[gs]et(?:Big)?(?:Uint|Int|Float)\d+\(\s*(?:\d+|[^,)]*[+-] *\d+)\s*[,)]/g
  for (const [path, text] of src) {
    if (own.includes(path) || !/^(codec|compressor|gossip)\//.test(path)) continue
    assert.equal(text.match(literal) ?? [], [], path)
  }
  const planted = 'view.getUint32(8, true); view.setUint8(at + 12, 1); view.getUint32(at, true)'
  assert.equal(planted.match(literal), ['.getUint32(8,', '.setUint8(at + 12,'])
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
  // codec/ is a module of its own, of one file.
  const files = [...assembly.keys()].filter((path) => !/^(codec\/)?index\.ts$/.test(path))
  const inline = (path: string) => path.startsWith('inline/')
  assert.ok(files.some(inline) && files.some((path) => !inline(path)))
  for (const path of files) {
    const name = path.replace(/\.ts$/, '')
    assert.is(exported.has(name), !inline(path), `assembly/${path}`)
  }
})

test.run()

/** Imports of these files that break a rule, and awaits that would make importing them wait. */
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

/** Statements of a door that do more than re-export. */
function statementsBesideExports(path: string, text: string): string[] {
  const source = parse(path, text)
  return source.statements
    .filter((one) => !(ts.isExportDeclaration(one) && one.moduleSpecifier))
    .map((one) => one.getText(source))
}

/** Names that more than one of these files exports, doors aside. */
function sharedNames(files: Files): string[] {
  const where = new Map<string, string[]>()
  for (const [path, text] of files) {
    if (layerOf(path)?.name === 'doors' || path === 'codec/wire/types.ts') continue
    for (const { name } of exportsOf(path, text))
      where.set(name, [...(where.get(name) ?? []), path])
  }
  return [...where]
    .filter(([, paths]) => paths.length > 1)
    .map(([name, paths]) => `${name}: ${paths.join(', ')}`)
}

function replacedFiles(files: Files): string[] {
  return [...files.keys()].filter((path) =>
    REPLACED.files.includes(posix.basename(path).replace(/(\.test)?\.ts$/, '')),
  )
}

/** Exported declarations, and members of exported types, whose name is one of the replaced ones. */
function replacedNames(files: Files): string[] {
  return [...files].flatMap(([path, text]) =>
    exportsOf(path, text).flatMap(({ name, node }) => {
      const names = [name, ...membersOf(node)].filter((one) => REPLACED.identifiers.includes(one))
      const slots =
        name === 'Slot' ? REPLACED.slots.filter((one) => node.getText().includes(`'${one}'`)) : []
      return [...names, ...slots.map((one) => `slot '${one}'`)].map((one) => `${path}: ${one}`)
    }),
  )
}

/** The declarations that a file exports. A door's re-exports are not its own. */
function exportsOf(path: string, text: string): { name: string; node: ts.Node }[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true, ts.ScriptKind.TS)
  return source.statements.flatMap((one) => {
    const modifiers = ts.canHaveModifiers(one) ? (ts.getModifiers(one) ?? []) : []
    if (!modifiers.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) return []
    const declared = ts.isVariableStatement(one) ? one.declarationList.declarations : [one]
    return declared.flatMap((node) => {
      const { name } = node as { name?: ts.Node }
      return name && ts.isIdentifier(name) ? [{ name: name.text, node }] : []
    })
  })
}

/** Names of what an interface, or a class, has in public. */
function membersOf(node: ts.Node): string[] {
  if (!ts.isInterfaceDeclaration(node) && !ts.isClassDeclaration(node)) return []
  const members: readonly (ts.TypeElement | ts.ClassElement)[] = node.members
  return members.flatMap(({ name }) => (name && ts.isIdentifier(name) ? [name.text] : []))
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

/** Without installed packages: those of reproduce/ have a link to the root among them, a circle. */
function filesIn(folder: string): Files {
  const pathsIn = (at: string): string[] =>
    readdirSync(join(root, folder, at), { withFileTypes: true }).flatMap((entry) => {
      const path = posix.join(at, entry.name)
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : pathsIn(path)
      return path.endsWith('.ts') ? [path] : []
    })
  const paths = pathsIn('').sort()
  return new Map(paths.map((path) => [path, readFileSync(join(root, folder, path), 'utf8')]))
}
