// The bytes that importing the package adds to a bundle.
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/**
 * Gzipped bytes of a minified bundle, also of modules that `import()` would load later.
 *
 * @param contents  a module's text
 * @param resolveDir  the folder that its imports are resolved from
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
