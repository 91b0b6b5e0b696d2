// ONNX models of one node, written by hand: the few fields of ONNX's protobuf that a matrix product
// needs.
// https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

/** A tensor's name and shape; a string stands for any length. */
export interface Value {
  readonly name: string
  readonly shape: readonly (number | string)[]
}

/** One node, by the name of its operator. */
export interface Node {
  readonly operator: 'MatMul' | 'Gemm'
  readonly inputs: readonly string[]
  readonly output: string
  /** of Gemm: multiply by the second input's transpose */
  readonly transposeSecond?: boolean
}

/** A float32 tensor that is part of the model instead of an input. */
export interface Constant extends Value {
  readonly shape: readonly number[]
  readonly values: Float32Array
}

const FLOAT = 1 // TensorProto.DataType
const INT = 2 // AttributeProto.AttributeType
const IR_VERSION = 8
const OPSET = 17

/** The model's bytes. */
export function model(
  node: Node,
  inputs: readonly Value[],
  output: Value,
  constants: readonly Constant[] = [],
): Uint8Array {
  const attributes = node.transposeSecond
    ? [message(5, text(1, 'transB'), integer(3, 1), integer(20, INT))]
    : []
  const graph = message(
    7,
    message(
      1,
      ...node.inputs.map((name) => text(1, name)),
      text(2, node.output),
      text(4, node.operator),
      ...attributes,
    ),
    text(2, 'product'),
    ...constants.map(({ name, shape, values }) =>
      message(
        5,
        ...shape.map((n) => integer(1, n)),
        integer(2, FLOAT),
        text(8, name),
        bytes(9, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
      ),
    ),
    ...inputs.map((value) => valueInfo(11, value)),
    valueInfo(12, output),
  )
  return Buffer.concat([integer(1, IR_VERSION), graph, message(8, text(1, ''), integer(2, OPSET))])
}

function valueInfo(field: number, { name, shape }: Value): Uint8Array {
  const dims = shape.map((n) => message(1, typeof n === 'string' ? text(2, n) : integer(1, n)))
  return message(
    field,
    text(1, name),
    message(2, message(1, integer(1, FLOAT), message(2, ...dims))),
  )
}

function message(field: number, ...parts: Uint8Array[]): Uint8Array {
  return bytes(field, Buffer.concat(parts))
}

function text(field: number, value: string): Uint8Array {
  return bytes(field, Buffer.from(value))
}

function bytes(field: number, value: Uint8Array): Uint8Array {
  return Buffer.concat([varint(8 * field + 2), varint(value.length), value])
}

function integer(field: number, value: number): Uint8Array {
  return Buffer.concat([varint(8 * field), varint(value)])
}

function varint(value: number): Uint8Array {
  const digits: number[] = []
  for (; value > 127; value = Math.floor(value / 128)) digits.push((value % 128) | 128)
  return Uint8Array.from([...digits, value])
}
