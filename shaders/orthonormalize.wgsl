// P ← an orthonormal basis of its own columns     twin: assembly/orthonormalize.ts
//
// One workgroup per matrix; an invocation takes every THREADS-th row. Classical Gram–Schmidt,
// repeated on each column until a turn finds next to nothing: then, whatever the condition number,
//
//   |pᵢ·pⱼ| ≤ 4.5 u   |pᵢ·pᵢ − 1| ≤ 3.1 u   (u = 2⁻²⁴; up to 2¹⁶ rows, rank 64)
//
// There is no float64 here, sums of 50,000 float32 would be too coarse, and a compiler of WGSL may
// simplify compensated ones. So sums are kept in fixed point, whole units in integers and the rest
// of a unit in a float: they err by u·Σ|x·y|, for the rounding of the products, and hardly more.
// And they do not depend on the order of the invocations: a device gives the same bits each time.
//
// Zero and dependent columns, and those that are not finite, become seeded ones, orthogonal to
// those before them. Columns are scaled by powers of two first: nothing depends on the scale.
// Subnormal numbers may count as 0. The padding of columns is neither read nor written.
// Dispatch: one workgroup a matrix.

const THREADS = 256u; // and columns that are projected out at a time
const MAGNITUDE = 0x7fffffffu;
const ONE = 0x1p29; // units in 1: sums of products of unit vectors stay below 2³¹
const PARTS = 0x1p22; // of a unit

// A column depends on those before it if no more than this part of its length is left when they
// are projected out: 2⁻¹⁸ = 64 u. Rounding leaves some u of a copy (half a u in assembly, which has
// float64 and takes 2⁻²⁰); at a condition number of 1e5 there are 160 u.
const DEPENDENT = 0x1p-18;

// The last turn is the one whose amounts are all at most this. It leaves of a former column: u for
// the sum, u for the subtraction, 2 u for the scaling that follows; and for 64 columns up to
// u ÷ 3 for adding up what is subtracted, u ÷ 14 since those columns are not quite orthogonal.
const SETTLED = 0x1p-12;
// Three are enough: the first leaves a few u ÷ DEPENDENT at most, the second a few u.
const TURNS = 4u;
// A random column hardly ever depends on others once, if there are more rows than those.
const ATTEMPTS = 16u;

struct Batch {
  count: u32, // matrices
  seed: u32,
  step: u32,
}

