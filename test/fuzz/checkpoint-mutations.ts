// Mutants of safetensors files: random bytes, values, and the JSON of the header.
import type { Dice } from './dice.ts'
import { FLOATS } from './frame-mutations.ts'

/** What metadata may say; each is set in the place of any other. */
const TEXTS: readonly string[] = [
  ...['', '0', '1', '-1', '1.5', '4294967294', '4294967295', 'NaN', 'Infinity', '1e308', '1e-320'],
  ...['[]', '{}', 'null', '[0]', '[1,0,1]', '[65535,65535,65535]', '{"next":"P"}', '{"next":"R"}'],
  ...['{"norms":"1 -1"}', '{"norms":"NaN"}', '0123456789abcdef', 'lowrank', '__proto__'],
  ...['[{"neighbour":2,"weight":1,"parent":"0123456789abcdef","turns":0,"last":null}]'],
]

/** JSON that takes the place of any value in the header. */
const VALUES: readonly unknown[] = [
  ...[null, true, '', 'F64', 'I8', -1, 0, 1, 0.5, 2 ** 32, 2 ** 53, 1e308, [], {}, [0], [1, 1]],
  ...[
    [0, 2 ** 53 - 1],
    [2 ** 32, 2 ** 32],
    [[[[[[[[[[]]]]]]]]]],
    { dtype: 'F32', shape: [], data_offsets: [0, 4] },
  ],
]

/** A mutant of a file. @param others  files that parts of it may be taken from */
export function mutatedCheckpoint(
  file: Uint8Array,
  dice: Dice,
  others: readonly Uint8Array[] = [],
): Uint8Array {
  const how = dice.below(10)
  if (how < 4) return withHeader(file, (header) => mutatedJson(header, dice), dice)
  if (how < 7) return withValues(file, dice)
  const copy = file.slice()
  if (how === 7) {
    copy[dice.below(dice.hits(0.5) ? 16 : copy.length)]! ^= 1 << dice.below(8)
    return copy
  }
  if (how === 8) {
    const cut = dice.hits(0.7) ? dice.below(copy.length + 1) : copy.length
    return Uint8Array.from([...copy.subarray(0, cut), ...(dice.hits(0.3) ? [0, 0, 0, 0] : [])])
  }
  const other = dice.pick([file, ...others])
  const at = dice.hits(0.5) ? headerEnd(file) : dice.below(file.length + 1)
  return Uint8Array.from([...file.subarray(0, at), ...other.subarray(at)])
}

function headerEnd(file: Uint8Array): number {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  return Math.min(file.length, 8 + view.getUint32(0, true))
}

/** Numbers in the data, which begin at a multiple of 4. */
function withValues(file: Uint8Array, dice: Dice): Uint8Array {
  const copy = file.slice()
  const from = headerEnd(copy)
  const view = new DataView(copy.buffer)
  const all = dice.hits(0.3)
  const value = dice.pick(FLOATS)
  for (let n = all ? 0 : dice.pick([1, 2, 8]); n > 0 && from < copy.length; n--) {
    const at = from + 4 * dice.below((copy.length - from) >> 2)
    view.setFloat32(at, dice.hits(0.5) ? value : dice.pick(FLOATS), true)
  }
  for (let at = from; all && at + 4 <= copy.length; at += 4) view.setFloat32(at, value, true)
  return copy
}

/** The file with another header text; its data stay. */
function withHeader(file: Uint8Array, change: (header: string) => string, dice: Dice): Uint8Array {
  const end = headerEnd(file)
  const text = change(new TextDecoder().decode(file.subarray(8, end)))
  const json = new TextEncoder().encode(text)
  const length = dice.hits(0.9) ? 8 * Math.ceil(json.length / 8) : json.length
  const changed = new Uint8Array(8 + length + file.length - end).fill(0x20)
  new DataView(changed.buffer).setBigUint64(0, BigInt(length), true)
  changed.set(json, 8)
  changed.set(file.subarray(end), 8 + length)
  return changed
}

type Json = Record<string, unknown>

function mutatedJson(text: string, dice: Dice): string {
  if (dice.hits(0.1)) {
    const at = dice.below(text.length)
    return (
      text.slice(0, at) + dice.pick(['"', '{', '[[[[', ',', '\\u0000', '']) + text.slice(at + 1)
    )
  }
  const header = JSON.parse(text) as Json
  header.__metadata__ ??= {}
  const metadata = header.__metadata__ as Json
  for (let n = dice.pick([1, 1, 2]); n > 0; n--) {
    const names = Object.keys(header).filter((name) => name !== '__metadata__')
    const name = dice.pick(names)
    const entry = header[name] as Json | undefined
    switch (dice.below(8)) {
      case 0:
      case 1:
      case 2: {
        const key = dice.pick([...Object.keys(metadata), 'notes', 'names', 'extra'])
        metadata[key] = dice.hits(0.9) ? dice.pick(TEXTS) : dice.pick(VALUES)
        break
      }
      case 3:
        delete metadata[dice.pick(Object.keys(metadata))]
        break
      case 4:
        if (name !== undefined) delete header[name]
        break
      case 5:
        // A digit of a number that is text: ranks, step, weight.
        for (const [key, value] of Object.entries(metadata)) {
          if (dice.hits(0.3)) {
            metadata[key] = String(value).replace(/\d/, () => String(dice.below(10)))
          }
        }
        break
      default: {
        if (entry === undefined || name === undefined) break
        const field = dice.pick(['dtype', 'shape', 'data_offsets', 'name'])
        if (field !== 'name') entry[field] = dice.pick(VALUES)
        else {
          delete header[name]
          header[dice.pick(['q/99', 'residual/0', 'p/0', '__proto__', '0'])] = entry
        }
      }
    }
  }
  const written = JSON.stringify(header)
  // A name twice in one object.
  return dice.hits(0.05) ? written.replace('{', '{"x":1,"x":2,') : written
}
