// Test files as programs on the built package, for engines that read no TypeScript.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Bundle {
  readonly text: string
  /** the bundled files, relative to the repository */
  readonly inputs: readonly string[]
}

/** Bundles a module with the package inside, found by its name, as an application would find it. */
export function bundleForBrowsers(entry: string): Promise<Bundle> {
  return bundle({ entryPoints: [entry], platform: 'browser' })
}

/** Bundles a module that imports the package and Node's modules when it runs. */
export function bundleBesidePackage(entry: string): Promise<Bundle> {
  const external = ['lowrank', 'lowrank/*', 'node:*']
  return bundle({ entryPoints: [entry], platform: 'neutral', external })
}

/**
 * Bundles the uvu tests of some folders into one module, on the package's built modules instead of
 * its sources. It leaves out files that import more sources while they run.
 *
 * @param folders  of test/
 * @param platform  node: importing the module runs the tests. browser: `globalThis.exec()` runs the
 *   tests, prints to the console, and resolves to the printed text; it leaves out files that need
 *   Node
 * @param backend  the only backend of support/backends.ts to test kernels on: 'webgpu', which has
 *   only some of the kernels
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
  // uvu reads these when it is imported; they make `exec` wait for the last suite.
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
    ignoreAnnotations: true, // tests have side effects, whatever package.json says
  })
}

function fits(file: string, platform: 'browser' | 'node', backend?: string): boolean {
  const text = readFileSync(join(root, file), 'utf8')
  if (backend === 'webgpu' && !/\b(everywhere|openDevice)\b/.test(text)) return false
  return !text.includes(' import(') && (platform === 'node' || !text.includes("'node:"))
}

/** src/… → build/modules/…, which dist is made of */
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
