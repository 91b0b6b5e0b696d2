// P ← an orthonormal basis of its own columns     twin: assembly/orthonormalize.ts
//
// One workgroup per matrix; an invocation takes every THREADS-th row. Gram–Schmidt by blocks of four
// former columns, repeated until a turn finds next to nothing: whatever the condition number,
//
//   |pᵢ·pⱼ| ≤ 4.5 u   |pᵢ·pᵢ − 1| ≤ 3 u   (u = 2⁻²⁴; rows up to 2¹⁶)
//
// as long as float32 products and sums are rounded once. There is no float64 here, and sums of 50,000
// float32 would be too coarse for that, nor may a compiler of WGSL be trusted with compensated ones:
// so sums are kept in fixed point, as whole units in integers and the rest of a unit in a float.
// They err by less than u·Σ|x·y|, for the rounding of the products, and the order of the
// invocations does not matter: a device gives the same bits each time.
//
// Zero and dependent columns, and those that are not finite, become seeded ones, orthogonal to
// those before them. Columns are scaled by powers of two first: nothing depends on the scale.
// Subnormal numbers may count as 0. The padding of columns is neither read nor written.
// Dispatch: one workgroup a matrix.

const THREADS = 256u;
const MAGNITUDE = 0x7fffffffu;
const ONE = 0x1p29; // units in 1: sums of products of unit vectors stay below 2³¹
const PARTS = 0x1p22; // of a unit

// A column depends on those before it if no more than this part of its length is left when they are
// projected out: 2⁻¹⁸ = 64 u. Rounding leaves up to 8 u of a copy, where assembly's float64 leaves less;
// at a condition number of 1e5 there are 160 u.
const DEPENDENT = 0x1p-18;

// A turn that takes no more than this from a column of length 1, as a sum of squares, was its last:
// what it took goes wrong by 4.5 u·√rank, at 2⁻⁶ of the length half a u for 64 columns.
const SETTLED = 0x1p-12;
// Three are enough: the first leaves errors of 8 u ÷ 2⁻¹⁸ at most, the second of u or so.
const TURNS = 4u;
// Random columns of as many rows hardly ever depend on each other twice.
const ATTEMPTS = 16u;

struct Band {
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
  unused: u32,
}

@group(0) @binding(0) var<uniform> band: Band;
@group(0) @binding(1) var<storage, read> params: array<Param>;
@group(0) @binding(2) var<storage, read_write> left: array<f32>; // rows × rank, by column

var<workgroup> wholes: array<atomic<i32>, 4>;
var<workgroup> parts: array<atomic<i32>, 4>;
var<workgroup> total: vec4f;
var<workgroup> largest: atomic<u32>;
var<workgroup> size: u32;

@compute @workgroup_size(THREADS)
fn orthonormalize(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let param = params[index];
  // An invocation writes the rows that it reads, and no others: storage needs no barriers.
  for (var k = 0u; k < param.rank; k++) {
    if independent(param, k, thread) { continue; }
    for (var attempt = 0u; attempt < ATTEMPTS; attempt++) {
      let stream = hash(hash(hash(hash(band.seed, band.step), index), k), attempt);
      for (var i = thread; i < param.rows; i += THREADS) {
        left[param.p + k * param.pStride + i] = uniformOf(hash(stream, i));
      }
      if independent(param, k, thread) { break; }
    }
  }
}

// Makes column k orthogonal to those before it and 1 long; false if it depends on them.
fn independent(param: Param, k: u32, thread: u32) -> bool {
  let length = normalize(param, k, thread);
  if length == 0.0 { return false; }
  var rest = 1.0; // of its length
  for (var turn = 0u; turn < TURNS; turn++) {
    var taken = 0.0;
    for (var j = 0u; j < k; j += 4u) {
      let amount4 = project(param, k, j, thread);
      taken += dot(amount4, amount4);
    }
    if k > 0u { rest *= normalize(param, k, thread); }
    if rest <= DEPENDENT { return false; }
    if taken <= SETTLED {
      correct(param, k, thread);
      return true;
    }
  }
  return false;
}

