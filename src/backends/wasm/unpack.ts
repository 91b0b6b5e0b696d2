// Unpacks the embedded modules.
import { UnsupportedError } from '../../errors.ts'
import { PACKED, PLAIN_BYTES } from './binary.ts'

/** The two modules, compiled from the same source. */
export interface Binaries {
  /** its results have the same bits on every engine */
  readonly plain: Uint8Array<ArrayBuffer>
  /** multiply-adds may be fused in the kernels whose bits workers need not agree on */
  readonly relaxed: Uint8Array<ArrayBuffer>
}

/** The part of `process` in Node, Bun and Deno that loads a built-in module unseen by bundlers. */
interface Process {
  getBuiltinModule?(
    name: 'node:zlib',
  ): { inflateRawSync(packed: Uint8Array): Uint8Array } | undefined
}

/** Unpacks both modules. */
export async function unpackBinaries(): Promise<Binaries> {
  const text = atob(PACKED)
  const packed = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i)
  // Node's zlib takes 1 ms. DecompressionStream takes 15 ms there, to set up streams.
  const zlib = (globalThis as { process?: Process }).process?.getBuiltinModule?.('node:zlib')
  const bytes = new Uint8Array(zlib ? zlib.inflateRawSync(packed) : await inflate(packed))
  return { plain: bytes.slice(0, PLAIN_BYTES), relaxed: bytes.slice(PLAIN_BYTES) }
}

/** @throws UnsupportedError  if this host has no streams that inflate */
async function inflate(packed: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  try {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
    return await new Response(stream).arrayBuffer()
  } catch (cause) {
    // An inflate of our own would be 0.6 kB in every bundle, for browsers of before 2023 alone.
    throw new UnsupportedError(
      "this host has no DecompressionStream('deflate-raw') to unpack WebAssembly with: give " +
        'wasm({ module }) lowrank/lowrank.wasm, compiled',
      { cause },
    )
  }
}
