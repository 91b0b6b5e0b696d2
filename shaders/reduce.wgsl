// y ← Σ parts: adds the partial sums of accumulateProject.wgsl and backproject.wgsl
//
// A workgroup makes up to SUM_FOURS groups of four floats. SLICES invocations share each: one adds
// every SLICES-th part, and a tree adds theirs. The order is always the same.
// Dispatch: one workgroup a sum.

const SUM_FOURS = 8u;
const SLICES = 16u;

struct Band {
  first: u32,
  count: u32,
  params: u32,
}

struct Sum { // all in groups of four
  to: u32,
  first: u32, // the first part
  next: u32, // from part to part
  parts: u32,
  length: u32, // not more than SUM_FOURS
  unused0: u32,
  unused1: u32,
  unused2: u32,
}

@group(0) @binding(0) var<uniform> band: Band;
@group(0) @binding(1) var<storage, read> table: array<Sum>;
@group(0) @binding(2) var<storage, read> parts: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

var<workgroup> sums: array<vec4f, SUM_FOURS * SLICES>;

@compute @workgroup_size(SUM_FOURS * SLICES)
fn reduce(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= band.count { return; }
  let sum = table[band.first + index];
  let lane = thread % SUM_FOURS;
  let slice = thread / SUM_FOURS;
  var own = vec4f();
  if lane < sum.length {
    for (var i = slice; i < sum.parts; i += SLICES) { own += parts[sum.first + i * sum.next + lane]; }
  }
  sums[thread] = own;
  for (var width = SLICES / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if slice < width { sums[thread] += sums[thread + width * SUM_FOURS]; }
  }
  if slice == 0u && lane < sum.length { y[sum.to + lane] = sums[lane]; }
}
