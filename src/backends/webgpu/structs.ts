// The structs and constants that shaders/ and this folder share, under the same names: Tile in WGSL is
// TILE here. test/backends/webgpu/structs.test.ts compares them.

/** A struct of one word a field. */
export interface Struct<Field extends string> {
  /** in order; those without a type are u32 */
  readonly fields: readonly (readonly [name: Field, type?: 'f32'])[]
  /** words before each field */
  readonly offset: Readonly<Record<Field, number>>
  /** words */
  readonly size: number
}

/** Values of all fields but those that only fill space. */
export type FieldValues<Field extends string> = Readonly<
  Record<Exclude<Field, `unused${string}`>, number | boolean>
>

type FieldsOf<Text extends string> = Text extends `${infer First} ${infer Rest}`
  ? FieldsOf<First> | FieldsOf<Rest>
  : Text extends `${infer Name}:f32`
    ? Name
    : Text

function struct<const Text extends string>(text: Text): Struct<FieldsOf<Text>> {
  const fields = text.split(' ').map((field) => field.split(':') as [FieldsOf<Text>, 'f32'?])
  const offset = Object.fromEntries(fields.map(([name], i) => [name, i]))
  return { fields, offset: offset as Record<FieldsOf<Text>, number>, size: fields.length }
}

/** A part of a matrix that one workgroup takes. */
export const TILE = struct('param m row rows col cols out lanes')

/** A parameter: its shape, and where its operands lie. */
export const PARAM = struct('stride cols rows rank p pStride q qStride raw at mode tensor')

/** A few floats of a factor, and the partial sums that make them. */
export const SUM = struct('to first next parts length unused0 unused1 unused2')

/** The uniform of a dispatch over tiles, or sums. */
export const BAND = struct('first count params')

/** The same for settle.wgsl. It begins as BAND does: accumulateProject.wgsl reads the same tables. */
export const SETTLE_BAND = struct('first count params scale:f32 accumulate raw')

/** The uniform of norm.wgsl, and that of scale.wgsl. */
export const NORM_RANGE = struct('first count to')
export const SCALE_RANGE = struct('first count factor:f32')

/** The uniform of orthonormalize.wgsl. */
export const BATCH = struct('count seed step')

/** The uniform of momentum.wgsl, and its tiles. */
export const MOMENTUM_BAND = struct('first count learningRate:f32 momentum:f32 weightDecay:f32')
export const MOMENTUM_TILE = struct('x g m length')

/** Bits of PARAM's mode: rows are whole, aligned groups of four; elements are f16. */
export const ALIGNED = 1
export const F16 = 2

/** PARAM's tensor: there is none; or it is a frozen parameter's, whose update is zero. */
export const NONE = 1
export const ZERO = 2

/** Invocations of accumulateProject.wgsl and settle.wgsl, and the rows that each takes. */
export const WIDE_THREADS = 64
export const ROWS = 4

/** Groups of four floats that a workgroup takes: of reduce.wgsl, at most; of norm.wgsl; of scale.wgsl. */
export const SUM_FOURS = 8
export const NORM_FOURS = 1024
export const SCALE_FOURS = 256

/**
 * Structs as shaders read them.
 *
 * @param stride  words from one to the next
 */
export function pack<Field extends string>(
  { fields, size }: Struct<Field>,
  structs: readonly FieldValues<Field>[],
  stride = size,
): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(stride * structs.length)
  const floats = new Float32Array(words.buffer)
  for (const [i, values] of structs.entries()) {
    for (const [k, [name, type]] of fields.entries()) {
      // A typed array takes true for 1, and undefined, which unused fields are, for 0.
      const view = type ? floats : words
      view[stride * i + k] = (values as Record<Field, number>)[name]
    }
  }
  return words
}
