// Prints the size of the built package as importers get it, and fails where it is too large.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundledSize } from '../test/support/size.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const { exports } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8'))
// Exports that are files, not modules, have no conditions.
const doors = Object.keys(exports).filter((path) => typeof exports[path] === 'object')

// Kilobytes: the goal, then the limit that fails. Where they differ, the goal has not been reached
// yet.
await hold(
  'createCompressor, aggregate',
  20,
  30,
  "export { aggregate, createCompressor } from 'lowrank'",
)
await hold(
  'everything',
  45,
  80,
  doors.map((door, i) => `export * as door${i} from 'lowrank${door.slice(1)}'`).join('\n'),
)
const times = Array.from({ length: 9 }, readyMs)
console.log(`${medianOf(times).toFixed(1)} ms in Node from import to a compressor`)

async function hold(what: string, wanted: number, most: number, contents: string): Promise<void> {
  const kilobytes = (await bundledSize(contents, root)) / 1000
  const verdict = kilobytes > most ? `TOO MUCH, fails above ${most}` : `${wanted} are wanted`
  console.log(`${kilobytes.toFixed(1)} kB gzipped (${verdict}): ${what}`)
  if (kilobytes > most) process.exitCode = 1
}

/**
 * Measures in a process of its own. The time is printed and has no limit, for it depends on the
 * machine as much as on the package.
 */
function readyMs(): number {
  const program = `
    const began = performance.now()
    const { createCompressor } = await import('lowrank')
    await createCompressor([[256, 512], [256]])
    console.log(performance.now() - began)`
  const args = ['--input-type=module', '--eval', program]
  return Number(execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }))
}

function medianOf(times: number[]): number {
  return times.sort((a, b) => a - b)[times.length >> 1]!
}
