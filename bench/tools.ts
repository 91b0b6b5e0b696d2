// Tools of the benchmarks besides the package: probes in wasm and in C, and cores to run on.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const made = fileURLToPath(new URL('../build/bench/', import.meta.url))
const STREAM = join(made, 'stream.wasm')
const NATIVE = join(made, 'native')

/** Thrown if something cannot be measured here. It is reported, and is no failure. */
export class Unavailable extends Error {}

/** The probes of assembly/stream.ts, compiled again if the source has changed. */
export async function streamBinary(): Promise<Uint8Array<ArrayBuffer>> {
  const source = join(here, 'assembly/stream.ts')
  if (!isNewer(STREAM, source)) {
    const { default: asc } = await import('assemblyscript/asc') // a second to load
    const { error, stderr } = await asc.main(
      [
        'stream.ts',
        '-o',
        'stream.wasm',
        '-O3',
        '--converge',
        '--noAssert',
        '--enable',
        'simd',
      ].concat(['--runtime', 'stub', '--importMemory', '--noExportMemory', '--use', 'abort=']),
      {
        // Only this file is readable: the package's own asconfig.json would add its kernels.
        readFile: (name) => (name === 'stream.ts' ? readFileSync(source, 'utf8') : null),
        writeFile(_name, contents) {
          mkdirSync(made, { recursive: true })
          writeFileSync(STREAM, contents)
        },
        listFiles: () => [],
      },
    )
    if (error) throw new Error(`${error.message}\n${stderr}`)
  }
  return new Uint8Array(readFileSync(STREAM))
}

/**
 * The program of native/kernels.c, compiled again if the source has changed.
 *
 * @throws Unavailable  if there is no C compiler, or the processor has no AVX2 and FMA
 */
export function nativeProgram(): string {
  const source = join(here, 'native/kernels.c')
  if (!isNewer(NATIVE, source)) {
    const compiler = process.env.CC ?? 'cc'
    const flags = ['-std=c11', '-O3', '-mavx2', '-mfma', '-Wall', '-Werror']
    mkdirSync(made, { recursive: true })
    const { error, status, stderr } = spawnSync(compiler, [...flags, '-o', NATIVE, source, '-lm'], {
      encoding: 'utf8',
    })
    if (error) throw new Unavailable(`no C compiler: ${error.message}`)
    if (status !== 0) throw new Unavailable(`${compiler} cannot compile for AVX2: ${stderr}`)
  }
  const { status, stderr } = spawnSync(NATIVE, ['--can'], { encoding: 'utf8' })
  if (status !== 0) throw new Unavailable(stderr.trim() || 'the native program does not run')
  return NATIVE
}

/**
 * Wraps a command so that it runs on the last `cores` of the cores that this process may use.
 *
 * @returns the command; with `unpinned`, it is unchanged, for that reason
 * @throws Unavailable  if this process may use fewer cores
 */
export function onCores(
  cores: number,
  command: readonly string[],
): { command: readonly string[]; unpinned?: string } {
  if (process.platform !== 'linux') return { command, unpinned: 'cores are chosen on Linux alone' }
  const allowed = allowedCores()
  if (allowed.length < cores) {
    throw new Unavailable(`${cores} cores are needed, and this process has ${allowed.length}`)
  }
  const prefix = ['taskset', '-c', allowed.slice(-cores).join(',')]
  const { error, status } = spawnSync(prefix[0]!, [...prefix.slice(1), 'true'])
  if (error || status !== 0) return { command, unpinned: 'taskset (util-linux) does not run here' }
  return { command: [...prefix, ...command] }
}

function allowedCores(): number[] {
  const [, list] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))!
  return list!.split(',').flatMap((range) => {
    const [from, to = from] = range.split('-').map(Number)
    return Array.from({ length: to! - from! + 1 }, (_, i) => from! + i)
  })
}

function isNewer(file: string, than: string): boolean {
  const made = statSync(file, { throwIfNoEntry: false })
  return made !== undefined && made.mtimeMs > statSync(than).mtimeMs
}
