import * as assert from 'uvu/assert'

/** Reads a safetensors file, with a parser that shares nothing with the library's. */
export interface Saved {
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, { readonly shape: number[]; readonly data: Float32Array }>
}

export function readState(bytes: Uint8Array): Saved {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)))
  const { __metadata__: metadata = {}, ...rest } = header
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>()
  for (const [name, entry] of Object.entries(rest)) {
    const { dtype, shape, data_offsets } = entry as {
      dtype: string
      shape: number[]
      data_offsets: [number, number]
    }
    if (dtype === 'U8') continue // only recordings have it, and no test reads it
    assert.ok(['F32', 'I32'].includes(dtype), `${name}: ${dtype}`)
    const [from, to] = data_offsets.map((at) => at + 8 + length)
    tensors.set(name, { shape, data: new Float32Array(bytes.slice(from, to).buffer) })
  }
  return { metadata, tensors }
}

/** Writes a safetensors file, also without the library; without metadata unless some is given. */
export function writeState(
  tensors: Readonly<Record<string, { shape: number[]; data: Float32Array }>>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {}
  let at = 0
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + data.byteLength] }
    at += data.byteLength
  }
  let text = JSON.stringify(header)
  text += ' '.repeat((8 - (text.length % 8)) % 8)
  const bytes = new Uint8Array(8 + text.length + at)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
  bytes.set(new TextEncoder().encode(text), 8)
  at = 8 + text.length
  for (const { data } of Object.values(tensors)) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at)
    at += data.byteLength
  }
  return bytes
}
