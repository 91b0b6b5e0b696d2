// Σ x²                                            twin: assembly/norm.ts
//
// A workgroup takes up to NORM_FOURS groups of four floats. So that no square overflows, it scales
// them by the power of two that makes the largest 2 to 4, which is exact; numbers that vanish are below
// 2⁻⁶⁰ of it. Its sum errs by γ₁₄ at most: a square, three additions in an invocation, two across
// a group of four, eight in the tree. src/backends/webgpu/norm.ts scales back and adds up.
// Dispatch: ⌈count ÷ NORM_FOURS⌉ workgroups.

const THREADS = 256u;
const NORM_FOURS = 1024u; // groups of four floats that a workgroup takes,
const FOURS = NORM_FOURS / THREADS; // and an invocation
const MAGNITUDE = 0x7fffffffu;
const INFINITY = 0x7f800000u;

struct NormRange {
  first: u32, // group of four
  count: u32,
  to: u32, // the first sum
}

@group(0) @binding(0) var<uniform> range: NormRange;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec2u>; // a float's bits, exponent

var<workgroup> largest: atomic<u32>; // as bits, which are in the order of the numbers
var<workgroup> partial: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn norm(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * groups.x + group.x;
  if index >= (range.count + NORM_FOURS - 1u) / NORM_FOURS { return; }

  var own = array<vec4f, FOURS>();
  var size4 = vec4u();
  for (var i = 0u; i < FOURS; i++) {
    let at = (index * FOURS + i) * THREADS + thread;
    if at < range.count {
      own[i] = x[range.first + at];
      size4 = max(size4, bitcast<vec4u>(own[i]) & vec4u(MAGNITUDE));
    }
  }
  atomicMax(&largest, max(max(size4.x, size4.y), max(size4.z, size4.w)));
  workgroupBarrier();
  let size = atomicLoad(&largest);
  let exponent = clamp(size >> 23u, 1u, 254u);
  let power = bitcast<f32>((255u - exponent) << 23u);

  var sum4 = vec4f();
  for (var i = 0u; i < FOURS; i++) {
    let x4 = own[i] * power;
    sum4 += x4 * x4;
  }
  partial[thread] = (sum4.x + sum4.z) + (sum4.y + sum4.w);
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if thread < width { partial[thread] += partial[thread + width]; }
  }
  if thread == 0u {
    // NaN and infinity pass as they are.
    let bits = select(bitcast<u32>(partial[0]), size, size >= INFINITY);
    sums[range.to + index] = vec2u(bits, exponent);
  }
}
