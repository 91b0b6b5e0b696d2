// Readers of the data sets. They are parts of the originals; their READMEs say which parts.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** Tiny Shakespeare, whole, in its customary parts. */
export interface Text {
  /**
   * how many different characters there are; a character is stored as its index among them, sorted
   */
  readonly symbols: number
  /** the first 90 % */
  readonly train: Uint8Array
  /** the last 10 % */
  readonly heldOut: Uint8Array
}

export interface Images {
  /** one after another: 32 rows of 32 pixels of red, green, blue; 0 … 255 */
  readonly pixels: Uint8Array
  /** 0 … 9, one for each */
  readonly labels: Uint8Array
}

export const SHAKESPEARE = ['tinyshakespeare/input.txt.gz']

const CIFAR_TRAIN = [
  'cifar10/data_batch_1.first4000.bin.gz',
  ...[2, 3, 4, 5].map((batch) => `cifar10/data_batch_${batch}.first1017.bin.gz`),
]
const CIFAR_TEST = ['cifar10/test_batch.first1017.bin.gz']
export const CIFAR = [...CIFAR_TRAIN, ...CIFAR_TEST]

const SIDE = 32
const PLANE = SIDE * SIDE

/** @throws Error  if the file is missing or has another format */
export function readShakespeare(data: string): Text {
  const text = unpack(data, SHAKESPEARE[0]!)
  const alphabet = [...new Set(text)].sort((a, b) => a - b)
  const place = new Uint8Array(256)
  for (const [i, byte] of alphabet.entries()) place[byte] = i
  const places = Uint8Array.from(text, (byte) => place[byte]!)
  const end = Math.floor(0.9 * places.length)
  return {
    symbols: alphabet.length,
    train: places.subarray(0, end),
    heldOut: places.subarray(end),
  }
}

/**
 * Reads 8,068 of CIFAR-10's training images and 1,017 of its test images.
 *
 * @throws Error  if a file is missing or has another format
 */
export function readCifar(data: string): { train: Images; test: Images } {
  return { train: images(data, CIFAR_TRAIN), test: images(data, CIFAR_TEST) }
}

/** Reads records of a label and three planes of pixels. */
function images(data: string, files: readonly string[]): Images {
  const bytes = Buffer.concat(files.map((file) => unpack(data, file)))
  const recordBytes = 1 + 3 * PLANE
  const count = bytes.length / recordBytes
  if (!Number.isInteger(count)) {
    throw new Error(`${files.join(', ')}: expected records of ${recordBytes} bytes`)
  }
  const pixels = new Uint8Array(count * 3 * PLANE)
  const labels = new Uint8Array(count)
  for (let i = 0; i < count; i++) {
    labels[i] = bytes[i * recordBytes]!
    for (let colour = 0; colour < 3; colour++) {
      const from = i * recordBytes + 1 + colour * PLANE
      for (let j = 0; j < PLANE; j++) pixels[(i * PLANE + j) * 3 + colour] = bytes[from + j]!
    }
  }
  return { pixels, labels }
}

function unpack(data: string, file: string): Buffer {
  return gunzipSync(readFileSync(join(data, file)))
}
