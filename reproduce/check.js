// Checks the types of this folder, or says loudly that it does not: they need the folder's own packages.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

if (existsSync(new URL('node_modules/lowrank', import.meta.url))) {
  const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url))
  const project = fileURLToPath(new URL('.', import.meta.url))
  const { status } = spawnSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' })
  process.exitCode = status ?? 1
} else {
  process.stderr.write(
    'ATTENTION: types of reproduce/ are not checked: npm ci --prefix reproduce\n',
  )
}
