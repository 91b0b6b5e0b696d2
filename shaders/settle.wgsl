// Y ← scale·P·qMeanᵀ (+ Y), M ← M − P·qLocalᵀ         twin: assembly/settle.ts
//
// The tiles are those of accumulateProject.wgsl; an invocation takes ROWS rows, and every lanes-th
// group of four columns. Products are added in the order of the ranks.
// Dispatch: one workgroup a tile of the band, for each entry point whose kind of tensor there is.

override WRITE = true; // false: only M, of all kinds of tensors; twin: assembly/residual.ts
override DEFLATE = true; // false: only Y; twin: assembly/reconstruct.ts

const WIDE_THREADS = 64u;
const ROWS = 4u;

struct SettleBand {
  first: u32,
  count: u32,
  params: u32,
  scale: f32,
  accumulate: u32, // 1: add to Y
  raw: u32, // 1: raw tensors' Y as well
}

// As in accumulateProject.wgsl.
struct Tile {
  param: u32,
  m: u32,
  row: u32,
  rows: u32,
  col: u32,
  cols: u32,
  out: u32,
  lanes: u32,
}

struct Param {
  stride: u32,
  cols: u32,
  rows: u32,
  rank: u32,
  p: u32,
  pStride: u32,
  q: u32,
  qStride: u32,
  raw: u32, // 4: its update in `qMean`, rows as far apart as in M
  at: u32, // its first element in the bound part of Y
  mode: u32,
  tensor: u32, // NONE, ZERO
}

const ALIGNED = 1u;
const F16 = 2u;
const NONE = 1u; // there is no Y: M alone
const ZERO = 2u; // the update is zero: the parameter is frozen

@group(0) @binding(0) var<uniform> band: SettleBand;
@group(0) @binding(1) var<storage, read> tiles: array<Tile>;
@group(0) @binding(2) var<storage, read> params: array<Param>;
@group(0) @binding(3) var<storage, read> p: array<vec4f>; // rows × rank, by column
@group(0) @binding(4) var<storage, read> qLocal: array<vec4f>; // cols × rank, by column
@group(0) @binding(5) var<storage, read> qMean: array<vec4f>; // the same, and raw tensors
@group(0) @binding(6) var<storage, read_write> m: array<vec4f>; // rows × cols, by row; padding is 0
@group(0) @binding(7) var<storage, read_write> y4: array<vec4f>; // rows × cols by row, without padding;
@group(0) @binding(7) var<storage, read_write> y: array<f32>; // one of these three
@group(0) @binding(7) var<storage, read_write> words: array<atomic<u32>>;

// Float tensors that are ALIGNED.
@compute @workgroup_size(WIDE_THREADS)
fn settle(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let tile = tiles[band.first + index];
  let param = params[band.params + tile.param];
  if WRITE && param.mode != ALIGNED { return; }
  let top = thread / tile.lanes * ROWS;
  for (var j = thread % tile.lanes; j < tile.cols; j += tile.lanes) {
    let update = settleRows(tile, param, top, j);
    for (var i = 0u; i < ROWS; i++) {
      if WRITE && top + i < tile.rows && writes(param) {
        let at = elementOf(tile, param, top + i, j) / 4u;
        var sum4 = band.scale * update[i];
        if band.accumulate != 0u { sum4 += y4[at]; }
        y4[at] = sum4;
      }
    }
  }
}

// Float tensors at any alignment.
@compute @workgroup_size(WIDE_THREADS)
fn settleUnaligned(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let tile = tiles[band.first + index];
  let param = params[band.params + tile.param];
  if param.mode != 0u { return; }
  let top = thread / tile.lanes * ROWS;
  for (var j = thread % tile.lanes; j < tile.cols; j += tile.lanes) {
    let update = settleRows(tile, param, top, j);
    for (var i = 0u; i < ROWS; i++) {
      if top + i < tile.rows && writes(param) {
        let at = elementOf(tile, param, top + i, j);
        for (var k = 0u; k < columnsAt(tile, param, j); k++) {
          var sum = band.scale * update[i][k];
          if band.accumulate != 0u { sum += y[at + k]; }
          y[at + k] = sum;
        }
      }
    }
  }
}

