// assembly/ → build/release.wasm → src/backends/wasm/binary.ts (embedded) → dist/.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const run = (script: string, ...args: string[]) =>
  execFileSync(process.execPath, [resolve(root, 'node_modules', script), ...args], {
    cwd: root,
    stdio: 'inherit',
  })

mkdirSync(resolve(root, 'build'), { recursive: true })
run('assemblyscript/bin/asc.js', '--target', 'release')

const wasm = readFileSync(resolve(root, 'build/release.wasm'))
writeFileSync(
  resolve(root, 'src/backends/wasm/binary.ts'),
  `// Made by scripts/build.ts from assembly/; not kept in git.
/** The kernels' module, ${wasm.length} bytes, as base64: nothing to fetch, nothing to configure. */
export const WASM_BASE64 =
  '${wasm.toString('base64')}'
`,
)

rmSync(resolve(root, 'dist'), { recursive: true, force: true })
run('typescript/bin/tsc', '-p', 'tsconfig.build.json')
copyFileSync(resolve(root, 'build/release.wasm'), resolve(root, 'dist/lowrank.wasm'))
