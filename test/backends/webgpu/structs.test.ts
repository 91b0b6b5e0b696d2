// Structs and constants stand in shaders/ and in structs.ts: they must say the same.
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { uniformAt } from '../../../src/backends/webgpu/recorder.ts'
import * as structs from '../../../src/backends/webgpu/structs.ts'

const { BAND, pack, PARAM, SETTLE_BAND, TILE } = structs

/** Shaders that must have a constant of structs.ts, under the same name. */
const SHARED: Readonly<Record<string, readonly string[]>> = {
  ALIGNED: ['accumulateProject', 'settle'],
  F16: ['accumulateProject', 'settle'],
  NONE: ['accumulateProject', 'settle'],
  ZERO: ['settle'],
  WIDE_THREADS: ['accumulateProject', 'settle'],
  ROWS: ['accumulateProject', 'settle'],
  SUM_FOURS: ['reduce'],
  NORM_FOURS: ['norm'],
  SCALE_FOURS: ['scale'],
}

type Shaders = ReadonlyMap<string, string>

const folder = new URL('../../../shaders/', import.meta.url)
const shaders: Shaders = new Map(
  readdirSync(fileURLToPath(folder)).map((file) => [
    file.replace('.wgsl', ''),
    readFileSync(new URL(file, folder), 'utf8'),
  ]),
)

const test = suite('structs of shaders')

test('shaders and TypeScript have the same structs and constants', () => {
  assert.ok(shaders.size > 5)
  assert.equal(differences(shaders), [])
})

test('the check finds fields that differ', () => {
  assert.equal(planted('settle', 'rows: u32,\n  col: u32,', 'col: u32,\n  rows: u32,'), [
    'settle.wgsl: Tile has col where TILE has rows',
  ])
  assert.equal(planted('backproject', '  pStride: u32,\n', ''), [
    'backproject.wgsl: Param has q where PARAM has pStride',
  ])
  assert.equal(planted('orthonormalize', '  tensor: u32,\n', ''), [
    'orthonormalize.wgsl: Param has undefined where PARAM has tensor',
  ])
  assert.equal(planted('reduce', '  params: u32,\n', '  params: u32,\n  more: u32,\n'), [
    'reduce.wgsl: Band has more where BAND has undefined',
  ])
  assert.equal(planted('momentum', 'weightDecay: f32', 'weightDecay: u32'), [
    'momentum.wgsl: MomentumBand has weightDecay where MOMENTUM_BAND has weightDecay:f32',
  ])
  assert.equal(planted('reduce', 'length: u32,', 'length: vec2f,'), [
    'reduce.wgsl: Sum has length:vec2f where SUM has length',
  ])
})

test('the check finds structs that one side alone has', () => {
  assert.equal(planted('norm', 'struct NormRange', 'struct Range'), [
    'norm.wgsl: structs.ts has no RANGE',
    'NORM_RANGE: no shader has NormRange',
  ])
})

test('the check finds constants that differ, and those that are not there', () => {
  assert.equal(planted('settle', 'const F16 = 2u', 'const F16 = 4u'), [
    'settle.wgsl: F16 is 4, not 2',
  ])
  assert.equal(planted('scale', 'const SCALE_FOURS = 256u', 'const SCALE_FOURS = 128u'), [
    'scale.wgsl: SCALE_FOURS is 128, not 256',
  ])
  assert.equal(planted('accumulateProject', 'const ROWS = 4u;', '// const ROWS = 4u;'), [
    'accumulateProject.wgsl: ROWS is missing, not 4',
  ])
})

test('every constant of structs.ts is compared', () => {
  const numbers = Object.entries(structs).filter(([, value]) => typeof value === 'number')
  assert.equal(numbers.map(([name]) => name).sort(), Object.keys(SHARED).sort())
})

test('offsets count the fields before', () => {
  assert.equal([TILE.size, PARAM.size, structs.SUM.size], [8, 12, 8])
  assert.equal([PARAM.offset.stride, PARAM.offset.cols, PARAM.offset.mode], [0, 1, 10])
  for (const [, { fields, offset, size }] of structsOf()) {
    assert.equal(
      Object.entries(offset),
      fields.map(([name], i) => [name, i]),
    )
    assert.is(size, fields.length)
  }
})

