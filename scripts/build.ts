// `npm run build`: makes what is not current, and says nothing when all is well.
//
//   wasm      assembly/ → build/release.wasm, build/relaxed.wasm, build/codec.wasm
//   embedded  these → src/backends/wasm/binary.ts and src/codec/binary.ts, shaders/ →
//             src/backends/webgpu/shaders.ts
//   package   src/ → build/modules/, one module for each file → dist/, one for each door
import { type ExecFileException, execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { deflateRawSync } from 'node:zlib'
import { type Stage, update } from './stages.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

const wasm: Stage = {
  name: 'wasm',
  inputs: [
    'assembly',
    'asconfig.json',
    'node_modules/assemblyscript/package.json', // the version that is installed
    'node_modules/binaryen/package.json',
    'scripts/build.ts',
  ],
  outputs: ['build/release.wasm', 'build/relaxed.wasm', 'build/codec.wasm'],
  async make(folder) {
    const compile = (entry: string, target: string) => {
      const outFile = join(folder, `build/${target}.wasm`)
      // Without colours, which asc prints in CI even to a file.
      const args = [entry, '--target', target, '--outFile', outFile, '--noColors']
      return run('assemblyscript/bin/asc.js', ...args)
    }
    const running = [
      compile('assembly/index.ts', 'release'),
      compile('assembly/index.ts', 'relaxed'),
      compile('assembly/codec/index.ts', 'codec'),
    ]
    // Waits for all, even if one fails, so that none writes after the folder has gone.
    for (const result of await Promise.allSettled(running)) {
      if (result.status === 'rejected') throw result.reason
      // `converge` optimizes until the bytes no longer shrink, and asc says this where the last
      // turn made them grow. There is no option to end one turn earlier, or to be silent about it.
      process.stderr.write(result.value.replace(/^Last converge was suboptimal\.\r?\n/m, ''))
    }
  },
}

const embedded: Stage = {
  name: 'embedded',
  inputs: [...wasm.outputs, 'shaders', 'scripts/build.ts'],
  outputs: ['src/backends/wasm/binary.ts', 'src/codec/binary.ts', 'src/backends/webgpu/shaders.ts'],
  async make(folder) {
    const [binary, codec, shaders] = this.outputs.map((file) => join(folder, file))
    write(binary!, embedWasm())
    write(codec!, embedCodec())
    write(shaders!, embedShaders())
  },
}

const bundled: Stage = {
  name: 'package',
  inputs: [
    'src',
    ...wasm.outputs,
    'package.json', // the doors
    'tsconfig.json',
    'tsconfig.build.json',
    'node_modules/typescript/package.json',
    'node_modules/esbuild/package.json',
    'node_modules/@webgpu/types/package.json',
    'scripts/build.ts',
    'scripts/bundle.ts',
  ],
  outputs: ['build/modules', 'dist'],
  async make(folder) {
    const modules = join(folder, 'build/modules')
    process.stderr.write(
      await run('typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', modules),
    )
    const { bundle } = await import('./bundle.ts') // esbuild takes a while to load
    await bundle(folder)
    for (const [from, to] of [
      ['release', 'lowrank.wasm'],
      ['relaxed', 'lowrank.relaxed.wasm'],
    ] as const) {
      copyFileSync(join(root, `build/${from}.wasm`), join(folder, 'dist', to))
    }
  },
}

/**
 * Brings build/, dist/ and the generated sources up to date. On an error, prints the reason and
 * ends the process.
 */
export async function build(): Promise<void> {
  try {
    for (const stage of [wasm, embedded, bundled]) await update(root, stage)
  } catch (error) {
    process.stderr.write(`build: ${error instanceof Error ? error.message : error}\n`)
    process.exit(1)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await build()

/**
 * Runs a program of node_modules.
 *
 * @returns its output
 * @throws Error  with its output, if it fails
 */
async function run(script: string, ...args: string[]): Promise<string> {
  const words = [resolve(root, 'node_modules', script), ...args]
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, words, { cwd: root })
    return stdout + stderr
  } catch (error) {
    const { stdout, stderr } = error as ExecFileException
    throw new Error(`${script} ${args.join(' ')}\n${stdout ?? ''}${stderr ?? ''}`)
  }
}

function write(path: string, text: string): void {
  mkdirSync(resolve(path, '..'), { recursive: true })
  writeFileSync(path, text)
}

function embedWasm(): string {
  const [plain, relaxed] = wasm.outputs.map((file) => readFileSync(join(root, file)))
  // Both modules in one stream: the second repeats most of the first.
  const packed = deflateRawSync(Buffer.concat([plain!, relaxed!]), { level: 9 })
  return `// Made by scripts/build.ts from assembly/; not kept in git.
/** Two modules of ${plain!.length} and ${relaxed!.length} bytes, raw deflate, base64: nothing to fetch. */
export const PACKED =
  '${packed.toString('base64')}'

/** The first module's length when unpacked. */
export const PLAIN_BYTES = ${plain!.length}
`
}

/** Not packed: nothing that inflates is synchronous everywhere. */
function embedCodec(): string {
  const bytes = readFileSync(join(root, 'build/codec.wasm'))
  return `// Made by scripts/build.ts from assembly/codec; not kept in git.
/** A module of ${bytes.length} bytes in hexadecimal digits, which gzip packs better than base64. */
export const CODEC =
  '${bytes.toString('hex')}'
`
}

function embedShaders(): string {
  const shaders = readdirSync(join(root, 'shaders')).map((file) => {
    const text = readFileSync(join(root, 'shaders', file), 'utf8')
    return [file.replace('.wgsl', ''), dense(text)] as const
  })
  return `// Made by scripts/build.ts from shaders/; not kept in git.
export type ShaderName = ${shaders.map(([name]) => `'${name}'`).join(' | ')}

/** WGSL, without comments and spaces. */
export const SHADERS: Readonly<Record<ShaderName, string>> = ${JSON.stringify(Object.fromEntries(shaders))}
`
}

/** Removes comments, and spaces beside signs, where they mean nothing. */
function dense(wgsl: string): string {
  return wgsl
    .replace(/ *\/\/.*$/gm, '')
    .replace(/ *([=*/%<>!&|^,;:{}()[\]]) */g, '$1')
    .replace(/\s*\n\s*/g, '\n')
    .replace(/([;{},])\n/g, '$1')
    .trim()
}
