// A headless Chromium from npm: unpacked once into build/, driven by playwright-core.
//
// Version 153 may hang in WebGPU. In a debugger its page's main thread waits for a mutex that it holds itself,
// it seems while it takes what the GPU process returns in the middle of a call that waits for room for commands;
// all other threads are idle. We have seen it after a test that made a gigabyte of garbage, every second time.
import { join } from 'node:path'
import { chromium, type Browser as PlaywrightBrowser } from 'playwright-core'
import { unpacked } from '../../scripts/packed.ts'
import { type Browser, closed, type Process } from './tab.ts'

export interface Options {
  /** with WebGPU, on the SwiftShader that it brings along */
  readonly webgpu?: boolean
  /** with addresses that WebRTC finds */
  readonly webrtc?: boolean
  /** path of another Chromium or Chrome: its WebGPU is on the system's GPU */
  readonly executable?: string
}

/** With timestamps in full precision. */
const WEBGPU = ['--enable-unsafe-webgpu', '--disable-dawn-features=timestamp_quantization']
const SOFTWARE = ['--use-webgpu-adapter=swiftshader']
/**
 * Addresses as they are, instead of names that stand for them: these are looked up by multicast DNS, which
 * containers may not let through. (WebRTC in Chromium makes no use of the loopback interface: it takes another,
 * on one machine, too.)
 */
const WEBRTC = ['--disable-features=WebRtcHideLocalIpsWithMdns']
/** The options that Chrome's authors give for Linux without a screen. */
const HARDWARE = ['--use-angle=vulkan', '--enable-features=Vulkan', '--disable-vulkan-surface']

/** Starts the browser; or says why this machine cannot. */
export async function launch(options: Options = {}): Promise<Browser | string> {
  const launched = await launchPlaywright(options)
  if (typeof launched === 'string') return launched
  const session = await launched.newBrowserCDPSession()
  const processes = async (): Promise<Process[]> => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo')
    return processInfo.map(({ type, id, cpuTime }) => ({ kind: type, id, seconds: cpuTime }))
  }
  const { id } = (await processes()).find(({ kind }) => kind === 'browser')!
  return {
    name: `chromium/${launched.version()}`,
    async open(url, thrown, said) {
      const page = await launched.newPage()
      page.on('pageerror', (error) => thrown(error.message))
      if (said) {
        page.on('console', (message) => said(message.type(), message.text()))
        page.on('crash', () => said('crash', 'the page has crashed'))
      }
      await page.goto(url)
      return {
        evaluate: (run, value) => page.evaluate(run as () => never, value),
        close: () => page.close(),
      }
    },
    processes: () => Promise.race([processes(), late()]),
    close: () => closed(launched.close(), id),
  }
}

/** No processes, after 5 s. */
function late(): Promise<[]> {
  return new Promise((resolve) => setTimeout(resolve, 5_000, []).unref())
}

/**
 * The same as playwright has it, for pages that load themselves anew.
 *
 * @returns or says why this machine cannot: the package is for Linux, and takes some libraries from
 *   the system
 */
export async function launchPlaywright({
  webgpu = false,
  webrtc = false,
  executable,
}: Options = {}): Promise<PlaywrightBrowser | string> {
  if (executable === undefined && process.platform !== 'linux')
    return `@sparticuz/chromium is for linux, not ${process.platform}`
  const gpu = executable === undefined ? SOFTWARE : process.platform === 'linux' ? HARDWARE : []
  try {
    return await chromium.launch({
      executablePath: executable ?? (await packedChromium()),
      timeout: 30_000,
      args: [
        '--no-sandbox',
        '--headless',
        ...(webgpu ? [...WEBGPU, ...gpu] : []),
        ...(webrtc ? WEBRTC : []),
      ],
    })
  } catch (error) {
    const missing = /error while loading shared libraries: (\S+):/.exec(String(error))
    if (!missing) throw error
    return `Chromium needs ${missing[1]} from the system: install libnss3 and libexpat1`
  }
}

async function packedChromium(): Promise<string> {
  const { default: packed } = await import('@sparticuz/chromium')
  return join(await unpacked('chromium', () => packed.executablePath()), 'chromium')
}
