// How values get from frames into float64 sums, wire type by wire type: decoded on the way, never to a
// place of their own. That would take as long again: f16, then summed, took 5.1 ns a value in
// `aggregate` where f32 takes 3.9, int8 5.5.
import { meaningsOf } from './codes.ts'
import { Blocks, isScale } from './floats.ts'
import type { Frame } from './frame.ts'
import { CHUNK_VALUES, createNear } from './near.ts'

/**
 * sums ← sums + weight · values, for the next n values, at most a chunk; and up to three sums more. Where a
 * value, or a block's scale, is none, there comes a sum that is not finite.
 */
export type Adder = (sums: Float64Array, n: number) => void

/** Adders for these frames, in their order: four neighbours alike take one load and store of each sum. */
export function addersOf(frames: readonly Frame[]): Adder[] {
  const adders: Adder[] = []
  for (let k = 0; k < frames.length; ) {
    const { type } = frames[k]!
    const four = frames.slice(k, k + 4).filter((frame) => frame.type === type)
    if (four.length === 4) {
      adders.push(
        type === 'f32' ? fourFloats(four) : type === 'int8' ? fourBlocks(four) : fourCodes(four),
      )
      k += 4
    } else {
      const one = frames[k++]!
      adders.push(type === 'f32' ? floats(one) : type === 'int8' ? blocks(one) : codes(one))
    }
  }
  return adders
}

function fourFloats(frames: readonly Frame[]): Adder {
  const weights = frames.map(({ weight }) => weight)
  const near = frames.map(nearer(4))
  const [a, b, c, d] = near.map((one) => one.near.floats)
  return (sums, n) => {
    for (const one of near) one.next(n)
    addFourFloats(sums, n, a!, b!, c!, d!, weights)
  }
}

function fourCodes(frames: readonly Frame[]): Adder {
  const weights = frames.map(({ weight }) => weight)
  const meanings = meaningsOf(frames[0]!.type === 'f16' ? 'f16' : 'bf16')
  const near = frames.map(nearer(2))
  const [a, b, c, d] = near.map((one) => one.near.halves)
  return (sums, n) => {
    for (const one of near) one.next(n)
    addFourCodes(sums, n, meanings, a!, b!, c!, d!, weights)
  }
}

function floats(frame: Frame): Adder {
  const { near, next } = nearer(4)(frame)
  return (sums, n) => {
    next(n)
    addFloats(sums, n, near.floats, frame.weight)
  }
}

function codes(frame: Frame): Adder {
  const meanings = meaningsOf(frame.type === 'f16' ? 'f16' : 'bf16')
  const { near, next } = nearer(2)(frame)
  return (sums, n) => {
    next(n)
    addCodes(sums, n, meanings, near.halves, frame.weight)
  }
}

function fourBlocks(frames: readonly Frame[]): Adder {
  const weights = frames.map(({ weight }) => weight)
  const [a, b, c, d] = frames.map(({ values }) => new Blocks(values))
  const scales = [0, 0, 0, 0]
  return (sums, n) => {
    for (let to = 0; to < n; ) {
      const inA = a!.next(n - to)
      const inB = b!.next(inA)
      const inC = c!.next(inB)
      const some = d!.next(inC)
      a!.back(inA - some) // none, but for frames that were cut in unlike places
      b!.back(inB - some)
      c!.back(inC - some)
      scales[0] = a!.scale
      scales[1] = b!.scale
      scales[2] = c!.scale
      scales[3] = d!.scale
      addFourBlocks(sums, to, some, a!, b!, c!, d!, weights)
      if (!scales.every(isScale)) sums[to] = Number.NaN
      to += some
    }
  }
}

function blocks({ values, weight }: Frame): Adder {
  const all = new Blocks(values)
  return (sums, n) => {
    for (let to = 0; to < n; ) {
      const some = all.next(n - to)
      addBlock(sums, to, some, all.bytes, all.at, all.scale, weight)
      if (!isScale(all.scale)) sums[to] = Number.NaN
      to += some
    }
  }
}

/** Brings the next n values of so many bytes each near. */
function nearer(size: number) {
  return ({ values }: Frame) => {
    const near = createNear(size * CHUNK_VALUES)
    let at = 0
    const next = (n: number) => {
      near.bytes.set(values.subarray(at, at + size * n))
      at += size * n
    }
    return { near, next }
  }
}

function addFloats(sums: Float64Array, n: number, x: Float32Array, weight: number): void {
  for (let i = 0; i < n; i += 4) {
    sums[i] = sums[i]! + x[i]! * weight
    sums[i + 1] = sums[i + 1]! + x[i + 1]! * weight
    sums[i + 2] = sums[i + 2]! + x[i + 2]! * weight
    sums[i + 3] = sums[i + 3]! + x[i + 3]! * weight
  }
}

function addCodes(
  sums: Float64Array,
  n: number,
  meanings: Float32Array,
  x: Uint16Array,
  weight: number,
): void {
  for (let i = 0; i < n; i++) sums[i] = sums[i]! + meanings[x[i]!]! * weight
}

function addFourFloats(
  sums: Float64Array,
  n: number,
  a: Float32Array,
  b: Float32Array,
  c: Float32Array,
  d: Float32Array,
  weights: readonly number[],
): void {
  const [wa, wb, wc, wd] = [weights[0]!, weights[1]!, weights[2]!, weights[3]!]
  for (let i = 0; i < n; i++) {
    sums[i] = sums[i]! + a[i]! * wa + b[i]! * wb + c[i]! * wc + d[i]! * wd
  }
}

function addFourCodes(
  sums: Float64Array,
  n: number,
  meanings: Float32Array,
  a: Uint16Array,
  b: Uint16Array,
  c: Uint16Array,
  d: Uint16Array,
  weights: readonly number[],
): void {
  const [wa, wb, wc, wd] = [weights[0]!, weights[1]!, weights[2]!, weights[3]!]
  for (let i = 0; i < n; i++) {
    sums[i] =
      sums[i]! +
      meanings[a[i]!]! * wa +
      meanings[b[i]!]! * wb +
      meanings[c[i]!]! * wc +
      meanings[d[i]!]! * wd
  }
}

/** n sums from `to` on ← themselves + scale · byte, as a float32, · weight */
function addBlock(
  sums: Float64Array,
  to: number,
  n: number,
  bytes: Int8Array,
  at: number,
  scale: number,
  weight: number,
): void {
  for (let i = 0; i < n; i++) {
    sums[to + i] = sums[to + i]! + Math.fround(scale * bytes[at + i]!) * weight
  }
}

function addFourBlocks(
  sums: Float64Array,
  to: number,
  n: number,
  a: Blocks,
  b: Blocks,
  c: Blocks,
  d: Blocks,
  weights: readonly number[],
): void {
  const [wa, wb, wc, wd] = [weights[0]!, weights[1]!, weights[2]!, weights[3]!]
  const [xa, xb, xc, xd] = [a.bytes, b.bytes, c.bytes, d.bytes]
  const [ia, ib, ic, id] = [a.at, b.at, c.at, d.at]
  const [sa, sb, sc, sd] = [a.scale, b.scale, c.scale, d.scale]
  for (let i = 0; i < n; i++) {
    sums[to + i] =
      sums[to + i]! +
      Math.fround(sa * xa[ia + i]!) * wa +
      Math.fround(sb * xb[ib + i]!) * wb +
      Math.fround(sc * xc[ic + i]!) * wc +
      Math.fround(sd * xd[id + i]!) * wd
  }
}
