// node --import tsx scripts/start.ts PROGRAM [options…]: builds all that is not current, then runs
// the program in this process.
//
// A request for help does not wait for a build: the last build answers. If the program cannot be
// loaded with that build, it is built first.
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
    // Another process runs the program: this one remembers the modules that failed to load.
    const again = [...process.execArgv, program, ...options]
    process.exitCode = spawnSync(process.execPath, again, { stdio: 'inherit' }).status ?? 1
  }
} else {
  await build()
  await import(pathToFileURL(program).href)
}