test('uniforms fit what is bound of them, and the bands of two shaders begin alike', () => {
  const bound = uniformAt({} as GPUBuffer, 0).size!
  for (const [name, { size }] of structsOf()) {
    if (/BAND|RANGE|BATCH/.test(name)) assert.ok(4 * size <= bound, name)
  }
  assert.equal(SETTLE_BAND.fields.slice(0, BAND.size), BAND.fields)
})

test('structs are packed by names, whatever their order', () => {
  const tile = { lanes: 8, out: 7, cols: 6, col: 5, rows: 4, row: 3, m: 2, param: 1 }
  assert.equal(
    pack(TILE, [tile, { ...tile, param: 9 }]),
    Uint32Array.of(...[1, 2, 3, 4, 5, 6, 7, 8], ...[9, 2, 3, 4, 5, 6, 7, 8]),
  )
  const band = { first: -1, count: 2, params: 3, scale: -2, accumulate: true, raw: false }
  const [want, floats] = [new Uint32Array(16), Float32Array.of(-2)]
  for (const at of [0, 8]) {
    want.set([0xffff_ffff, 2, 3, new Uint32Array(floats.buffer)[0]!, 1, 0], at)
  }
  assert.equal(pack(SETTLE_BAND, [band, band], 8), want)
})

test.run()

function structsOf(): [string, structs.Struct<string>][] {
  return Object.entries<unknown>(structs).flatMap(([name, value]) =>
    typeof value === 'object' ? [[name, value as structs.Struct<string>]] : [],
  )
}

/** The differences that the check finds once a shader is changed. */
function planted(shader: string, text: string, instead: string): string[] {
  const before = shaders.get(shader)!
  assert.ok(before.replace(/ *\/\/.*/g, '').includes(text), `${shader}.wgsl has no "${text}"`)
  const after = before.replace(/ *\/\/.*/g, '').replace(text, instead)
  return differences(new Map([...shaders, [shader, after]]))
}

function differences(files: Shaders): string[] {
  const found: string[] = []
  const known = new Map(structsOf())
  const seen = new Set<string>()
  for (const [file, text] of files) {
    const bare = text.replace(/\/\/[^\n]*|\/\*.*?\*\//gs, '')
    for (const [, name, body] of bare.matchAll(/\bstruct (\w+) \{(.*?)\}/gs)) {
      const ours = name!.replace(/(?<=.)[A-Z]/g, '_$&').toUpperCase()
      const struct = known.get(ours)
      seen.add(ours)
      if (!struct) {
        found.push(`${file}.wgsl: structs.ts has no ${ours}`)
        continue
      }
      const theirs = [...body!.matchAll(/(\w+)\s*:\s*([^,]+?)\s*(?:,|$)/g)]
      const got = theirs.map(([, field, type]) => (type === 'u32' ? field! : `${field}:${type}`))
      const want = struct.fields.map((field) => field.join(':'))
      const at = Array.from({ length: Math.max(got.length, want.length) }).findIndex(
        (_, i) => got[i] !== want[i],
      )
      if (at >= 0) found.push(`${file}.wgsl: ${name} has ${got[at]} where ${ours} has ${want[at]}`)
    }
    for (const [name, names] of Object.entries(SHARED)) {
      const want = (structs as Readonly<Record<string, unknown>>)[name]
      const [, value] = bare.match(new RegExp(`\\bconst ${name} = (\\w+?)u?;`)) ?? []
      if (value === undefined ? !names.includes(file) : Number(value) === want) continue
      found.push(`${file}.wgsl: ${name} is ${value ?? 'missing'}, not ${want}`)
    }
  }
  for (const name of known.keys()) {
    if (seen.has(name)) continue
    const theirs = name.toLowerCase().replace(/(^|_)./g, (at) => at.slice(-1).toUpperCase())
    found.push(`${name}: no shader has ${theirs}`)
  }
  return found
}
