// M ← M + g, P ← M·Q                              twin: assembly/accumulateProject.ts
//
// A workgroup takes a tile: some rows of one matrix, all of its columns or as many as make one
// partial sum. An invocation takes ROWS rows, and every lanes-th group of four columns. Lanes are
// added in a tree, and reduce.wgsl adds the tiles beside each other: the order is always the same.
// Dispatch: one workgroup a tile of the band.
//
// `withdraw` takes g out again: M is then what it was, e, to 1e-6 of the largest |e| of each block, the
// ROWS rows and four columns that an invocation adds at a time. (e + g) − g is as accurate while no |g|
// of the block exceeds 8 times its largest |e|, or if all its e are 0. Other blocks are *kept*: a bit is
// set, e is copied, then g is added. Where there is no room for copies, M stays e, until the CPU has made
// room and runs `keep`. So an ordinary step neither reads nor writes more.

override ADD = true; // false: P ← M·Q of M as it is; twin: assembly/project.ts
override KEEP = true; // false: there is no room for copies at all
override RANKS = 4u; // columns of Q that are taken at a time: 1, 2 or 4

const WIDE_THREADS = 64u;
const ROWS = 4u; // that an invocation takes
// Gradient and matrix must stay below 2¹⁰⁰, here as bits. assembly/accumulateProject.ts says why.
const LIMIT = 0x71800000u;
const MAGNITUDE = 0x7fffffffu;
const NORMAL = 0x00800000u; // the smallest normal number
const EIGHTFOLD = 0x01800000u; // added to the bits of a normal number, multiplies it by 8

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
  tensor: u32, // NONE
}

const ALIGNED = 1u; // rows are whole groups of four, and each group begins at a multiple of four
const F16 = 2u; // two in a word: an aligned group need only begin with a word
const NONE = 1u; // there is no g: zeros

@group(0) @binding(0) var<uniform> band: Band;
@group(0) @binding(1) var<storage, read> tiles: array<Tile>;
@group(0) @binding(2) var<storage, read> params: array<Param>;
@group(0) @binding(3) var<storage, read> q: array<vec4f>; // cols × rank, by column
@group(0) @binding(4) var<storage, read> g4: array<vec4u>; // rows × cols by row, without padding,
@group(0) @binding(5) var<storage, read> g: array<u32>; // and the same as single words
@group(0) @binding(6) var<storage, read_write> m: array<vec4f>; // rows × cols, by row; padding is 0
@group(0) @binding(7) var<storage, read_write> parts: array<f32>; // for each row of tiles: rows × rank, by column
// Of the blocks that are kept. Four words, see below; a bit for each group of four floats of M, set at the
// first group of a block; copies of M's first groups of four, as many as there is room for.
@group(0) @binding(8) var<storage, read_write> kept: array<atomic<u32>>;

const REFUSED = 0u; // ← 1 if an element of g or M + g is too large
const REACH = 1u; // 4: where in M the last block ends that is kept
const BEFORE = 2u; // 4: the room before the CPU has made more
const BITS = 4u;

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
  let rows = min(tile.rows - min(tile.rows, top), ROWS);
  var largest = 0u;
  var reach = 0u;

  for (var first = 0u; first == 0u || first < param.rank; first += RANKS) {
    var own = array<vec4f, ROWS>(); // by row, of up to four columns of Q
    for (var j = lane; j < tile.cols; j += tile.lanes) {
      let at = tile.m + top * param.stride + j;
      var m4 = array<vec4f, ROWS>();
      for (var i = 0u; i < ROWS; i++) {
        if i < rows { m4[i] = m[at + i * param.stride]; }
      }
      if ADD && first == 0u {
        var e4 = vec4u();
        var g4 = vec4u();
        var sum4 = vec4u();
        for (var i = 0u; i < ROWS; i++) {
          if i >= rows { break; }
          let word4 = gradient(param, tile.row + top + i, tile.col + j);
          e4 = max(e4, bitcast<vec4u>(m4[i]) & vec4u(MAGNITUDE));
          g4 = max(g4, word4 & vec4u(MAGNITUDE));
          m4[i] += bitcast<vec4f>(word4);
          sum4 = max(sum4, bitcast<vec4u>(m4[i]) & vec4u(MAGNITUDE));
        }
        let e = largestOf(e4);
        let g = largestOf(g4);
        let size = max(g, largestOf(sum4));
        largest = max(largest, size);
        if size < LIMIT && (e == 0u || g <= select(0u, e + EIGHTFOLD, e >= NORMAL)) {
          for (var i = 0u; i < ROWS; i++) {
            if i < rows { m[at + i * param.stride] = m4[i]; }
          }
        } else if rows > 0u {
          atomicOr(&kept[BITS + at / 32u], 1u << (at % 32u));
          reach = max(reach, endOf(at, rows, param));
        }
      }

      var right = array<vec4f, 4>();
      for (var k = 0u; k < RANKS; k++) {
        if first + k < param.rank {
          right[k] = q[param.q + (first + k) * param.qStride + tile.col + j];
        }
      }
      for (var i = 0u; i < ROWS; i++) {
        own[i].x += dot(m4[i], right[0]);
        if RANKS > 1u { own[i].y += dot(m4[i], right[1]); }
        if RANKS > 2u {
          own[i].z += dot(m4[i], right[2]);
          own[i].w += dot(m4[i], right[3]);
        }
      }
    }
    if ADD && KEEP && first == 0u && reach > 0u { keepBlocks(tile, param, thread, 0u); }
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
          if rows > 0u && first + k < param.rank { // padding below the last row: 0
            let at = tile.out + (first + k) * param.pStride + top + i;
            parts[at] = own[i][k];
          }
        }
      }
    }
  }
  if largest >= LIMIT { atomicStore(&kept[REFUSED], 1u); }
  if reach > 0u { atomicMax(&kept[REACH], reach); }
}

