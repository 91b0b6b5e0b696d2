// node --import tsx scripts/start.ts PROGRAM [options…]: builds what is not current, then runs the program
// in this process.
//
// Who asks for help does not wait for a build: what was built last answers. Only where the program cannot
// be loaded with that, it is built first.
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.ts'

const [name, ...options] = process.argv.slice(2)
if (name === undefined) throw new TypeError('a program: expected its path, got nothing')
const program = resolve(name)
process.argv.splice(1, 2, program) // as if Node had been started with it

if (options.includes('--help') || options.includes('-h')) {
  try {
    await import(pathToFileURL(program).href)
  } catch {
    await build()
    // Another process: this one remembers what it could not load.
    const again = [...process.execArgv, program, ...options]
    process.exitCode = spawnSync(process.execPath, again, { stdio: 'inherit' }).status ?? 1
  }
} else {
  await build()
  await import(pathToFileURL(program).href)
}
