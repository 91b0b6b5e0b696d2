// One line for each wire type.
export { bf16 } from './bf16.ts'
export { f16 } from './f16.ts'
export { f32 } from './f32.ts'
export { int8 } from './int8.ts'
