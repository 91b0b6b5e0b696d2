// A Firefox of the system's, driven over WebDriver BiDi by puppeteer-core from test/engines.
import type { ChildProcess } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import type { VulkanEnv } from '../../scripts/swiftshader.ts'
import { type Browser, closed, type Tab } from './tab.ts'

/** The part of puppeteer-core in use; where it is not installed, its types are missing. */
interface Puppeteer {
  launch(options: {
    browser: 'firefox'
    executablePath: string
    env: NodeJS.ProcessEnv
    extraPrefsFirefox: Readonly<Record<string, unknown>>
    timeout: number
    protocolTimeout: number
  }): Promise<{
    version(): Promise<string>
    newPage(): Promise<
      Tab & {
        on(event: 'pageerror', listener: (error: Error) => void): void
        on(event: 'console', listener: (message: { type(): string; text(): string }) => void): void
        goto(url: string, options: { timeout: number }): Promise<unknown>
      }
    >
    process(): ChildProcess | null
    close(): Promise<void>
  }>
}

/** Preferences that give Firefox WebGPU on Linux, too, on any Vulkan. */
const WEBGPU = { 'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true }

/**
 * Starts the browser, or says why this machine cannot.
 *
 * @param vulkan  what it needs in its environment for WebGPU (gpu/vulkan.ts); without it, none
 */
export async function launch(vulkan?: VulkanEnv): Promise<Browser | string> {
  const executablePath = inPath('firefox') ?? inPath('firefox-esr')
  if (!executablePath) return 'PATH has no firefox or firefox-esr'
  const require = createRequire(new URL('../engines/package.json', import.meta.url))
  let puppeteer: Puppeteer
  try {
    puppeteer = require('puppeteer-core')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    return 'puppeteer-core is not installed: npm ci --prefix test/engines'
  }
  const firefox = await puppeteer.launch({
    browser: 'firefox',
    executablePath,
    env: { ...process.env, ...vulkan },
    extraPrefsFirefox: vulkan ? WEBGPU : {},
    timeout: 0, // 0: none, for run.ts ends what stalls
    protocolTimeout: 0,
  })
  return {
    name: await firefox.version(),
    async open(url, thrown, said) {
      const page = await firefox.newPage()
      page.on('pageerror', ({ message }) => {
        // Firefox reports a policy's violations as uncaught errors, at any time.
        if (!message.startsWith('Content-Security-Policy:')) thrown(message)
      })
      if (said) page.on('console', (message) => said(message.type(), message.text()))
      await page.goto(url, { timeout: 0 })
      return page
    },
    processes: async () => [],
    close: () => closed(firefox.close(), firefox.process()!.pid!),
  }
}

function inPath(command: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  return folders.map((folder) => join(folder, command)).find(executable)
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false // not there, or not ours to run
  }
}
