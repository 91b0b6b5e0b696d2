// What importing the package costs whoever bundles it.
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/**
 * Gzipped bytes of a minified bundle, as the page loads them at first: what `import()` loads later is
 * in files of its own, and not counted.
 *
 * @param contents  a module's text
 * @param resolveDir  where its imports are looked for
 */
export async function bundledSize(contents: string, resolveDir: string): Promise<number> {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir },
    absWorkingDir: resolveDir,
    outdir: 'out',
    bundle: true,
    minify: true,
    splitting: true,
    format: 'esm',
    metafile: true,
    write: false,
  })
  const texts = new Map(outputFiles.map(({ path, contents }) => [path, contents]))
  const first = new Set(['out/stdin.js'])
  for (const path of first) {
    for (const { path: next, kind } of metafile.outputs[path]!.imports) {
      if (kind === 'import-statement') first.add(next)
    }
  }
  const files = [...first].map((path) => texts.get(`${resolveDir.replace(/\/$/, '')}/${path}`)!)
  return gzipSync(Buffer.concat(files), { level: 9 }).length
}
