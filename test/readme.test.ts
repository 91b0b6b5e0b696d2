import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { unpackBinaries } from '../src/backends/wasm/unpack.ts'
import { dad } from '../src/factored.ts'
import type { GossipMethod } from '../src/gossip.ts'
import type { Options } from '../src/index.ts'
import { openDevice } from './backends/webgpu/device.ts'
import { readTensors } from './backends/webgpu/tensors.ts'
import { METHODS, type Name } from './support/methods.ts'
import { bundledSize } from './support/size.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')

const test = suite('README')

function resnet18(): number[][] {
  const recorded = new URL('recorded/cases/ratios/ratios.json', import.meta.url)
  const { models } = JSON.parse(readFileSync(recorded, 'utf8'))
  return models['resnet18-cifar10'].parameters.map(({ shape }: { shape: number[] }) => shape)
}

test('the example runs as pasted, and prints what it says', () => {
  const found = /^```js\n(.*?)^```\n.*?^```\n(.*?)^```\n/ms.exec(readme)
  assert.ok(found, 'no example')
  const [, example, printed] = found
  const folder = mkdtempSync(join(tmpdir(), 'lowrank-readme-'))
  try {
    mkdirSync(join(folder, 'node_modules'))
    symlinkSync(root, join(folder, 'node_modules', 'lowrank'), 'junction')
    writeFileSync(join(folder, 'example.mjs'), example!)
    const options = { cwd: folder, encoding: 'utf8' } as const
    const { stdout, stderr, status } = spawnSync(process.execPath, ['example.mjs'], options)
    assert.is(stderr, '')
    assert.is(status, 0)
    assert.match(stdout, 'the same parameters: true')
    assert.is(stdout, printed)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

const opened = await openDevice()
if (typeof opened === 'string') test.skip(`the example for GPUs: ${opened}`)
else {
  test('the example for GPUs runs as pasted', async () => {
    const [, example] = /^```js\n(import \{ webgpu \}.*?)^```\n/ms.exec(readme)!
    const [{ createCompressor }, { webgpu }] = await Promise.all([
      import('lowrank'),
      import('lowrank/webgpu'),
    ])
    const values = Float32Array.from({ length: 128 }, (_, i) => i / 64 - 1)
    const buffers = [values, values.slice().fill(1)].map((array) => {
      const buffer = opened.createBuffer({ size: 512, usage: 0x8c }) // STORAGE, COPY_SRC, COPY_DST
      opened.queue.writeBuffer(buffer, 0, array)
      return buffer
    })
    const given = {
      webgpu,
      createCompressor,
      device: opened,
      shapes: [{ shape: [8, 12], compress: false }, [32]],
      offsets: [0, 384],
      gradientBuffer: buffers[0],
      parameterBuffer: buffers[1],
      exchange: async (frame: Uint8Array) => frame,
    }
    const body = example!.replace(/^import .*$/m, '')
    const AsyncFunction = (async () => undefined).constructor as FunctionConstructor
    await new AsyncFunction(...Object.keys(given), body)(...Object.values(given))
    const [got] = await readTensors(opened, [{ buffer: buffers[1]! }], [values], 'f32')
    for (const [i, x] of got!.entries()) assert.ok(Math.abs(x - (1 - 0.1 * values[i]!)) < 1e-6)
    opened.destroy()
  })
}

test('functions and methods that it names exist', async () => {
  const [lowrank, ...doors] = await Promise.all([
    import('lowrank'),
    import('lowrank/baselines'),
    import('lowrank/factored'),
    import('lowrank/frames'),
    import('lowrank/gossip'),
    import('lowrank/kernels'),
    import('lowrank/methods'),
    import('lowrank/topology'),
    import('lowrank/webgpu'),
  ])
  const { createCompressor, createSgd } = lowrank
  using compressor = await createCompressor([[4]])
  const sgd = await createSgd(compressor, { learningRate: 1 })
  const reached: object[] = [lowrank, ...doors, compressor, sgd]
  const named = new Set(
    [...readme.matchAll(/`(?:[a-z]+\.)?([a-z]\w+)\(/gi)].map(([, name]) => name!),
  )
  assert.ok(named.size > 15, `only ${named.size} found`)
  for (const name of named)
    assert.ok(
      reached.some((where) => name in where),
      `${name} is nowhere`,
    )
})

test('the package is as small as it says', async () => {
  const [, kilobytes] = /\*\*Size\.\*\* (\d+) kB gzipped/.exec(readme) ?? []
  const contents = "export { aggregate, createCompressor } from 'lowrank'"
  const size = (await bundledSize(contents, root)) / 1000
  const said = Number(kilobytes)
  assert.ok(size <= said && size > 0.85 * said, `${size} kB, but the README says ${kilobytes}`)
})

test('the modules by themselves are those inside', async () => {
  const file = (name: string) => readFileSync(fileURLToPath(import.meta.resolve(name)))
  const { plain, relaxed } = await unpackBinaries()
  assert.equal(file('lowrank/lowrank.wasm'), Buffer.from(plain))
  assert.equal(file('lowrank/lowrank.relaxed.wasm'), Buffer.from(relaxed))
})

test('the bytes of GPT-2 are those of its plan', async () => {
  const { plan } = await import('lowrank')
  const block = [[768], [768], [768, 2304], [2304], [768, 768], [768], [768], [768]]
  const mlp = [[768, 3072], [3072], [3072, 768], [768]]
  const layers = Array.from({ length: 12 }, () => [...block, ...mlp]).flat()
  const shapes = [[50257, 768], [1024, 768], ...layers, [768], [768]]
  const megabytes = (bytes: number) => (bytes / 1e6).toPrecision(bytes < 1e7 ? 2 : 3)
  const [four, one] = [plan(shapes, { rank: 4 }), plan(shapes, { rank: 1 })]
  const [sent, least, dense] = [four.bytes, one.bytes, 4 * four.denseFloats].map(megabytes)
  const said = /GPT-2-124M sends (\S+) MB .* instead of (\S+) MB; at rank 1,\s+(\S+) MB/.exec(
    readme,
  )
  assert.equal(said?.slice(1), [sent, dense, least])
})

test('the table of methods has what plan says of ResNet-18', async () => {
  const { plan } = await import('../src/index.ts')
  const shapes = resnet18()
  const [section] = /^## Methods$.*?^## /ms.exec(readme)!
  const rows = [...section.matchAll(/^\| (?:`(\w+)\(.*?\)`|(full steps)).*\|$/gm)]
  const named = rows.map(([, called, plain]) => (called ?? plain) as Name)
  assert.equal(named.sort(), Object.keys(METHODS).sort(), 'a row for each method')
  for (const [row, called, plain] of rows) {
    const told = plan(shapes, METHODS[(called ?? plain) as Name])
    const cells = row.split('|').map((cell) => cell.trim())
    const [, , rounds, , receives, , sentKb, receivedKb] = cells
    const kilobytes = [told.bytes, told.received(8).bytes].map((bytes) => Math.round(bytes / 1000))
    assert.equal([Number(sentKb), Number(receivedKb)], kilobytes, row)
    assert.is(told.rounds, /^(?:2|as full)/.test(rounds!) ? 2 : 1, row)
    const gathered = told.received(8).floats === 8 * told.floats
    assert.is(receives, gathered ? 'everyone’s' : 'the mean', row)
  }
  const layer = [[1024, 1024], [1024]]
  const kB = (options: Options) => Math.round(plan(layer, options).bytes / 1000)
  const said = /`dad` sends (\d+) kB instead of (\d+), `rankDad`\s+(\d+)\./.exec(readme)
  assert.equal(said?.slice(1).map(Number), [
    kB({ method: dad({ samples: 128 }) }),
    kB(METHODS.uncompressed),
    kB(METHODS.rankDad),
  ])
})

test('the example of gossip runs as pasted, and nodes agree', async () => {
  const [, example] = /^```js\n(import \{ createGossip.*?)^```\n/ms.exec(readme)!
  const [gossip, topology] = await Promise.all([
    import('lowrank/gossip'),
    import('lowrank/topology'),
  ])
  const body = example!.replace(/^import .*$/gm, '')
  const models = Array.from({ length: 8 }, (_, self) => [new Float32Array(96).fill(self)])
  const boxes = models.map((): [number, Uint8Array][] => [])
  const iteration = (self: number) => {
    const given = {
      ...gossip,
      ...topology,
      shapes: [[12, 8]],
      self,
      parameters: models[self],
      send: (neighbour: number, frame: Uint8Array) => boxes[neighbour]!.push([self, frame]),
      answers: async (waiting: readonly number[]) => {
        while (boxes[self]!.length < waiting.length) await new Promise(setImmediate)
        return boxes[self]!.splice(0, waiting.length)
      },
    }
    const AsyncFunction = (async () => undefined).constructor as FunctionConstructor
    return new AsyncFunction(...Object.keys(given), body)(...Object.values(given))
  }
  await Promise.all(models.map((_, self) => iteration(self)))
  const firsts = models.map(([x]) => x![0]!)
  assert.ok(Math.abs(firsts.reduce((a, b) => a + b) - 28) < 1e-5, `${firsts}`)
  const spread = Math.max(...firsts) - Math.min(...firsts)
  assert.ok(spread < 6.9, `they were 0 … 7, and are ${firsts}`)
})

test('the table of gossip has what planGossip says of ResNet-18', async () => {
  const { choco, deepSqueeze, moniqua, plain, planGossip, powerGossip } = await import(
    '../src/gossip.ts'
  )
  const signs = { compression: 'sign', gamma: 0.4 } as const
  const methods: Readonly<Record<string, GossipMethod>> = {
    powerGossip: powerGossip(),
    plain: plain(),
    choco: choco(signs),
    deepSqueeze: deepSqueeze(signs),
    moniqua: moniqua({ theta: 1 }),
  }
  const [section] = /^## Without a coordinator$.*?^## /ms.exec(readme)!
  const rows = [...section.matchAll(/^\| `(\w+)\(.*?\)` \|.*?\| (\d+) \|/gm)]
  assert.equal(rows.map(([, name]) => name).sort(), Object.keys(methods).sort())
  for (const [row, name, said] of rows) {
    const { bytes } = planGossip(resnet18(), { method: methods[name!]! })
    assert.is(Number(said), Math.round(bytes / 1000), row)
  }
})

test('what it says of trainings is what the reproduction found', () => {
  interface Outcome {
    readonly task: string
    readonly name: string
    readonly workers: number
    readonly longer: boolean
    readonly steps: number
    readonly learningRate: number
    readonly losses: readonly (number | null)[]
    readonly sentBytes: number
    readonly receivedBytes: number
  }
  const path = join(root, 'docs/reproduction/results.json')
  const { claims, quality } = JSON.parse(readFileSync(path, 'utf8')) as {
    claims: readonly { verdict: string }[]
    quality: readonly Outcome[]
  }
  const [section] = /^### In training$.*?^## /ms.exec(readme)!
  const find = (task: string, name: string, { workers = 4, longer = false } = {}) => {
    const found = quality.filter(
      (one) =>
        one.task === task && one.name === name && one.workers === workers && one.longer === longer,
    )
    assert.is(found.length, 1, name)
    return found[0]!
  }
  const meanOf = ({ losses }: Outcome) =>
    losses.reduce<number>((sum, loss) => sum + loss!, 0) / losses.length

  const rows = [...section.matchAll(/^\| ([^|-][^|]*) \| (.+) \|$/gm)].slice(1)
  assert.ok(rows.length >= 8)
  for (const [, name, rest] of rows) {
    const cells = ['text', 'images'].flatMap((task) => {
      const outcome = find(task, name!)
      const losses = outcome.losses as readonly number[]
      const half = (Math.max(...losses) - Math.min(...losses)) / 2
      const shown = `${meanOf(outcome).toFixed(3)} ± ${half.toFixed(3)}`
      return [shown, `${(outcome.sentBytes / 1000).toFixed(1)} kB`]
    })
    assert.equal(rest!.split(' | '), cells, name)
  }
  const count = (verdict: string) => claims.filter((claim) => claim.verdict === verdict).length
  assert.match(
    section,
    new RegExp(
      `Of ${claims.length} claims, ${count('found')} were found,\\s+${count('not found')} were not, and ${count('not decidable')} cannot`,
    ),
  )

  const behind = (name: string, longer: boolean) => {
    const [own, dense] = [name, 'uncompressed'].map((one) => meanOf(find('text', one, { longer })))
    return (own! - dense!).toFixed(3)
  }
  const { steps } = find('text', 'rank 4')
  const { steps: more } = find('text', 'rank 4', { longer: true })
  const said = `After ${steps} steps the LSTM is ${behind('rank 4', false)} behind at rank 4 and ${behind('rank 1', false)} at rank 1, after ${more.toLocaleString('en')} steps ${behind('rank 4', true)} and ${behind('rank 1', true)}.`
  const text = section.replace(/\s+/g, ' ')
  assert.match(text, said)
  const rates = ['text', 'images'].map(
    (task) => find(task, 'rank 1').learningRate / find(task, 'uncompressed').learningRate,
  )
  assert.equal(rates, [1 / 8, 1], 'an eighth for the LSTM, the same for the images')
  const received = (name: string, workers: number) =>
    `${(find('text', name, { workers }).receivedBytes / 1000).toFixed(0)} kB`
  assert.match(
    text,
    `a worker receives ${received('top K', 4)} a step with 4 workers and ${received('top K', 16)} with 16, and ${received('rank 2', 4)} at rank 2 with either`,
  )
  assert.is(received('rank 2', 4), received('rank 2', 16))
})

test('what it says of gossip in trainings is what the reproduction found', () => {
  interface Outcome {
    readonly nodes: number
    readonly steps: number
    readonly gossip: { readonly method: string; readonly gamma: number } | null
    readonly tuned: boolean
    readonly losses: readonly number[]
  }
  const path = join(root, 'docs/reproduction/results.json')
  const { gossip } = JSON.parse(readFileSync(path, 'utf8'))
  const meanOf = (steps: number, method: string, tuned: boolean) => {
    const found = (gossip.training as readonly Outcome[]).filter(
      (one) =>
        one.nodes === 8 &&
        one.steps === steps &&
        one.gossip?.method === method &&
        one.tuned === tuned,
    )
    assert.is(found.length, 1, method)
    const { losses } = found[0]!
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length
  }
  const behind = (method: string, tuned: boolean) =>
    [180, 720]
      .map((steps) => (meanOf(steps, method, tuned) - meanOf(steps, 'plain', false)).toFixed(3))
      .join(' and ')
      .replace('-', '−')
  const text = readme.replace(/\s+/g, ' ')
  const plain = [true, false].map((tuned) => meanOf(180, 'plain', tuned).toFixed(3))
  assert.match(text, `plain gossip in a ring of eight came to ${plain.join(' instead of ')}`)
  assert.match(text, `${behind('power1', false)} nats behind plain gossip with one iteration`)
  assert.match(text, `${behind('power2', false)} with two`)
  assert.match(text, `Choco's signs, once γ was found, ${behind('chocoSign', true)}.`)
})

test('options that it names exist', async () => {
  const { plan } = await import('lowrank')
  for (const option of [
    'errorFeedback',
    'iterations',
    'minCompressionRate',
    'startCompressingAfter',
  ]) {
    assert.match(readme, option)
    assert.throws(() => plan([[4]], { [option]: 'nonsense' }), new RegExp(`^"${option}": expected`))
  }
})

test('links within the repository lead somewhere', () => {
  const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path!)
  assert.ok(links.length > 4)
  for (const link of links) assert.ok(existsSync(join(root, link)), link)
})

test.run()
