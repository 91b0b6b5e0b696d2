// One section, in a process of its own: node --import tsx bench/child.ts SECTION SETTINGS
import type { Settings } from './effort.ts'
import { type Message, SECTIONS } from './sections.ts'

const [name, settings] = process.argv.slice(2)
const send = (message: Message) => process.send!(message)
const alone = () => process.exit(1) // the parent has gone
process.on('disconnect', alone)

try {
  const section = await SECTIONS[name!]!.load()
  await section(JSON.parse(settings!) as Settings, {
    progress: (progress) => send({ progress }),
    table: (table) => send({ table }),
    skip: (skip) => send({ skip }),
  })
} catch (error) {
  console.error(error)
  send({ failed: error instanceof Error ? error.message : `${error}` })
}
process.off('disconnect', alone)
process.disconnect()