// Tensors of f16. Two share a word: each invocation changes its own half.
@compute @workgroup_size(WIDE_THREADS)
fn settleF16(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let tile = tiles[band.first + index];
  let param = params[band.params + tile.param];
  if (param.mode & F16) == 0u { return; }
  let top = thread / tile.lanes * ROWS;
  for (var j = thread % tile.lanes; j < tile.cols; j += tile.lanes) {
    let update = settleRows(tile, param, top, j);
    for (var i = 0u; i < ROWS; i++) {
      if top + i < tile.rows && writes(param) {
        let at = elementOf(tile, param, top + i, j);
        if param.mode == (ALIGNED | F16) {
          let low = settledPair(at / 2u, update[i].xy);
          let high = settledPair(at / 2u + 1u, update[i].zw);
          atomicStore(&words[at / 2u], f16Of(low.x) | (f16Of(low.y) << 16u));
          atomicStore(&words[at / 2u + 1u], f16Of(high.x) | (f16Of(high.y) << 16u));
          continue;
        }
        for (var k = 0u; k < columnsAt(tile, param, j); k++) {
          let word = (at + k) / 2u;
          let half = (at + k) & 1u;
          let sum = settledPair(word, vec2f(update[i][k]))[half];
          atomicAnd(&words[word], 0xffff0000u >> (16u * half));
          atomicOr(&words[word], f16Of(sum) << (16u * half));
        }
      }
    }
  }
}

// The two numbers of a word, settled.
fn settledPair(word: u32, update: vec2f) -> vec2f {
  var sum = band.scale * update;
  if band.accumulate != 0u { sum += unpack2x16float(atomicLoad(&words[word])); }
  return sum;
}

// Subtracts P·qLocalᵀ from ROWS rows of M; returns as many of P·qMeanᵀ, or of a raw tensor's update.
fn settleRows(tile: Tile, param: Param, top: u32, j: u32) -> array<vec4f, ROWS> {
  var update = array<vec4f, ROWS>();
  var gone = array<vec4f, ROWS>();
  for (var k = 0u; k < param.rank; k++) {
    let left = p[(param.p + k * param.pStride + tile.row + top) / 4u];
    let right = param.q + k * param.qStride + tile.col + j;
    if WRITE {
      let qMean4 = qMean[right];
      for (var i = 0u; i < ROWS; i++) { update[i] += left[i] * qMean4; }
    }
    if DEFLATE {
      let qLocal4 = qLocal[right];
      for (var i = 0u; i < ROWS; i++) { gone[i] += left[i] * qLocal4; }
    }
  }
  for (var i = 0u; i < ROWS; i++) {
    if top + i < tile.rows {
      if DEFLATE && param.rank > 0u { m[tile.m + (top + i) * param.stride + j] -= gone[i]; }
      if WRITE && param.rank == 0u && band.raw != 0u && param.tensor != ZERO {
        update[i] = qMean[param.raw + (tile.row + top + i) * param.stride + tile.col + j];
      }
    }
  }
  return update;
}

fn writes(param: Param) -> bool {
  return param.tensor != NONE && (param.rank > 0u || band.raw != 0u || param.tensor == ZERO);
}

// The index in Y of the first of four columns.
fn elementOf(tile: Tile, param: Param, row: u32, j: u32) -> u32 {
  return param.at + (tile.row + row) * param.cols + 4u * (tile.col + j);
}

// The number of these four columns that the matrix has.
fn columnsAt(tile: Tile, param: Param, j: u32) -> u32 {
  return min(4u, param.cols - 4u * (tile.col + j));
}

// f16, rounded to even, saturating. (pack2x16float may round either way.)
fn f16Of(x: f32) -> u32 {
  let bits = bitcast<u32>(clamp(x, -65504.0, 65504.0));
  let sign = (bits >> 16u) & 0x8000u;
  let size = bits & 0x7fffffffu;
  if size < 0x38800000u { // below 2⁻¹⁴: subnormal, in units of 2⁻²⁴
    let shift = min(126u - (size >> 23u), 31u);
    let mantissa = (size & 0x7fffffu) | 0x800000u;
    let whole = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let middle = 1u << (shift - 1u);
    let up = u32(rest > middle || (rest == middle && (whole & 1u) == 1u));
    return sign | (whole + up);
  }
  return sign | ((size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u);
}
