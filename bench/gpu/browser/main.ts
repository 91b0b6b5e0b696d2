// The products that compression is made of, in a browser's page: ours on the GPU beside other
// libraries'. Loaded only on request, for it needs all development dependencies.
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { launch } from '../../../test/browser/chromium.ts'
import { serve } from '../../../test/browser/server.ts'
import { bundleForBrowsers } from '../../../test/built/bundle.ts'
import type { Size } from '../../arrays.ts'
import { byEffort, type Settings } from '../../effort.ts'
import { withRatios } from '../../measure.ts'
import type { Operation } from '../../peers/peer.ts'
import type { Progress } from '../../progress.ts'
import type { Row, Table } from '../../results.ts'
import type { Adapter } from '../device.ts'
import type { GpuReport } from '../report.ts'
import type { Kind, Page } from './page.ts'
import { SCRIPT } from './tfjs.ts'

export interface Wishes {
  readonly ranks: readonly number[] | null
  readonly quick: boolean
  readonly tiny: boolean
  /** path of a Chromium that takes the system's GPU; absent: the one from npm, on software */
  readonly executable: string | undefined
}

const OURS = 'lowrank'
const PEERS = ['tfjs-webgpu', 'jax-js'] as const
const OPERATIONS: readonly Operation[] = ['M·Q', 'Mᵀ·P', 'P·Qᵀ']
const KINDS: readonly Kind[] = ['wall', 'GPU']

const LARGE: readonly Size[] = [
  { rows: 4096, cols: 4096 }, // a linear layer of a language model
  { rows: 512, cols: 4608 }, // a convolution of ResNet-18's last stage
]
const SMALL: readonly Size[] = [
  { rows: 1024, cols: 64 }, // the embedding and a layer of the small transformer
  { rows: 64, cols: 256 },
]
const TINY: readonly Size[] = [{ rows: 33, cols: 70 }]

const PEERS_PACKAGE = new URL('../../peers/package.json', import.meta.url)

// Defined in the browser.
declare const page: Page

export function productsTitle({ rows, cols }: Size): string {
  return `products in the browser, ${rows} × ${cols}`
}

export function productName(operation: Operation, rank: number, kind: Kind, by = OURS): string {
  return `${operation}, r = ${rank}: ${by}, ${kind}`
}

/** @throws Error  if there is no browser, or it has no adapter */
export async function measureInBrowser(
  { ranks: asked, quick, tiny, executable }: Wishes,
  begin: (sections: number) => Promise<Progress>,
): Promise<Pick<GpuReport, 'adapter' | 'browser' | 'tables' | 'skipped' | 'goals'>> {
  const skipped: string[] = []
  const tfjs = await bundleTfjs()
  if (!tfjs) {
    skipped.push('tfjs-webgpu: @tensorflow/… are not installed: npm ci --prefix bench/peers')
  }
  const { text } = await bundleForBrowsers(fileURLToPath(new URL('./page.ts', import.meta.url)))
  const browser = await launch({ webgpu: true, ...(executable !== undefined && { executable }) })
  if (typeof browser === 'string') throw new Error(browser)
  const server = await serve({ '/page.js': text, ...(tfjs && { [SCRIPT]: tfjs }) }, 1)
  try {
    const thrown: string[] = []
    const tab = await browser.open(`${server.url}/isolated`, (message) => thrown.push(message))
    const started = await tab.evaluate(() => page.start())
    if (typeof started === 'string') throw new Error(`${browser.name}: ${started}`)
    const { adapter, timestamps } = started
    if (!timestamps) skipped.push('times on the GPU: the device has no timestamp queries')
    const libraries: string[] = [OURS]
    for (const name of PEERS.filter((name) => tfjs || name !== 'tfjs-webgpu')) {
      const why = await tab.evaluate((name) => page.open(name), name)
      if (why === null) libraries.push(name)
      else skipped.push(`${name}: ${why}`)
    }

    const least = tiny || adapter.software
    const settings: Settings = { effort: least ? 'tiny' : quick ? 'quick' : 'full', all: false }
    const sizes = tiny
      ? TINY
      : adapter.software
        ? SMALL
        : byEffort(settings, LARGE, LARGE.slice(0, 1), [])
    const ranks = asked ?? (tiny ? [1, 4] : [1, 4, 32])
    const progress = await begin(sizes.length)
    const tables: Table[] = []
    for (const size of sizes) {
      progress.section(productsTitle(size))
      const rows: Row[] = []
      for (const rank of ranks) {
        for (const library of libraries) {
          progress.at(`${productsTitle(size)}, r = ${rank}: ${library}`)
          const request = { library, ...size, rank, settings }
          const timed = await tab.evaluate((request) => page.measure(request), request)
          const work = { bytes: 4 * size.rows * size.cols, flops: 2 * rank * size.rows * size.cols }
          for (const { operation, kind, row } of timed) {
            rows.push({ name: productName(operation, rank, kind, library), ...row, ...work })
          }
        }
      }
      tables.push(tableOf(size, ranks, libraries, rows, adapter))
    }
    if (thrown.length > 0) throw new Error(thrown.join('\n'))
    return { adapter, browser: browser.name, tables, skipped, goals: [] }
  } finally {
    await browser.close()
    await server.close()
  }
}

/**
 * The table of one size: ours beside the others for each operation, with the fastest of them as our
 * yardstick.
 */
function tableOf(
  size: Size,
  ranks: readonly number[],
  libraries: readonly string[],
  measured: readonly Row[],
  { software }: Adapter,
): Table {
  const byName = new Map(measured.map((row) => [row.name, row]))
  const rows: Row[] = []
  for (const rank of ranks) {
    for (const operation of OPERATIONS) {
      for (const kind of KINDS) {
        const [ours, ...theirs] = libraries.flatMap(
          (by) => byName.get(productName(operation, rank, kind, by)) ?? [],
        )
        if (!ours) continue
        const fastest = theirs.length > 0 && theirs.reduce((a, b) => (b.ms < a.ms ? b : a)).name
        rows.push(fastest ? { ...ours, yardstick: fastest } : ours, ...theirs)
      }
    }
  }
  return {
    title: productsTitle(size),
    ratios: 'faster',
    against: 'than the fastest peer',
    unit: 'µs',
    rows: withRatios(rows),
    ...(software && { meaningless: true }),
  }
}

/** TensorFlow.js and its backend as one script, or null where they are not installed. */
async function bundleTfjs(): Promise<string | null> {
  const packages = ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-webgpu']
  const require = createRequire(PEERS_PACKAGE)
  for (const name of packages) {
    try {
      require.resolve(name)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
      return null
    }
  }
  const { outputFiles } = await build({
    stdin: {
      contents: packages.map((name) => `export * from '${name}'`).join('\n'),
      resolveDir: fileURLToPath(new URL('.', PEERS_PACKAGE)),
    },
    bundle: true,
    format: 'esm',
    platform: 'browser',
    ignoreAnnotations: true, // keeps imports that are for their effects alone
    write: false,
    logLevel: 'silent',
  })
  return outputFiles[0]!.text
}
