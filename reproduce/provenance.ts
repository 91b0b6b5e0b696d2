// The commit and the machine of a result: a figure is worth nothing without them.
import { execFileSync } from 'node:child_process'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'

/**
 * The commit of the program's folder, with `+` if files have changed since; `unknown` outside of a
 * repository.
 */
export function commitOf(): string {
  const cwd = fileURLToPath(new URL('..', import.meta.url))
  const git = (...words: string[]) =>
    execFileSync('git', words, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!docs')
    return git('rev-parse', '--short', 'HEAD').trim() + (changed === '' ? '' : '+')
  } catch {
    return 'unknown' // no git here, or no repository: the page says so
  }
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly node: string
}

export function machine(): Machine {
  const cores = cpus()
  return {
    cpu: cores[0]?.model.trim() ?? 'unknown',
    cores: cores.length,
    node: process.version,
  }
}
