// A program: trains once with two workers, and prints the port first, then the results. Between them,
// it waits for a line of input.
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createFleet } from '../../examples/demo/coordinator.ts'
import type { Settings } from '../../examples/demo/run.ts'
import { createCorpus, readText } from '../../examples/demo/text.ts'

const settings: Settings = {
  ...{ workers: 2, method: 'powersgd', rank: 2, wire: 'f16', backend: 'wasm', software: false },
  ...{ steps: 2, seed: 0 },
}
const text = readText([fileURLToPath(new URL('../../README.md', import.meta.url))])
const fleet = await createFleet(
  createCorpus(text, settings.workers),
  settings,
  new AbortController().signal,
  async (port) => {
    console.log(port)
    await once(process.stdin, 'data')
    process.stdin.destroy()
    return port
  },
)
const run = await fleet.train(true, { step() {}, measured() {} })
await fleet.close()
console.log(JSON.stringify(run))
