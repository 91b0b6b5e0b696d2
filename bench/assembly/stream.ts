// The yardstick: the bandwidth of memory for plain wasm SIMD that does next to no arithmetic.
//
// Each probe moves as many bytes as one kind of kernel must, and no more. `streams` is the number
// of places of an array that are walked at once: 1, 2 or 4. Which is fastest depends on the
// machine. The places are as far apart as they can be; 8 KiB apart, like the rows of a kernel, is
// no faster. An iteration takes 128 bytes of each array, 32 at each of four addresses, and leaves
// out up to 31 floats at the end. Arrays are equally long and begin at multiples of 16 bytes.

/** Σ x, so that every element is read: 4 bytes an element. */
export function read(x: usize, n: i32, streams: i32): f32 {
  const by = stride(streams)
  const end = length(n, streams)
  const x1 = x + start(1, n, streams)
  const x2 = x + start(2, n, streams)
  const x3 = x + start(3, n, streams)
  // Eight sums: an addition takes four cycles, and two may begin in each. The loads go around the
  // four addresses: 3.2 ms for 64 MB on a Xeon, instead of 4.1 with both loads of one address
  // together.
  let a = f32x4.splat(0)
  let b = a
  let c = a
  let d = a
  let e = a
  let f = a
  let g = a
  let h = a
  for (let i: usize = 0; i < end; i += by) {
    a = f32x4.add(a, v128.load(x + i))
    b = f32x4.add(b, v128.load(x1 + i))
    c = f32x4.add(c, v128.load(x2 + i))
    d = f32x4.add(d, v128.load(x3 + i))
    e = f32x4.add(e, v128.load(x + i, 16))
    f = f32x4.add(f, v128.load(x1 + i, 16))
    g = f32x4.add(g, v128.load(x2 + i, 16))
    h = f32x4.add(h, v128.load(x3 + i, 16))
  }
  a = f32x4.add(f32x4.add(a, b), f32x4.add(c, d))
  e = f32x4.add(f32x4.add(e, f), f32x4.add(g, h))
  a = f32x4.add(a, e)
  return (
    f32x4.extract_lane(a, 0) +
    f32x4.extract_lane(a, 1) +
    f32x4.extract_lane(a, 2) +
    f32x4.extract_lane(a, 3)
  )
}

/** y ← 1: 4 bytes an element. */
export function write(y: usize, n: i32, streams: i32): void {
  const by = stride(streams)
  const end = length(n, streams)
  const y1 = y + start(1, n, streams)
  const y2 = y + start(2, n, streams)
  const y3 = y + start(3, n, streams)
  const one = f32x4.splat(1)
  for (let i: usize = 0; i < end; i += by) {
    v128.store(y + i, one)
    v128.store(y + i, one, 16)
    v128.store(y1 + i, one)
    v128.store(y1 + i, one, 16)
    v128.store(y2 + i, one)
    v128.store(y2 + i, one, 16)
    v128.store(y3 + i, one)
    v128.store(y3 + i, one, 16)
  }
}

/** m ← −m: read and written, 8 bytes an element. */
export function update(m: usize, n: i32, streams: i32): void {
  const by = stride(streams)
  const end = length(n, streams)
  const m1 = m + start(1, n, streams)
  const m2 = m + start(2, n, streams)
  const m3 = m + start(3, n, streams)
  for (let i: usize = 0; i < end; i += by) {
    negate(m + i)
    negate(m1 + i)
    negate(m2 + i)
    negate(m3 + i)
  }
}

/** m ← g − m: two read, one written, 12 bytes an element. */
export function accumulate(m: usize, g: usize, n: i32, streams: i32): void {
  const toG = g - m
  const by = stride(streams)
  const end = length(n, streams)
  const m1 = m + start(1, n, streams)
  const m2 = m + start(2, n, streams)
  const m3 = m + start(3, n, streams)
  for (let i: usize = 0; i < end; i += by) {
    subtract(m + i, toG)
    subtract(m1 + i, toG)
    subtract(m2 + i, toG)
    subtract(m3 + i, toG)
  }
}

/** y ← m, m ← −m: one read, two written, 12 bytes an element. */
export function settle(y: usize, m: usize, n: i32, streams: i32): void {
  const toY = y - m
  const by = stride(streams)
  const end = length(n, streams)
  const m1 = m + start(1, n, streams)
  const m2 = m + start(2, n, streams)
  const m3 = m + start(3, n, streams)
  for (let i: usize = 0; i < end; i += by) {
    copyAndNegate(m + i, toY)
    copyAndNegate(m1 + i, toY)
    copyAndNegate(m2 + i, toY)
    copyAndNegate(m3 + i, toY)
  }
}

/** Bytes from one iteration to the next, at each address. */
// @ts-ignore: decorator
@inline
function stride(streams: i32): usize {
  return 128 / <usize>streams
}

/** Where the k-th address of an array begins: in stream k·streams / 4. */
// @ts-ignore: decorator
@inline
function start(k: usize, n: i32, streams: i32): usize {
  const first = (k * <usize>streams) >> 2
  return first * length(n, streams) + ((k * 32) % stride(streams))
}

/** Bytes of a stream. */
// @ts-ignore: decorator
@inline
function length(n: i32, streams: i32): usize {
  return (<usize>n / 32) * stride(streams)
}

// @ts-ignore: decorator
@inline
function negate(m: usize): void {
  v128.store(m, f32x4.neg(v128.load(m)))
  v128.store(m, f32x4.neg(v128.load(m, 16)), 16)
}

// @ts-ignore: decorator
@inline
function subtract(m: usize, toG: usize): void {
  const g = m + toG
  v128.store(m, f32x4.sub(v128.load(g), v128.load(m)))
  v128.store(m, f32x4.sub(v128.load(g, 16), v128.load(m, 16)), 16)
}

// @ts-ignore: decorator
@inline
function copyAndNegate(m: usize, toY: usize): void {
  const a = v128.load(m)
  const b = v128.load(m, 16)
  v128.store(m + toY, a)
  v128.store(m + toY, b, 16)
  v128.store(m, f32x4.neg(a))
  v128.store(m, f32x4.neg(b), 16)
}
