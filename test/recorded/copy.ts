// Makes the small copy in `cases` from a folder of recordings: node --import tsx
// test/recorded/copy.ts <folder>
//
// Some families are copied whole. Of real-gradients, the copy has only these parameters, with all
// that the file holds about them and about the whole run.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readState, writeState } from '../support/safetensors.ts'

const WHOLE = [
  'paper-algorithm1',
  'paper-baselines',
  'epfml-powersgd',
  'pytorch-hook',
  'powergossip',
  'accordion',
  'ratios',
]
const KEPT: Readonly<Record<string, readonly number[]>> = {
  // From 22 × 22 to 22 × 198, the first layer and the last among them
  'convnet-cifar10-early': [0, 3, 15, 27],
  // The gradient with the smallest norm of all
  'lstm-wikitext2-late': [1],
}

const [from] = process.argv.slice(2)
if (from === undefined) throw new TypeError('expected the folder of the recordings')
const to = fileURLToPath(new URL('cases', import.meta.url))
for (const family of [...WHOLE, 'real-gradients']) mkdirSync(`${to}/${family}`, { recursive: true })
for (const family of WHOLE) {
  for (const name of readdirSync(`${from}/${family}`)) {
    const file = `${family}/${name}`
    writeFileSync(`${to}/${file}`, readFileSync(`${from}/${file}`))
  }
}
for (const [name, kept] of Object.entries(KEPT)) {
  const file = `real-gradients/${name}.safetensors`
  const { metadata, tensors } = readState(new Uint8Array(readFileSync(`${from}/${file}`)))
  const of = (tensor: string) => Number(/\/(\d+)$/.exec(tensor)?.[1] ?? kept[0])
  const some = [...tensors].filter(([tensor]) => kept.includes(of(tensor)))
  writeFileSync(`${to}/${file}`, writeState(Object.fromEntries(some), metadata))
}
