// The list of wire types, one line each.
export { bf16 } from './bf16.ts'
export { f16 } from './f16.ts'
export { f32 } from './f32.ts'
export { int8 } from './int8.ts'
