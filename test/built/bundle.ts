// Test files as programs on the built package, for engines that read no TypeScript.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Bundle {
  readonly text: string
  /** the files that it was made of, relative to the repository */
  readonly inputs: readonly string[]
}

/** A module with the package inside, which is found by its name, as an application would find it. */
export function bundleForBrowsers(entry: string): Promise<Bundle> {
  return bundle({ entryPoints: [entry], platform: 'browser' })
}

/** A module that imports the package, and Node's modules, when it is run. */
export function bundleBesidePackage(entry: string): Promise<Bundle> {
  const external = ['lowrank', 'lowrank/*', 'node:*']
  return bundle({ entryPoints: [entry], platform: 'neutral', external })
}

/**
 * The uvu tests of some folders in one module, on the package's built modules instead of its
 * sources. Files that import more sources while they run are left out.
 *
 * @param folders  of test/
 * @param platform  node: runs the tests when it is imported. browser: `globalThis.exec()` runs them
 *   and resolves to what they print, which
 *   the console is told as well; files that need something of Node's are left out, too
 * @param backend  the only one of support/backends.ts that kernels are tested on: 'webgpu', which has
 *   some of them alone
 * @param only  files whose path matches
 */
export function bundleTests(
  folders: readonly string[],
  platform: 'browser' | 'node',
  backend?: string,
  only?: RegExp,
): Promise<Bundle> {
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, 'test', folder), { encoding: 'utf8' })
      .map((file) => `./test/${folder}/${file}`)
      .filter((file) => file.endsWith('.test.ts') && fits(file, platform, backend))
      .filter((file) => !only || only.test(file))
      .sort(),
  )
  const imports = files.map((file) => `import '${file}'`)
  // uvu looks at these when it is imported: `exec` shall wait for the last of the suites.
  const queue = 'globalThis.UVU_DEFER = 1; globalThis.UVU_QUEUE = [[null]]'
  const chosen = backend ? `globalThis.LOWRANK_BACKEND = '${backend}'` : ''
  const print = `let printed = ""; const { log } = console
console.log = (text) => { printed += text; log.call(console, text) }`
  const run =
    platform === 'node' ? 'await exec()' : 'globalThis.exec = () => exec().then(() => printed)'
  return bundle({
    stdin: {
      contents: [...imports, "import { exec } from 'uvu'", run].join('\n'),
      resolveDir: root,
    },
    platform,
    banner: { js: [queue, chosen, platform === 'browser' ? print : ''].join('\n') },
    plugins: [built],
    ignoreAnnotations: true, // package.json says that nothing has side effects: tests do
  })
}

function fits(file: string, platform: 'browser' | 'node', backend?: string): boolean {
  const text = readFileSync(join(root, file), 'utf8')
  if (backend === 'webgpu' && !/\b(everywhere|openDevice)\b/.test(text)) return false
  return !text.includes(' import(') && (platform === 'node' || !text.includes("'node:"))
}

/** src/… → build/modules/…, of which dist is made */
const built: Plugin = {
  name: 'built',
  setup({ onResolve }) {
    onResolve({ filter: /\/src\/.*\.ts$/ }, ({ path, resolveDir }) => ({
      path: resolve(resolveDir, path)
        .replace(join(root, 'src'), join(root, 'build/modules'))
        .replace(/\.ts$/, '.js'),
    }))
  },
}

async function bundle(options: BuildOptions): Promise<Bundle> {
  if (!existsSync(join(root, 'dist/index.js')))
    throw new Error('no dist: npm run build comes first')
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    metafile: true,
    logLevel: 'silent',
    ...options,
  })
  return { text: outputFiles![0]!.text, inputs: Object.keys(metafile!.inputs) }
}
