// build/modules/, as tsc has written it → dist/: one file for each door, and one for what doors share;
// declarations as they are.
//
// Node takes most of a millisecond for each file that it loads. With thirty of them a compressor was
// there after 32 ms, with four after 12 (one core of a busy server, Node 20); what bundlers make of
// `createCompressor` is the same to 0.05 kB.
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const modules = resolve(root, 'build/modules')
const dist = resolve(root, 'dist')
const { exports } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8'))
// Those that are files, not modules, have no conditions.
const doors = Object.values<{ default?: string }>(exports).flatMap((door) => door.default ?? [])
const entryPoints = doors.map((door) => resolve(modules, door.replace('./dist/', '')))

const { outputFiles } = await build({
  absWorkingDir: root,
  entryPoints,
  outdir: dist,
  bundle: true,
  splitting: true,
  chunkNames: 'shared-[hash]',
  format: 'esm',
  target: 'es2022',
  write: false,
})
cpSync(modules, dist, { recursive: true, filter: (path) => !path.endsWith('.js') })
for (const { path, text } of outputFiles) {
  // Imports of nothing are for effects in the order of the sources. There are none.
  writeFileSync(path, text.replace(/^import "[^"]*";\n/gm, ''))
}
