// Prints the size of the built package as importers get it, and fails where it is too large.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundledSize } from '../test/support/size.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const { exports } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8'))

const MAIN = "export { aggregate, createCompressor } from 'lowrank'"

/**
 * Kilobytes gzipped that fail when they are exceeded: of what most users import, and of each door
 * alone, with all that it exports. About 2 % above what was measured when they were last set. What a
 * door adds to a bundle that has the main import is printed beside them. 31 is the goal of the main
 * import, which has not been reached since frames, states and arguments are checked in full, and the
 * codec has a module of its own (1.2 kB).
 */
const LIMITS: Readonly<Record<string, number>> = {
  main: 36.4,
  '.': 39.6,
  './baselines': 11.9,
  './factored': 22.1,
  './frames': 13.3,
  './gossip': 34.6,
  './kernels': 25.9,
  './methods': 13.4,
  './threads': 21.0,
  './topology': 7.2,
  './webgpu': 38.6,
}

const main = await hold('main', 'createCompressor, aggregate', MAIN)
for (const [door, target] of Object.entries(exports)) {
  if (typeof target !== 'object') continue // a file, not a module
  const all = `export * as door from 'lowrank${door.slice(1)}'`
  const more = (await kilobytesOf(`${MAIN}\n${all}`)) - main
  await hold(door, `lowrank${door.slice(1)}, everything; ${more.toFixed(1)} beside the first`, all)
}
const times = Array.from({ length: 9 }, readyMs)
console.log(`${medianOf(times).toFixed(1)} ms in Node from import to a compressor`)

async function hold(name: string, what: string, contents: string): Promise<number> {
  const most = LIMITS[name]
  if (most === undefined) throw new RangeError(`LIMITS: expected one for ${name}, which has none`)
  const kilobytes = await kilobytesOf(contents)
  const verdict = kilobytes > most ? 'TOO MUCH, fails above' : 'at most'
  console.log(`${kilobytes.toFixed(1).padStart(5)} kB gzipped (${verdict} ${most}): ${what}`)
  if (kilobytes > most) process.exitCode = 1
  return kilobytes
}

async function kilobytesOf(contents: string): Promise<number> {
  return (await bundledSize(contents, root)) / 1000
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
