// A module for shared memory, from the same bytes: its import says whether its memory is shared;
// instructions, and all else, are the same for both.

const IMPORTS = 2 // the section's number
const MEMORY = 2 // the import's kind
const SHARED = 3 // flags: it has a maximum, and is shared
const MOST_PAGES = [0x80, 0x80, 0x04] // 65,536, all 4 GiB, in LEB128

/**
 * The module with its one import, a memory, shared.
 *
 * @throws Error  if the module is not as scripts/build.ts makes it
 */
export function shareable(module: Uint8Array): Uint8Array<ArrayBuffer> {
  let at = 8 // after magic and version
  const number = () => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++] ?? 0
      value |= (byte & 127) << shift
      if (byte < 128) return value
    }
  }
  const skip = (length: number) => {
    at += length
  }
  while (at < module.length) {
    const section = at
    const id = module[at++]
    const end = number() + at
    if (id !== IMPORTS) {
      at = end
      continue
    }
    const begin = at
    const count = number()
    skip(number()) // 'env'
    skip(number()) // 'memory'
    const kind = module[at++]
    if (count !== 1 || kind !== MEMORY || module[at] !== 0) break
    const least = module.subarray(at + 1, end)
    const content = [...module.subarray(begin, at), SHARED, ...least, ...MOST_PAGES]
    return Uint8Array.from([
      ...module.subarray(0, section),
      ...[IMPORTS, ...leb128(content.length), ...content],
      ...module.subarray(end),
    ])
  }
  throw new Error('the module does not import one memory, not shared and without a maximum')
}

function leb128(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb128(value >> 7)]
}
