// Makes the module for shared memory out of the one for ordinary memory. The two differ only in the
// flags and limits of the imported memory.

const IMPORTS = 2 // id of the import section
const MEMORY = 2 // kind of an import: a memory
const SHARED = 3 // flags of its limits: it has a maximum, and is shared
const MOST_PAGES = [0x80, 0x80, 0x04] // 65,536 pages, all 4 GiB, in LEB128

/**
 * Rewrites a module so that the memory it imports is shared, with a maximum of 4 GiB.
 *
 * @throws Error  unless the module has one import, a memory that is not shared and has no maximum
 */
export function shareable(module: Uint8Array): Uint8Array<ArrayBuffer> {
  let at = 8 // behind magic and version
  /** Reads an unsigned LEB128 number. */
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
