// A stage of the build makes some files from others. It is current while its inputs and outputs
// have the hashes that its last complete run recorded in build/.
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

export interface Stage {
  readonly name: string
  /** files and folders, relative to the root */
  readonly inputs: readonly string[]
  /** files and folders, relative to the root; other files in these folders are removed */
  readonly outputs: readonly string[]
  /** Writes the outputs into a folder, at the paths that they have under the root. */
  make(folder: string): Promise<void>
}

/** Folders of interrupted builds bear this name and are removed once they are this old. */
const UNFINISHED = 'unfinished-'
const ABANDONED_MS = 3_600_000

/**
 * Makes a stage's outputs, unless they are current.
 *
 * The new files replace the old ones one by one, and only when all have been made. So no reader
 * finds half a file, two builds at once do not write into each other's files, and an interrupted
 * build leaves outputs that are not on record.
 *
 * @param root  the folder that all paths are relative to; records are kept in its build/
 * @returns whether there was something to do
 */
export async function update(root: string, stage: Stage): Promise<boolean> {
  // Hashed before the stage reads the inputs: an edit during the build causes another build.
  const inputs = hashOf(root, stage.inputs)
  const record = join(root, 'build', `${stage.name}.made`)
  const known = existsSync(record) ? readFileSync(record, 'utf8') : ''
  if (known === `${inputs} ${hashOf(root, stage.outputs)}`) return false

  const build = join(root, 'build')
  mkdirSync(build, { recursive: true })
  removeAbandoned(build)
  const fresh = mkdtempSync(join(build, UNFINISHED))
  try {
    await stage.make(fresh)
    const made = filesIn(fresh, stage.outputs)
    for (const file of made) replace(join(root, file), readFileSync(join(fresh, file)))
    for (const file of filesIn(root, stage.outputs)) {
      if (!made.includes(file)) rmSync(join(root, file), { force: true })
    }
    replace(record, Buffer.from(`${inputs} ${hashOf(fresh, stage.outputs)}`))
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
  return true
}

/** Hashes the names and the contents of all files. */
function hashOf(root: string, paths: readonly string[]): string {
  const hash = createHash('sha256')
  for (const file of filesIn(root, paths)) {
    const bytes = readFileSync(join(root, file))
    hash.update(`${file}\0${bytes.length}\0`).update(bytes)
  }
  return hash.digest('hex')
}

/** All existing files at and under the paths, sorted, with `/`. */
function filesIn(root: string, paths: readonly string[]): string[] {
  return paths
    .flatMap((path) => {
      const stats = statSync(join(root, path), { throwIfNoEntry: false })
      if (!stats?.isDirectory()) return stats ? [path] : []
      const names = readdirSync(join(root, path)).map((name) => `${path}/${name}`)
      return filesIn(root, names)
    })
    .sort()
}

/**
 * Writes a file so that no reader finds it half written. A file that has these bytes already is
 * left alone.
 */
function replace(path: string, bytes: Buffer): void {
  if (existsSync(path) && readFileSync(path).equals(bytes)) return
  mkdirSync(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}.tmp`
  writeFileSync(temporary, bytes)
  renameSync(temporary, path)
}

function removeAbandoned(build: string): void {
  for (const name of readdirSync(build).filter((name) => name.startsWith(UNFINISHED))) {
    const stats = statSync(join(build, name), { throwIfNoEntry: false })
    if (stats && Date.now() - stats.mtimeMs > ABANDONED_MS) {
      rmSync(join(build, name), { recursive: true, force: true })
    }
  }
}
