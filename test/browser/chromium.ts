// A headless Chromium from npm, unpacked once into build/ and driven by playwright-core.
//
// Version 153 may hang in WebGPU. A debugger shows the page's main thread waiting for a mutex that
// it holds itself, and all other threads idle. It seems that the thread handles the GPU process's
// replies in the middle of a call that waits for room for commands. We saw this every second time
// after a test that made a gigabyte of garbage.
import { join } from 'node:path'
import { chromium, type Browser as PlaywrightBrowser } from 'playwright-core'
import { unpacked } from '../../scripts/packed.ts'
import { type Browser, closed, type Process } from './tab.ts'

export interface Options {
  /** with WebGPU, on the SwiftShader that Chromium brings along */
  readonly webgpu?: boolean
  /** with addresses that WebRTC finds */
  readonly webrtc?: boolean
  /** path of another Chromium or Chrome: its WebGPU is on the system's GPU */
  readonly executable?: string
}

/** WebGPU with timestamps in full precision. */
const WEBGPU = ['--enable-unsafe-webgpu', '--disable-dawn-features=timestamp_quantization']
const SOFTWARE = ['--use-webgpu-adapter=swiftshader']
/**
 * WebRTC shows addresses, not names: multicast DNS resolves the names, and containers may not let
 * it through. (WebRTC in Chromium never uses the loopback interface; on one machine, too, it takes
 * another.)
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
      await page.goto(url, { timeout: 0 }) // 0: none, for run.ts ends what stalls
      return {
        evaluate: (run, value) => page.evaluate(run as () => never, value),
        close: () => page.close(),
      }
    },
    processes,
    close: () => closed(launched.close(), id),
  }
}

/**
 * Starts the browser as playwright's own object, for pages that reload themselves.
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
      timeout: 0,
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
