// Serves the ring's page until it is interrupted.
import { createRequire } from 'node:module'
import { networkInterfaces } from 'node:os'
import { Command, InvalidArgumentError } from 'commander'
import { readText } from '../demo/text.ts'
import { serveRing } from './server.ts'

const command = new Command('webrtc')
  .description('Serves a page whose tabs train one model in a ring, over WebRTC.')
  .option('-n, --tabs <n>', 'tabs that make a ring', integer(2, 64), 4)
  .option('-s, --steps <n>', 'training steps', integer(1, 1_000_000), 500)
  .option('-p, --port <n>', 'where it listens; 0: any that is free', integer(0, 65_535), 8080)
  .option('--host <address>', 'where it listens; 0.0.0.0 lets other machines in', '127.0.0.1')
  .option('-t, --text <paths...>', 'what to read instead of lib.dom.d.ts, as in the demo')
  .allowExcessArguments(false)
  .parse()
const { tabs, steps, port, host, text } = command.opts()
try {
  const lib = createRequire(import.meta.url).resolve('typescript/lib/lib.dom.d.ts')
  const server = await serveRing({ host, port, tabs, steps, text: readText(text ?? [lib]) })
  for (const address of host === '0.0.0.0' ? addresses() : [host]) {
    console.log(`open http://${address}:${server.port}${server.path} in ${tabs} tabs`)
  }
} catch (error) {
  process.stderr.write(`webrtc: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
}

function addresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((some) => some ?? [])
  return all.filter(({ family }) => family === 'IPv4').map(({ address }) => address)
}

function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= least && value <= most) return value
    throw new InvalidArgumentError(`Expected an integer from ${least} to ${most}.`)
  }
}