// Subtracts from column k its projections on columns j … j + 3, as far as they come before it.
// Returns what it multiplied them by; 0 for the others.
fn project(param: Param, k: u32, j: u32, thread: u32) -> vec4f {
  let column = param.p + k * param.pStride;
  // In place of columns that are not there, the last one: their amounts are 0.
  let former4 = param.p + min(j + vec4u(0, 1, 2, 3), vec4u(k - 1u)) * param.pStride;
  var whole4: vec4i;
  var rest4: vec4f;
  for (var i = thread; i < param.rows; i += THREADS) {
    let units4 = left[column + i] * formers(former4, i) * ONE;
    let trunc4 = trunc(units4);
    whole4 += vec4i(trunc4);
    rest4 += units4 - trunc4;
  }
  let amount4 = sum(whole4, rest4, min(k - j, 4u), thread) / ONE;
  for (var i = thread; i < param.rows; i += THREADS) {
    left[column + i] -= dot(amount4, formers(former4, i));
  }
  return amount4;
}

fn formers(former4: vec4u, i: u32) -> vec4f {
  return vec4f(left[former4.x + i], left[former4.y + i], left[former4.z + i], left[former4.w + i]);
}

// Makes column k 1 long, but for rows ÷ 256 · u: `correct` does the rest. Returns its length, which
// is right to 4 u or rows ÷ 256 · u between 2⁻¹²⁵ and 1, and greater than 0 outside of that; 0 if it
// is zero or not finite.
fn normalize(param: Param, k: u32, thread: u32) -> f32 {
  let column = param.p + k * param.pStride;
  var own = 0u;
  for (var i = thread; i < param.rows; i += THREADS) {
    own = max(own, bitcast<u32>(left[column + i]) & MAGNITUDE);
  }
  atomicMax(&largest, own);
  workgroupBarrier();
  if thread == 0u { size = atomicExchange(&largest, 0u); }
  let exponent = workgroupUniformLoad(&size) >> 23u;
  if exponent == 0u || exponent == 255u { return 0.0; }

  let power = bitcast<f32>((255u - exponent) << 23u); // makes the largest 2 to 4
  let unit = bitcast<f32>((152u - firstLeadingBit(param.rows)) << 23u); // rows · 16 are below 2³⁰ of 1 ÷ unit
  var whole = 0;
  var rest = 0.0;
  for (var i = thread; i < param.rows; i += THREADS) {
    let x = left[column + i] * power;
    let units = x * x * unit;
    whole += i32(units);
    rest += units - trunc(units);
  }
  let square = sum(vec4i(whole), vec4f(rest), 1u, thread).x / unit;
  let factor = inverseSqrt(square);
  for (var i = thread; i < param.rows; i += THREADS) {
    left[column + i] = (left[column + i] * power) * factor;
  }
  return sqrt(square) * bitcast<f32>((clamp(exponent, 2u, 128u) - 1u) << 23u);
}

// x ← x + x·(1 − x·x) ÷ 2, for a column that is almost 1 long: sqrt and division are not exact in
// WGSL. 1 is taken away while the sum is in integers, and so nothing of the difference is lost.
fn correct(param: Param, k: u32, thread: u32) {
  let column = param.p + k * param.pStride;
  var whole = select(0, -i32(ONE), thread == 0u);
  var rest = 0.0;
  for (var i = thread; i < param.rows; i += THREADS) {
    let units = left[column + i] * left[column + i] * ONE;
    whole += i32(units);
    rest += units - trunc(units);
  }
  let excess = sum(vec4i(whole), vec4f(rest), 1u, thread).x / ONE;
  for (var i = thread; i < param.rows; i += THREADS) {
    left[column + i] += left[column + i] * (-0.5 * excess);
  }
}

// Adds up what all invocations hold: whole units and the rest, in the first `lanes` of four lanes.
fn sum(whole4: vec4i, rest4: vec4f, lanes: u32, thread: u32) -> vec4f {
  let trunc4 = trunc(rest4);
  let more4 = whole4 + vec4i(trunc4);
  let part4 = vec4i((rest4 - trunc4) * PARTS);
  for (var lane = 0u; lane < lanes; lane++) {
    atomicAdd(&wholes[lane], more4[lane]);
    atomicAdd(&parts[lane], part4[lane]);
  }
  workgroupBarrier();
  if thread == 0u {
    var sum4: vec4f;
    for (var lane = 0u; lane < lanes; lane++) {
      let whole = f32(atomicExchange(&wholes[lane], 0)); // and cleared for the next sum
      sum4[lane] = whole + f32(atomicExchange(&parts[lane], 0)) / PARTS;
    }
    total = sum4;
  }
  return workgroupUniformLoad(&total);
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
