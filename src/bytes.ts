/** The bytes of an array, not copied. All hosts that this library runs on are little-endian. */
export function bytesOf(floats: Float32Array): Uint8Array {
  return new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength)
}
