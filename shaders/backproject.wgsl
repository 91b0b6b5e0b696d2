// Q ← Mᵀ·P                                        twin: assembly/backproject.ts
//
// A workgroup takes a tile: some rows of one matrix, and a few of its columns. An invocation takes
// one group of four columns, and every n-th four rows. Those are added in a tree, and reduce.wgsl adds
// the tiles below each other: the order is always the same.
// Dispatch: one workgroup a tile of the band.

override RANKS = 4u; // columns of P that are taken at a time: 1, 2, 4 or 8

const THREADS = 128u;

// As in accumulateProject.wgsl.
struct Band {
  first: u32,
  count: u32,
  params: u32,
}

struct Tile {
  param: u32,
  m: u32,
  row: u32,
  rows: u32,
  col: u32,
  cols: u32, // 4: not more than lanes
  out: u32, // 4: its partial sums
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
  raw: u32,
  at: u32,
  mode: u32,
  tensor: u32,
}

@group(0) @binding(0) var<uniform> band: Band;
@group(0) @binding(1) var<storage, read> tiles: array<Tile>;
@group(0) @binding(2) var<storage, read> params: array<Param>;
@group(0) @binding(3) var<storage, read> p: array<vec4f>; // rows × rank, by column
@group(0) @binding(4) var<storage, read> m: array<vec4f>; // rows × cols, by row; padding is 0
@group(0) @binding(5) var<storage, read_write> parts: array<vec4f>; // for each column of tiles: cols × rank, by column

// Half of the teams hand their sums to the other half, four columns of P at a time.
var<workgroup> sums: array<vec4f, 4 * THREADS / 2u>;

@compute @workgroup_size(THREADS)
fn backproject(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let tile = tiles[band.first + index];
  let param = params[band.params + tile.param];
  let lane = thread % tile.lanes;
  let team = thread / tile.lanes;
  let teams = THREADS / tile.lanes;

  for (var first = 0u; first < param.rank; first += RANKS) {
    var own = array<vec4f, 8>(); // by column of P
    if lane < tile.cols {
      for (var i = 4u * team; i < tile.rows; i += 4u * teams) {
        var m4 = array<vec4f, 4>(); // by row; 0 below the last
        for (var r = 0u; r < 4u; r++) {
          if i + r < tile.rows { m4[r] = m[tile.m + (i + r) * param.stride + lane]; }
        }
        for (var k = 0u; k < RANKS; k++) {
          if first + k < param.rank {
            let left = p[(param.p + (first + k) * param.pStride + tile.row + i) / 4u];
            own[k] += left.x * m4[0] + left.y * m4[1] + left.z * m4[2] + left.w * m4[3];
          }
        }
      }
    }
    for (var width = teams / 2u; width > 0u; width /= 2u) {
      let seat = (team % width) * tile.lanes + lane;
      for (var some = 0u; some < RANKS; some += 4u) {
        workgroupBarrier(); // what was there has been read
        if team >= width && team < 2u * width {
          for (var k = 0u; k < 4u; k++) { sums[4u * seat + k] = own[some + k]; }
        }
        workgroupBarrier();
        if team < width {
          for (var k = 0u; k < 4u; k++) { own[some + k] += sums[4u * seat + k]; }
        }
      }
    }
    if team == 0u && lane < tile.cols {
      for (var k = 0u; k < RANKS; k++) {
        if first + k < param.rank {
          parts[tile.out + (first + k) * param.qStride + lane] = own[k];
        }
      }
    }
  }
}
