// assembly/ → build/release.wasm, build/relaxed.wasm → src/backends/wasm/binary.ts (embedded)
// shaders/ → src/backends/webgpu/shaders.ts (embedded)
// → build/modules/, of which scripts/bundle.ts makes dist/.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deflateRawSync } from 'node:zlib'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const run = (script: string, ...args: string[]) =>
  execFileSync(process.execPath, [resolve(root, 'node_modules', script), ...args], {
    cwd: root,
    stdio: 'inherit',
  })

mkdirSync(resolve(root, 'build'), { recursive: true })
for (const target of ['release', 'relaxed']) {
  run('assemblyscript/bin/asc.js', '--target', target)
}

const plain = readFileSync(resolve(root, 'build/release.wasm'))
const relaxed = readFileSync(resolve(root, 'build/relaxed.wasm'))
// In one stream: the second repeats most of the first.
const packed = deflateRawSync(Buffer.concat([plain, relaxed]), { level: 9 })
writeFileSync(
  resolve(root, 'src/backends/wasm/binary.ts'),
  `// Made by scripts/build.ts from assembly/; not kept in git.
/** Two modules of ${plain.length} and ${relaxed.length} bytes, raw deflate, base64: nothing to fetch. */
export const PACKED =
  '${packed.toString('base64')}'

/** The first module's length when unpacked. */
export const PLAIN_BYTES = ${plain.length}
`,
)

const shaders = readdirSync(resolve(root, 'shaders')).map((file) => {
  const text = readFileSync(resolve(root, 'shaders', file), 'utf8')
  return [file.replace('.wgsl', ''), dense(text)] as const
})
writeFileSync(
  resolve(root, 'src/backends/webgpu/shaders.ts'),
  `// Made by scripts/build.ts from shaders/; not kept in git.
export type ShaderName = ${shaders.map(([name]) => `'${name}'`).join(' | ')}

/** WGSL, without comments and spaces. */
export const SHADERS: Readonly<Record<ShaderName, string>> = ${JSON.stringify(Object.fromEntries(shaders))}
`,
)

for (const folder of ['build/modules', 'dist']) {
  rmSync(resolve(root, folder), { recursive: true, force: true })
}
mkdirSync(resolve(root, 'dist'))
run('typescript/bin/tsc', '-p', 'tsconfig.build.json')
copyFileSync(resolve(root, 'build/release.wasm'), resolve(root, 'dist/lowrank.wasm'))
copyFileSync(resolve(root, 'build/relaxed.wasm'), resolve(root, 'dist/lowrank.relaxed.wasm'))

/** Without comments, and without spaces that mean nothing: beside signs they may. */
function dense(wgsl: string): string {
  return wgsl
    .replace(/ *\/\/.*$/gm, '')
    .replace(/ *([=*/%<>!&|^,;:{}()[\]]) */g, '$1')
    .replace(/\s*\n\s*/g, '\n')
    .replace(/([;{},])\n/g, '$1')
    .trim()
}
