// m ← momentum·m + d, x ← x − learningRate·(d + m)     twin: assembly/momentum.ts
// with d = g + weightDecay·x
//
// A workgroup takes a tile: a few thousand floats of one parameter. An invocation takes every
// THREADS-th of them, so that neighbours read neighbours at any alignment.
// Dispatch: one workgroup a tile of the band.

const THREADS = 256u;

struct MomentumBand {
  first: u32, // tile
  count: u32,
  learningRate: f32,
  momentum: f32, // 0: x ← x − learningRate·d, and m is neither read nor written
  weightDecay: f32,
}

struct MomentumTile { // offsets count floats in the bound part of a buffer
  x: u32,
  g: u32,
  m: u32,
  length: u32,
}

@group(0) @binding(0) var<uniform> band: MomentumBand;
@group(0) @binding(1) var<storage, read> tiles: array<MomentumTile>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // the parameters
@group(0) @binding(3) var<storage, read> g: array<f32>; // the update
@group(0) @binding(4) var<storage, read_write> m: array<f32>; // the momentum

@compute @workgroup_size(THREADS)
fn momentum(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let tile = tiles[band.first + index];
  for (var i = thread; i < tile.length; i += THREADS) {
    let now = x[tile.x + i];
    var d = g[tile.g + i] + band.weightDecay * now;
    if band.momentum > 0.0 {
      let velocity = band.momentum * m[tile.m + i] + d;
      m[tile.m + i] = velocity;
      d += velocity;
    }
    x[tile.x + i] = now - band.learningRate * d;
  }
}
