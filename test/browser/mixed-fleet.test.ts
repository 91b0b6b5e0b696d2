// One fleet of wasm and WebGPU, in Node and in Chromium, in the same steps over sockets.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { useSoftwareVulkan } from '../../scripts/swiftshader.ts'
import { hardware } from '../backends/webgpu/vulkan.ts'
import { bundleForBrowsers } from '../built/bundle.ts'
import * as chromium from './chromium.ts'
import { type Part, type Report, SHARED, takePart, targetOf } from './member.ts'
import type { Page } from './page.ts'
import { serve } from './server.ts'
import type { Browser } from './tab.ts'

// In the browser:
declare const page: Page

const WORKERS = [
  { name: 'wasm in Node', on: 'wasm', far: false },
  { name: 'WebGPU in Node', on: 'webgpu', far: false },
  { name: 'wasm in Chromium', on: 'wasm', far: true },
  { name: 'WebGPU in Chromium', on: 'webgpu', far: true },
] as const

/**
 * How far apart two workers' parameters may be after 100 steps: ‖x − y‖ ÷ ‖y‖, of each parameter.
 */
const NEAR = 1e-6

const FOURS = [[48, 20], [20], [8, 8, 3, 3], [64, 32], [64]]
const ODD = [[33, 27], [7], [8, 5, 3, 3], [3], [19, 50], [1, 9]]

const missing = hardware ? null : await useSoftwareVulkan()
const browser = missing ?? (await chromium.launch({ webgpu: true }))
const test = suite('a fleet of wasm and WebGPU')

if (typeof browser === 'string') test.skip(`a fleet of wasm and WebGPU: ${browser}`)
else {
  const { text } = await bundleForBrowsers('test/browser/page.ts')
  const server = await serve({ '/page.js': text }, WORKERS.length)

  test.after(async () => {
    await browser.close()
    await server.close()
  })

  for (const [name, shapes, rank] of [
    ['lengths that four divides', FOURS, 4],
    ['odd lengths', ODD, 3],
  ] as const) {
    test(`${name}: the same P̂ in 100 steps, and then parameters within 1e-6`, async () => {
      const reports = await train(browser, server.url, { shapes, rank, steps: 100 })
      assert.equal(differences(reports), [])
      for (const { shared } of reports) {
        assert.is(new Set(shared.map(String)).size, 100, 'no step is like another')
      }
      const parameters = reports.map(floatsOf)
      for (const [i, means] of meanTargets(shapes).entries()) {
        const cubes = parameters[0]![i]!.map((x) => x ** 3)
        assert.ok(distance(cubes, means) < 0.5, 'they have learnt')
        for (const [a, { name }] of WORKERS.entries()) {
          for (const other of WORKERS.keys()) {
            const apart = distance(parameters[a]![i]!, parameters[other]![i]!)
            assert.ok(
              apart <= NEAR,
              `parameter ${i} of ${name} and ${WORKERS[other]!.name}: ${apart}`,
            )
          }
        }
      }
      assert.equal(reports[2]!.parameters, reports[0]!.parameters, 'wasm has the same bits')
    })
  }

  for (const [spoiler, { name, on }] of WORKERS.entries()) {
    if (on === 'wasm') continue
    test(`one bit of P̂ that is another on ${name} is found`, async () => {
      const given = { shapes: ODD, rank: 3, steps: 4 }
      const reports = await train(browser, server.url, given, spoiler)
      assert.equal(differences(reports), [`left of ${name} in step 2`])
      const [[there], [elsewhere]] = [floatsOf(reports[spoiler]!), floatsOf(reports[0]!)]
      assert.ok(distance(there!, elsewhere!) > NEAR)
    })
  }
}

test.run()

/** Trains all workers at once. @param spoiler  the worker that gets a wrong bit in step 2 */
async function train(
  browser: Browser,
  url: string,
  given: Pick<Part, 'shapes' | 'rank' | 'steps'>,
  spoiler?: number,
): Promise<Report[]> {
  const thrown: string[] = []
  const reports = await Promise.all(
    WORKERS.map(async ({ on, far }, sender) => {
      const spoiled = sender === spoiler ? 2 : null
      const part: Part = { ...given, sender, on, spoiled, url: `${url}/mean` }
      if (!far) return takePart(part)
      const tab = await browser.open(`${url}/`, (message) => thrown.push(message))
      const reports = await tab.evaluate((part) => page.takePart(part), part)
      await tab.close()
      return reports
    }),
  )
  assert.equal(thrown, [])
  return reports
}

/** Slots that differ from the first worker's on some worker. */
function differences(reports: readonly Report[]): string[] {
  return reports.flatMap(({ shared }, who) =>
    shared.flatMap((hashes, step) =>
      SHARED.filter((_, slot) => hashes[slot] !== reports[0]!.shared[step]![slot]).map(
        (slot) => `${slot} of ${WORKERS[who]!.name} in step ${step}`,
      ),
    ),
  )
}

function floatsOf({ parameters }: Report): Float32Array[] {
  return parameters.map((bits) => new Float32Array(Uint32Array.from(bits).buffer))
}

/** The target of the cubes of the parameters. */
function meanTargets(shapes: Part['shapes']): Float32Array[] {
  return shapes.map((shape, i) =>
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) =>
      WORKERS.reduce((sum, _, sender) => sum + targetOf(sender, i, j) / WORKERS.length, 0),
    ),
  )
}

/** ‖x − y‖ ÷ ‖y‖ */
function distance(x: Float32Array, y: Float32Array): number {
  return Math.hypot(...x.map((value, i) => value - y[i]!)) / Math.hypot(...y)
}
