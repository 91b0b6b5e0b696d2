// Bundles build/modules/, as tsc has written it, into dist/: one file for each door, and shared.js
// for modules that several doors need. Declarations are copied as they are.
//
// Node takes most of a millisecond for each file that it loads. With thirty files a compressor was
// ready after 32 ms, with four after 12 (one core of a busy server, Node 20). The size that
// bundlers make of `createCompressor` is the same to 0.05 kB.
import { cpSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type BuildOptions, build, type Plugin } from 'esbuild'
import manifest from '../package.json' with { type: 'json' }

/**
 * Makes dist/ of build/modules/.
 *
 * @param root  the folder that contains both
 * @throws Error  if a door needs another door, or shared modules export the same name
 */
export async function bundle(root: string): Promise<void> {
  const modules = resolve(root, 'build/modules')
  const dist = resolve(root, 'dist')
  // Exports that are files, not modules, have no conditions.
  const doors = Object.values<string | { default: string }>(manifest.exports)
    .flatMap((door) => (typeof door === 'string' ? [] : door.default))
    .map((door) => resolve(modules, door.replace('./dist/', '')))
  const common = {
    absWorkingDir: root,
    bundle: true,
    format: 'esm',
    target: 'es2022',
  } satisfies BuildOptions

  const times = new Map<string, number>()
  for (const door of doors) {
    const { metafile } = await build({
      ...common,
      entryPoints: [door],
      outdir: dist,
      write: false,
      metafile: true,
      treeShaking: false, // re-exports of a door count, too
    })
    for (const file of Object.keys(metafile.inputs)) {
      const path = resolve(root, file)
      times.set(path, (times.get(path) ?? 0) + 1)
    }
  }
  const shared = [...times].flatMap(([path, count]) => (count > 1 ? [path] : []))
  const twice = shared.filter((path) => doors.includes(path))
  if (twice.length > 0) throw new Error(`a door is needed by another: ${twice}`)

  /** Imports shared modules from shared.js. */
  const elsewhere: Plugin = {
    name: 'elsewhere',
    setup({ onResolve }) {
      onResolve({ filter: /^\./ }, ({ path, resolveDir, kind }) => {
        const isShared = kind === 'import-statement' && shared.includes(resolve(resolveDir, path))
        return isShared ? { path: './shared.js', external: true } : undefined
      })
    },
  }
  cpSync(modules, dist, { recursive: true, filter: (path) => !path.endsWith('.js') })
  await build({ ...common, entryPoints: doors, outdir: dist, plugins: [elsewhere] })
  const each = await build({
    ...common,
    entryPoints: shared,
    outdir: dist,
    write: false,
    metafile: true,
  })
  const file = resolve(dist, 'shared.js')
  await build({
    ...common,
    stdin: {
      contents: shared.map((path) => `export * from './${relative(modules, path)}'`).join('\n'),
      resolveDir: modules,
    },
    outfile: file,
  })
  // If two modules export the same name, `export *` drops both.
  const found = Object.keys(await import(pathToFileURL(file).href))
  const wanted = Object.values(each.metafile.outputs).flatMap((one) => one.exports)
  const lost = wanted.filter((name) => !found.includes(name))
  if (lost.length > 0) throw new Error(`shared modules export the same names: ${lost}`)
}
