// M ← M + g, P ← M·Q                              twin: assembly/accumulateProject.ts
//
// A workgroup takes a tile: some rows of one matrix, all of its columns or as many as make one
// partial sum. An invocation takes ROWS rows, and every lanes-th group of four columns. Lanes are
// added in a tree, and reduce.wgsl adds the tiles beside each other: the order is always the same.
// Dispatch: one workgroup a tile of the band.

override ADD = true; // false: P ← M·Q of M as it is; twin: assembly/project.ts
override SIGN = 1.0; // −1: subtracts a g that was added before
override RANKS = 4u; // columns of Q that are taken at a time: 1, 2 or 4

const WIDE_THREADS = 64u;
const ROWS = 4u; // that an invocation takes
// Gradient and matrix must stay below 2¹⁰⁰, here as bits. assembly/accumulateProject.ts says why.
const LIMIT = 0x71800000u;
const MAGNITUDE = 0x7fffffffu;

// src/backends/webgpu/ writes these structs: structs.ts names their fields once more. Offsets count
// floats; those marked 4, groups of four.
struct Band {
  first: u32, // tile
  count: u32,
  params: u32, // the first Param of this band
}

struct Tile {
  param: u32,
  m: u32, // 4: its first element in the bound part of M
  row: u32, // first row, a multiple of 4
  rows: u32,
  col: u32, // 4: first column
  cols: u32, // 4
  out: u32, // its partial sums
  lanes: u32, // invocations beside each other along a row: a power of two
}

struct Param {
  stride: u32, // 4: from row to row of M
  cols: u32,
  rows: u32,
  rank: u32, // 0: raw, M + g alone
  p: u32,
  pStride: u32, // from column to column
  q: u32, // 4
  qStride: u32, // 4
  raw: u32, // 4
  at: u32, // its first element in the bound part of g, counted in elements of its type
  mode: u32, // ALIGNED, F16
  unused: u32,
}

const ALIGNED = 1u; // rows are whole groups of four, and each group begins at a multiple of four
const F16 = 2u; // two in a word: an aligned group need only begin with a word

@group(0) @binding(0) var<uniform> band: Band;
@group(0) @binding(1) var<storage, read> tiles: array<Tile>;
@group(0) @binding(2) var<storage, read> params: array<Param>;
@group(0) @binding(3) var<storage, read> q: array<vec4f>; // cols × rank, by column
@group(0) @binding(4) var<storage, read> g4: array<vec4u>; // rows × cols by row, without padding,
@group(0) @binding(5) var<storage, read> g: array<u32>; // and the same as single words
@group(0) @binding(6) var<storage, read_write> m: array<vec4f>; // rows × cols, by row; padding is 0
@group(0) @binding(7) var<storage, read_write> parts: array<f32>; // for each row of tiles: rows × rank, by column
@group(0) @binding(8) var<storage, read_write> refused: atomic<u32>; // ← 1 where something is too large

// Half of the lanes hand their sums to the other half. With room for all of them, a step would take one
// barrier instead of two; but 16 KB for 256 invocations keep some devices from running many at once.
var<workgroup> sums: array<vec4f, ROWS * WIDE_THREADS / 2u>;

@compute @workgroup_size(WIDE_THREADS)
fn accumulateProject(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let tile = tiles[band.first + index];
  let param = params[band.params + tile.param];
  let lane = thread % tile.lanes;
  let top = thread / tile.lanes * ROWS;
  var largest = 0u;

  for (var first = 0u; first == 0u || first < param.rank; first += RANKS) {
    var own = array<vec4f, ROWS>(); // by row, of up to four columns of Q
    for (var j = lane; j < tile.cols; j += tile.lanes) {
      var right = array<vec4f, 4>();
      for (var k = 0u; k < RANKS; k++) {
        if first + k < param.rank {
          right[k] = q[param.q + (first + k) * param.qStride + tile.col + j];
        }
      }
      for (var i = 0u; i < ROWS; i++) {
        if top + i < tile.rows {
          let at = tile.m + (top + i) * param.stride + j;
          var m4 = m[at];
          if ADD && first == 0u { // later columns of Q find the sum in M
            let word4 = gradient(param, tile.row + top + i, tile.col + j);
            let size4 = word4 & vec4u(MAGNITUDE);
            m4 += SIGN * select(vec4f(0), bitcast<vec4f>(word4), size4 < vec4u(LIMIT));
            m[at] = m4;
            let sum4 = max(size4, bitcast<vec4u>(m4) & vec4u(MAGNITUDE));
            largest = max(largest, max(max(sum4.x, sum4.y), max(sum4.z, sum4.w)));
          }
          own[i].x += dot(m4, right[0]);
          if RANKS > 1u { own[i].y += dot(m4, right[1]); }
          if RANKS > 2u {
            own[i].z += dot(m4, right[2]);
            own[i].w += dot(m4, right[3]);
          }
        }
      }
    }
    if param.rank == 0u { break; }

    for (var width = tile.lanes / 2u; width > 0u; width /= 2u) {
      let seat = thread / tile.lanes * (tile.lanes / 2u) + lane % width;
      workgroupBarrier(); // what was there has been read
      if lane >= width && lane < 2u * width {
        for (var i = 0u; i < ROWS; i++) { sums[seat * ROWS + i] = own[i]; }
      }
      workgroupBarrier();
      if lane < width {
        for (var i = 0u; i < ROWS; i++) { own[i] += sums[seat * ROWS + i]; }
      }
    }
    if lane == 0u {
      for (var i = 0u; i < ROWS; i++) {
        for (var k = 0u; k < RANKS; k++) {
          if top + i < tile.rows && first + k < param.rank {
            let at = tile.out + (first + k) * param.pStride + top + i;
            parts[at] = own[i][k];
          }
        }
      }
    }
  }
  if largest >= LIMIT { atomicStore(&refused, 1u); }
}

// The bits of g at columns 4c … 4c + 3 of a row; 0 past its end.
fn gradient(param: Param, row: u32, c: u32) -> vec4u {
  let at = param.at + row * param.cols + 4u * c;
  if param.mode == ALIGNED { return g4[at / 4u]; }
  if param.mode == (ALIGNED | F16) {
    let low = g[at / 2u];
    let high = g[at / 2u + 1u];
    return vec4u(
      wordOf(low & 0xffffu), wordOf(low >> 16u), wordOf(high & 0xffffu), wordOf(high >> 16u),
    );
  }
  var word4 = vec4u();
  for (var j = 0u; j < 4u; j++) {
    if 4u * c + j < param.cols {
      if param.mode == F16 {
        word4[j] = wordOf((g[(at + j) / 2u] >> (16u * ((at + j) & 1u))) & 0xffffu);
      } else {
        word4[j] = g[at + j];
      }
    }
  }
  return word4;
}

// The bits of an f16 as float32: if it is not finite, those of a NaN.
fn wordOf(bits: u32) -> u32 {
  return select(MAGNITUDE, bitcast<u32>(unpack2x16float(bits).x), (bits & 0x7c00u) != 0x7c00u);
}
