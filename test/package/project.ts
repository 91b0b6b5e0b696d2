// The package as npm publishes it, installed into a throw-away project.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Project {
  readonly folder: string
  /** the tarball's bytes */
  readonly tarball: Uint8Array<ArrayBuffer>
  /** Adds a file to the project; returns its path. */
  write(name: string, text: string): string
  remove(): void
}

/**
 * Packs the built package, and installs the tarball into an empty project. The project's
 * `golden.js` is test/support/golden.ts, for programs that must compute its hashes.
 */
export async function createProject(): Promise<Project> {
  if (!existsSync(join(root, 'dist/index.js')))
    throw new Error('no dist: npm run build comes first')
  const folder = mkdtempSync(join(tmpdir(), 'lowrank-project-'))
  const write = (name: string, text: string) => {
    const path = join(folder, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    return path
  }
  try {
    const packed = npm(root, 'pack', '--json', '--pack-destination', folder)
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }]
    write('package.json', '{ "name": "project", "private": true, "type": "module" }')
    // The package has no dependencies, so nothing needs to come from a registry.
    npm(
      folder,
      'install',
      '--offline',
      '--no-audit',
      '--no-fund',
      '--prefix',
      folder,
      `./${filename}`,
    )
    await build({
      entryPoints: [join(root, 'test/support/golden.ts')],
      outfile: join(folder, 'golden.js'),
      bundle: true,
      format: 'esm',
      platform: 'neutral',
      target: 'es2022',
    })
    return {
      folder,
      tarball: new Uint8Array(readFileSync(join(folder, filename))),
      write,
      remove: () => rmSync(folder, { recursive: true }),
    }
  } catch (error) {
    rmSync(folder, { recursive: true })
    throw error
  }
}

/** Runs a file of JavaScript in a Node of its own; returns its output without blanks around. */
export function runNode(path: string, ...args: readonly string[]): string {
  return output(process.execPath, [path, ...args], root)
}

function npm(cwd: string, ...args: readonly string[]): string {
  return output('npm', [...args, '--ignore-scripts', '--loglevel', 'error'], cwd)
}

function output(command: string, args: readonly string[], cwd: string): string {
  // On Windows npm is a script, which only a shell can run.
  const shell = process.platform === 'win32' && command === 'npm'
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    shell,
  })
  if (error) throw error
  if (status === 0) return stdout.trim()
  throw new Error(`${command} ${args.join(' ')}: exit code ${status}\n${stdout}${stderr}`)
}