// As in accumulateProject.wgsl.
struct Param {
  stride: u32,
  cols: u32,
  rows: u32,
  rank: u32, // not more than rows; 0: no matrix
  p: u32,
  pStride: u32, // from column to column
  q: u32,
  qStride: u32,
  raw: u32,
  at: u32,
  mode: u32,
  tensor: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> params: array<Param>;
@group(0) @binding(2) var<storage, read_write> left: array<f32>; // rows × rank, by column

var<workgroup> wholes: array<atomic<i32>, THREADS>; // sums, one or a column's each: units,
var<workgroup> parts: array<atomic<i32>, THREADS>; // and parts of one
var<workgroup> amounts: array<f32, THREADS>;
var<workgroup> total: f32;
var<workgroup> largest: atomic<u32>;
var<workgroup> most: u32;

@compute @workgroup_size(THREADS)
fn orthonormalize(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= batch.count { return; }
  let param = params[index];
  // An invocation writes the rows that it reads, and no others: storage needs no barriers.
  for (var k = 0u; k < param.rank; k++) {
    if independent(param, k, thread) { continue; }
    for (var attempt = 0u; attempt < ATTEMPTS; attempt++) {
      let stream = hash(hash(hash(hash(batch.seed, batch.step), index), k), attempt);
      for (var i = thread; i < param.rows; i += THREADS) {
        left[param.p + k * param.pStride + i] = uniformOf(hash(stream, i));
      }
      if independent(param, k, thread) { break; }
    }
  }
}

// Makes column k orthogonal to those before it and 1 long; false if it depends on them.
fn independent(param: Param, k: u32, thread: u32) -> bool {
  if normalize(param, k, thread) == 0.0 { return false; }
  var rest = 1.0; // of its length
  for (var turn = 0u; turn < TURNS; turn++) {
    let amount = project(param, k, thread);
    if k > 0u { rest *= normalize(param, k, thread); }
    if rest <= DEPENDENT { return false; }
    if amount <= SETTLED {
      correct(param, k, thread);
      return true;
    }
  }
  return false;
}

// Subtracts from column k its projections on those before it. Returns the largest of the amounts.
fn project(param: Param, k: u32, thread: u32) -> f32 {
  let column = param.p + k * param.pStride;
  var size = 0u;
  for (var first = 0u; first < k; first += THREADS) {
    let count = min(k - first, THREADS);
    for (var j = 0u; j < count; j += 4u) {
      let former4 = formers(param, first + j, k);
      // Without a value, a variable keeps that of the last time round on some devices (SwiftShader).
      var whole4 = vec4i();
      var rest4 = vec4f();
      for (var i = thread; i < param.rows; i += THREADS) {
        let units4 = left[column + i] * rowOf(former4, i) * ONE;
        whole4 += vec4i(units4);
        rest4 += units4 - trunc(units4);
      }
      for (var lane = 0u; lane < 4u; lane++) { add(j + lane, whole4[lane], rest4[lane]); }
    }
    workgroupBarrier();
    let amount = take(thread) / ONE;
    amounts[thread] = select(0.0, amount, thread < count);
    size = max(size, maximum(bitcast<u32>(amounts[thread]) & MAGNITUDE, thread));
    for (var i = thread; i < param.rows; i += THREADS) {
      var gone = 0.0;
      for (var j = 0u; j < count; j += 4u) {
        let amount4 = vec4f(amounts[j], amounts[j + 1u], amounts[j + 2u], amounts[j + 3u]);
        gone += dot(amount4, rowOf(formers(param, first + j, k), i));
      }
      left[column + i] -= gone;
    }
  }
  return bitcast<f32>(size);
}

// Where columns j … j + 3 begin. In place of those that do not come before k, the one that does:
// their amounts are 0.
fn formers(param: Param, j: u32, k: u32) -> vec4u {
  return param.p + min(j + vec4u(0, 1, 2, 3), vec4u(k - 1u)) * param.pStride;
}

fn rowOf(former4: vec4u, i: u32) -> vec4f {
  return vec4f(left[former4.x + i], left[former4.y + i], left[former4.z + i], left[former4.w + i]);
}

// Makes column k 1 long, to 4 u + rows ÷ 256 · u: `correct` does the rest. Returns its length, as
// exactly, where that is between 2⁻¹²⁵ and 1, and some number above 0 where it is not; 0 for a
// column that is zero or not finite.
fn normalize(param: Param, k: u32, thread: u32) -> f32 {
  let column = param.p + k * param.pStride;
  var own = 0u;
  for (var i = thread; i < param.rows; i += THREADS) {
    own = max(own, bitcast<u32>(left[column + i]) & MAGNITUDE);
  }
  let exponent = maximum(own, thread) >> 23u;
  if exponent == 0u || exponent == 255u { return 0.0; }

  let power = bitcast<f32>((255u - exponent) << 23u); // makes the largest 2 to 4, squares below 16
  let unit = bitcast<f32>((152u - firstLeadingBit(param.rows)) << 23u); // and sums below 2³⁰
  var whole = 0;
  var rest = 0.0;
  for (var i = thread; i < param.rows; i += THREADS) {
    let x = left[column + i] * power;
    let units = x * x * unit;
    whole += i32(units);
    rest += units - trunc(units);
  }
  let square = sum(whole, rest, thread) / unit;
  let factor = inverseSqrt(square);
  for (var i = thread; i < param.rows; i += THREADS) {
    left[column + i] = (left[column + i] * power) * factor;
  }
  return sqrt(square) * bitcast<f32>((clamp(exponent, 2u, 128u) - 1u) << 23u);
}

// x ← x + x·(1 − x·x) ÷ 2, for a column that is almost 1 long: WGSL's roots are not exact. The 1 is
// taken away while the sum is in integers, so that nothing of the difference is lost.
fn correct(param: Param, k: u32, thread: u32) {
  let column = param.p + k * param.pStride;
  var whole = select(0, -i32(ONE), thread == 0u);
  var rest = 0.0;
  for (var i = thread; i < param.rows; i += THREADS) {
    let units = left[column + i] * left[column + i] * ONE;
    whole += i32(units);
    rest += units - trunc(units);
  }
  let excess = sum(whole, rest, thread) / ONE;
  for (var i = thread; i < param.rows; i += THREADS) {
    left[column + i] += left[column + i] * (-0.5 * excess);
  }
}

// The sum of what all invocations hold: whole units, and the rest.
fn sum(whole: i32, rest: f32, thread: u32) -> f32 {
  add(0u, whole, rest);
  workgroupBarrier();
  if thread == 0u { total = take(0u); }
  return workgroupUniformLoad(&total);
}

fn add(slot: u32, whole: i32, rest: f32) {
  atomicAdd(&wholes[slot], whole + i32(rest));
  atomicAdd(&parts[slot], i32((rest - trunc(rest)) * PARTS));
}

// Reads a sum, and clears it for the next.
fn take(slot: u32) -> f32 {
  let whole = f32(atomicExchange(&wholes[slot], 0));
  return whole + f32(atomicExchange(&parts[slot], 0)) / PARTS;
}

// The largest of what all invocations hold.
fn maximum(own: u32, thread: u32) -> u32 {
  atomicMax(&largest, own);
  workgroupBarrier();
  if thread == 0u { most = atomicExchange(&largest, 0u); }
  return workgroupUniformLoad(&most);
}

// A number in (−1, 1), never 0.
fn uniformOf(word: u32) -> f32 {
  return (f32(bitcast<i32>(word) >> 8u) + 0.5) * 0x1p-23;
}

// Mixes a word into a state, with the finalizer of MurmurHash3.
fn hash(state: u32, word: u32) -> u32 {
  var h = state * 0x9e3779b1u + word + 0x7f4a7c15u;
  h = (h ^ (h >> 16u)) * 0x85ebca6bu;
  h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
  return h ^ (h >> 16u);
}
