// Compiles every shader as it lies in shaders/: by Dawn's own checks, which need no GPU and know all
// features, and by the device there is.
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openDevice } from './device.ts'
import { openNullDevice } from './node.ts'

const folder = fileURLToPath(new URL('../../../shaders/', import.meta.url))
const files = readdirSync(folder).filter((file) => file.endsWith('.wgsl'))
const devices = [
  ['the null device', await openNullDevice()],
  ['a GPU', await openDevice()],
] as const

/** Errors, and the messages about them. */
const PLANTED: readonly [code: string, told: RegExp][] = [
  ['FIRST\nfn planted() -> f32 { return 1u; }', /^\d+: return statement type must match/],
  ['fn helper() {}', /^no entry point$/],
  ['@compute @workgroup_size(257) fn wide() {}', /^wide: .*257/s],
  ['override n: u32; @compute @workgroup_size(n) fn open() {}', /^open: .*initializ/is],
]

for (const [name, device] of devices) {
  const test = suite(`shaders on ${name}`)
  if (typeof device === 'string') test.skip(`shaders: ${device}`)
  else {
    test.after(() => device.destroy())

    for (const file of files) {
      test(`${file} compiles, and makes pipelines at default limits`, async () => {
        assert.equal(await problems(device, readFileSync(`${folder}${file}`, 'utf8')), [])
      })
    }

    test('planted errors are found', async () => {
      assert.ok(files.length > 0, `no shader in ${folder}`)
      const text = readFileSync(`${folder}${files[0]}`, 'utf8')
      for (const [planted, told] of PLANTED) {
        const found = await problems(
          device,
          planted.replace('FIRST', () => text),
        )
        assert.is(found.length, 1, planted)
        assert.match(found[0]!, told)
      }
    })
  }
  test.run()
}

/** The problems of a shader: messages with their lines, and pipelines that cannot be made. */
async function problems(device: GPUDevice, code: string): Promise<string[]> {
  device.pushErrorScope('validation')
  const module = device.createShaderModule({ code })
  const { messages } = await module.getCompilationInfo()
  await device.popErrorScope() // the same messages
  if (messages.length > 0) return messages.map(({ lineNum, message }) => `${lineNum}: ${message}`)
  const entries = entryPoints(code)
  if (entries.length === 0) return ['no entry point']
  const made = entries.map((entryPoint) =>
    device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } }).then(
      () => [],
      (error) => [`${entryPoint}: ${error.message}`],
    ),
  )
  return (await Promise.all(made)).flat()
}

/** Names of functions that begin with @compute, in code without its comments. */
function entryPoints(code: string): string[] {
  const bare = code.replace(/\/\/[^\n]*|\/\*.*?\*\//gs, '')
  return [...bare.matchAll(/@compute\b[^{;]*?\bfn\s+(\w+)/g)].map(([, name]) => name!)
}
