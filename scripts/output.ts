// Files that a command writes at its end. That they cannot be written should be known at its start.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'

/**
 * Finds out whether a file can be written, and leaves everything as it is.
 *
 * @param option  that the path was given by, such as `--json`
 * @throws Error  that names the option, the path and the reason
 */
export function checkOutput(option: string, path: string): void {
  try {
    const existed = existsSync(path)
    // A pipe may have no reader yet, and opening it would wait.
    if (existed && !statSync(path).isFile() && !statSync(path).isDirectory()) return
    closeSync(openSync(path, 'a'))
    if (!existed) rmSync(realpathSync(path))
  } catch (error) {
    throw unwritable(option, path, error)
  }
}

/** The same for files in a folder, which is made if it is missing. */
export function checkFolder(option: string, folder: string, files: readonly string[]): void {
  try {
    mkdirSync(folder, { recursive: true })
  } catch (error) {
    throw unwritable(option, folder, error)
  }
  for (const file of files) checkOutput(option, join(folder, file))
}

/** Writes a file. @throws Error  that names the option, the path and the reason */
export function writeOutput(option: string, path: string, text: string): void {
  try {
    writeFileSync(path, text)
  } catch (error) {
    throw unwritable(option, path, error)
  }
}

/** The error of a file that cannot be written, for those who gave the option. */
export function unwritable(option: string, path: string, error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException
  const why = code === undefined ? message : (REASONS[code] ?? message)
  return new Error(`"${option}": ${path} cannot be written: ${why}`, { cause: error })
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'its folder is a file',
  EEXIST: 'there is a file of that name',
  EISDIR: 'it is a folder',
  EACCES: 'no permission',
  EPERM: 'no permission',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left',
}

/**
 * Prints on stdout, and waits until a pipe has taken the text.
 *
 * @throws Error  if stdout takes no more: the reader of a pipe has ended
 */
export function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.once('error', reject)
    process.stdout.write(`${text}\n`, (error) => {
      if (error) return
      process.stdout.off('error', reject)
      resolve()
    })
  })
}