// Takes g out of M.
@compute @workgroup_size(WIDE_THREADS)
fn withdraw(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let tile = tiles[band.first + index];
  let param = params[band.params + tile.param];
  let top = thread / tile.lanes * ROWS;
  if top >= tile.rows { return; }
  let rows = min(tile.rows - top, ROWS);
  for (var j = thread % tile.lanes; j < tile.cols; j += tile.lanes) {
    let at = tile.m + top * param.stride + j;
    let copied = isKept(at);
    if copied && endOf(at, rows, param) > room() { continue; } // never added
    for (var i = 0u; i < rows; i++) {
      let here = at + i * param.stride;
      if copied {
        m[here] = copyOf(here);
      } else {
        m[here] -= bitcast<vec4f>(gradient(param, tile.row + top + i, tile.col + j));
      }
    }
  }
}

// Copies and adds the blocks for which there was no room.
@compute @workgroup_size(WIDE_THREADS)
fn keep(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let tile = tiles[band.first + index];
  keepBlocks(tile, params[band.params + tile.param], thread, atomicLoad(&kept[BEFORE]));
}

// Copies an invocation's blocks that are kept and for which there is room, beyond `before`; adds g.
fn keepBlocks(tile: Tile, param: Param, thread: u32, before: u32) {
  let top = thread / tile.lanes * ROWS;
  if top >= tile.rows { return; }
  let rows = min(tile.rows - top, ROWS);
  for (var j = thread % tile.lanes; j < tile.cols; j += tile.lanes) {
    let at = tile.m + top * param.stride + j;
    let end = endOf(at, rows, param);
    if !isKept(at) || end <= before || end > room() { continue; }
    for (var i = 0u; i < rows; i++) {
      let here = at + i * param.stride;
      let m4 = m[here];
      let words = bitcast<vec4u>(m4);
      for (var k = 0u; k < 4u; k++) { atomicStore(&kept[copies() + 4u * here + k], words[k]); }
      m[here] = m4 + bitcast<vec4f>(gradient(param, tile.row + top + i, tile.col + j));
    }
  }
}

fn largestOf(x4: vec4u) -> u32 { return max(max(x4.x, x4.y), max(x4.z, x4.w)); }

// Where a block ends in M.
fn endOf(at: u32, rows: u32, param: Param) -> u32 { return at + (rows - 1u) * param.stride + 1u; }

fn isKept(at: u32) -> bool { return extractBits(atomicLoad(&kept[BITS + at / 32u]), at % 32u, 1u) != 0u; }

// The first word of the copies; src/backends/webgpu/kept.ts computes it, too.
fn copies() -> u32 { return (BITS + (arrayLength(&m) + 31u) / 32u + 3u) / 4u * 4u; }

// Groups of four that there is room for.
fn room() -> u32 { return (arrayLength(&kept) - copies()) / 4u; }

fn copyOf(at: u32) -> vec4f {
  let base = copies() + 4u * at;
  var words = vec4u();
  for (var k = 0u; k < 4u; k++) { words[k] = atomicLoad(&kept[base + k]); }
  return bitcast<vec4f>(words);
}

// The bits of g at columns 4c … 4c + 3 of a row; 0 past its end.
fn gradient(param: Param, row: u32, c: u32) -> vec4u {
  if param.tensor == NONE { return vec4u(); }
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
