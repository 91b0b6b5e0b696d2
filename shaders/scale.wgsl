// x ← a·x                                         twin: assembly/scale.ts
//
// One invocation per group of four floats. Dispatch: ⌈count ÷ THREADS⌉ workgroups.

const THREADS = 256u;

struct Band {
  first: u32, // group of four
  count: u32,
  factor: f32, // a; 0 clears x, whatever it held: NaN too
}

@group(0) @binding(0) var<uniform> band: Band;
@group(0) @binding(1) var<storage, read_write> x: array<vec4f>;

@compute @workgroup_size(THREADS)
fn scale(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= (band.count + THREADS - 1u) / THREADS { return; } // before the product overflows
  if index * THREADS + thread >= band.count { return; }
  let at = band.first + index * THREADS + thread;
  if band.factor == 0.0 {
    x[at] = vec4f();
  } else {
    x[at] *= band.factor;
  }
}
