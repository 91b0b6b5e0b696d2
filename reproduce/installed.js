// Ends with a hint where the packages of this folder are not installed. Plain JavaScript: it comes before
// anything is built or loaded.
import { existsSync } from 'node:fs'

if (!existsSync(new URL('node_modules/lowrank', import.meta.url))) {
  process.stderr.write('reproduce/ has packages of its own. First: npm ci --prefix reproduce\n')
  process.exitCode = 1
}
