// From what is embedded to the modules' bytes.
import { PACKED, PLAIN_BYTES } from './binary.ts'

/** The kernels twice, of one source. */
export interface Binaries {
  /** the same bits on every engine */
  readonly plain: Uint8Array<ArrayBuffer>
  /** fused multiply-adds, where the engine likes, in the kernels on whose bits nobody must agree */
  readonly relaxed: Uint8Array<ArrayBuffer>
}

/** What Node, Bun and Deno have, and no bundler sees. */
interface Process {
  getBuiltinModule?(
    name: 'node:zlib',
  ): { inflateRawSync(packed: Uint8Array): Uint8Array } | undefined
}

export async function unpackBinaries(): Promise<Binaries> {
  const text = atob(PACKED)
  const packed = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i)
  // Setting up streams takes Node 15 ms, its zlib one.
  const zlib = (globalThis as { process?: Process }).process?.getBuiltinModule?.('node:zlib')
  const bytes = new Uint8Array(zlib ? zlib.inflateRawSync(packed) : await inflate(packed))
  return { plain: bytes.slice(0, PLAIN_BYTES), relaxed: bytes.slice(PLAIN_BYTES) }
}

function inflate(packed: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return new Response(inflated).arrayBuffer()
}
