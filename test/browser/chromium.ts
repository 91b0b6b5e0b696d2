// A headless Chromium from npm: unpacked once into build/, driven by playwright-core.
import { join } from 'node:path'
import { chromium, type Browser as PlaywrightBrowser } from 'playwright-core'
import { unpacked } from './packed.ts'
import type { Browser } from './tab.ts'

export interface Options {
  /** with WebGPU, on the SwiftShader that it brings along */
  readonly webgpu?: boolean
}

const WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader']

/** Starts the browser; or says why this machine cannot. */
export async function launch(options: Options = {}): Promise<Browser | string> {
  const launched = await launchPlaywright(options)
  if (typeof launched === 'string') return launched
  return {
    name: `chromium/${launched.version()}`,
    async open(url, thrown) {
      const page = await launched.newPage()
      page.on('pageerror', (error) => thrown(error.message))
      await page.goto(url)
      return {
        evaluate: (run, value) => page.evaluate(run as () => never, value),
        close: () => page.close(),
      }
    },
    close: () => launched.close(),
  }
}

/**
 * The same as playwright has it, for pages that load themselves anew.
 *
 * @returns or says why this machine cannot: the package is for Linux, and takes some libraries from
 *   the system
 */
export async function launchPlaywright({
  webgpu = false,
}: Options = {}): Promise<PlaywrightBrowser | string> {
  if (process.platform !== 'linux')
    return `@sparticuz/chromium is for linux, not ${process.platform}`
  const { default: packed } = await import('@sparticuz/chromium')
  const folder = await unpacked('chromium', () => packed.executablePath())
  try {
    return await chromium.launch({
      executablePath: join(folder, 'chromium'),
      args: ['--no-sandbox', '--headless', ...(webgpu ? WEBGPU : [])],
    })
  } catch (error) {
    const missing = /error while loading shared libraries: (\S+):/.exec(String(error))
    if (!missing) throw error
    return `Chromium needs ${missing[1]} from the system: install libnss3 and libexpat1`
  }
}
