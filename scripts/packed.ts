// The contents of the package @sparticuz/chromium, unpacked once into build/.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium')
const home = join(dirname(entry), '..')

/** The package's archives. */
export const archives = join(home, 'bin')

/**
 * A folder of build/ with the files that the package unpacks into the system's temporary folder. It
 * is moved into place when complete, so an interrupted start leaves no half, and processes may
 * race.
 *
 * @param name  of the folder; the package's version is added
 * @param unpack  reads the temporary folder's name before it first awaits
 */
export async function unpacked(name: string, unpack: () => Promise<unknown>): Promise<string> {
  const build = fileURLToPath(new URL('../build', import.meta.url))
  const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'))
  const folder = join(build, `${name}-${version}`)
  if (existsSync(folder)) return folder
  mkdirSync(build, { recursive: true })
  const fresh = mkdtempSync(join(build, 'unpack-'))
  try {
    await withTemporary(fresh, unpack)
    renameSync(fresh, folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error // or another process was faster
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
  return folder
}

function withTemporary(folder: string, unpack: () => Promise<unknown>): Promise<unknown> {
  const { TMPDIR } = process.env
  process.env.TMPDIR = folder
  try {
    return unpack()
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = TMPDIR
  }
}
