// The bytes that importing the package adds to a bundle.
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/**
 * Gzipped bytes of a minified bundle. What `import()` would load later is counted as well.
 *
 * @param contents  a module's text
 * @param resolveDir  where its imports are looked for
 */
export async function bundledSize(contents: string, resolveDir: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir },
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
  })
  return gzipSync(outputFiles[0]!.contents, { level: 9 }).length
}
