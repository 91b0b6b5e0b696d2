// x ← a·x                                         twin: assembly/scale.ts
//
// One invocation per group of four floats. Dispatch: ⌈count ÷ SCALE_FOURS⌉ workgroups.

const SCALE_FOURS = 256u;

struct ScaleRange {
  first: u32, // group of four
  count: u32,
  factor: f32, // a; 0 clears x, whatever it held: NaN too
}

@group(0) @binding(0) var<uniform> range: ScaleRange;
@group(0) @binding(1) var<storage, read_write> x: array<vec4f>;

@compute @workgroup_size(SCALE_FOURS)
fn scale(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= (range.count + SCALE_FOURS - 1u) / SCALE_FOURS { return; } // before the product overflows
  if index * SCALE_FOURS + thread >= range.count { return; }
  let at = range.first + index * SCALE_FOURS + thread;
  if range.factor == 0.0 {
    x[at] = vec4f();
  } else {
    x[at] *= range.factor;
  }
}
