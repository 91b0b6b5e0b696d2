// The same operations in C for AVX2 and FMA, one thread: what the processor gives to native code.
//
//   native --can                              exit status 0 if this processor has AVX2 and FMA
//   native ROWS COLS MILLISECONDS RANK...     one JSON array on standard output; ranks 1, 2 and 4
//
// Probes first: each moves what one kind of kernel must move, at 1, 2 or 4 places of its arrays at
// once. Then kernels, each checked on some elements against sums in double before it is timed.
// Matrices by row; factors column by column, as in the package.
#define _POSIX_C_SOURCE 200809L
#include <immintrin.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef long index_t;
#define INLINE static inline __attribute__((always_inline))
#define MOST_SAMPLES 4096
#define STRIP 1024 // columns: what four rows of M and four strips of Q take of the first cache

static index_t rows, cols, n;
static float *m, *g, *y, *p, *q, *own, *out;
static volatile float sink;

// ---- probes: eight vectors of each array in an iteration, spread over the streams

typedef enum { READ, WRITE, UPDATE, ACCUMULATE, SETTLE } mix_t;

INLINE __m256 touch(mix_t mix, index_t at, __m256 sum) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  if (mix == WRITE) {
    _mm256_storeu_ps(y + at, sign);
    return sum;
  }
  const __m256 x = _mm256_loadu_ps(m + at);
  if (mix == READ) return _mm256_add_ps(sum, x);
  if (mix == ACCUMULATE) {
    _mm256_storeu_ps(m + at, _mm256_sub_ps(_mm256_loadu_ps(g + at), x));
  } else {
    if (mix == SETTLE) _mm256_storeu_ps(y + at, x);
    _mm256_storeu_ps(m + at, _mm256_xor_ps(sign, x));
  }
  return sum;
}

INLINE void probe(mix_t mix, int streams) {
  const index_t part = n / 64 * 64 / streams, by = 64 / streams;
  __m256 sums[8];
  for (int k = 0; k < 8; k++) sums[k] = _mm256_setzero_ps();
  for (index_t i = 0; i < part; i += by) {
    for (int k = 0; k < 8; k++) {
      const index_t stream = k * streams / 8, within = 8 * k % by;
      sums[k] = touch(mix, stream * part + i + within, sums[k]);
    }
  }
  __m256 sum = sums[0];
  for (int k = 1; k < 8; k++) sum = _mm256_add_ps(sum, sums[k]);
  sink = _mm256_cvtss_f32(sum);
}

#define PROBES(NAME, MIX)                    \
  static void NAME##1(void) { probe(MIX, 1); } \
  static void NAME##2(void) { probe(MIX, 2); } \
  static void NAME##4(void) { probe(MIX, 4); }
PROBES(read, READ)
PROBES(write, WRITE)
PROBES(update, UPDATE)
PROBES(accumulate, ACCUMULATE)
PROBES(settle, SETTLE)

// ---- kernels: R is a constant in each use, so that its loops vanish

INLINE float total(__m256 x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// p <- m q; if `add`, m <- m + g first: two rows (r = 4) or four at a time.
INLINE void projected(const int R, const int ROWS, int add, index_t i) {
  __m256 sums[4][4];
  float tails[4][4] = {{0}};
  for (int a = 0; a < ROWS; a++)
    for (int k = 0; k < R; k++) sums[a][k] = _mm256_setzero_ps();
  index_t j = 0;
  for (; j + 8 <= cols; j += 8) {
    __m256 right[4];
    for (int k = 0; k < R; k++) right[k] = _mm256_loadu_ps(q + k * cols + j);
    for (int a = 0; a < ROWS; a++) {
      float *at = m + (i + a) * cols + j;
      __m256 x = _mm256_loadu_ps(at);
      if (add) {
        x = _mm256_add_ps(x, _mm256_loadu_ps(g + (i + a) * cols + j));
        _mm256_storeu_ps(at, x);
      }
      for (int k = 0; k < R; k++) sums[a][k] = _mm256_fmadd_ps(x, right[k], sums[a][k]);
    }
  }
  for (; j < cols; j++) {
    for (int a = 0; a < ROWS; a++) {
      float *at = m + (i + a) * cols + j;
      if (add) *at += g[(i + a) * cols + j];
      for (int k = 0; k < R; k++) tails[a][k] += *at * q[k * cols + j];
    }
  }
  for (int a = 0; a < ROWS; a++)
    for (int k = 0; k < R; k++) p[k * rows + i + a] = total(sums[a][k]) + tails[a][k];
}

INLINE void project(const int R, int add) {
  const int ROWS = R == 4 ? 2 : 4;
  index_t i = 0;
  for (; i + ROWS <= rows; i += ROWS) projected(R, ROWS, add, i);
  for (; i < rows; i++) projected(R, 1, add, i);
}

// out <- mᵀ p: a strip of columns at a time, down four rows at once.
INLINE void backprojected(const int R, const int ROWS, index_t i, index_t from, index_t to) {
  // At most eight factors of p fit the registers beside the rest.
  const int GROUP = R == 4 && ROWS == 4 ? 2 : R;
  for (int k0 = 0; k0 < R; k0 += GROUP) {
    __m256 left[4][4];
    for (int a = 0; a < ROWS; a++)
      for (int k = 0; k < GROUP; k++) left[a][k] = _mm256_set1_ps(p[(k0 + k) * rows + i + a]);
    index_t j = from;
    for (; j + 8 <= to; j += 8) {
      __m256 sums[4];
      for (int k = 0; k < GROUP; k++) sums[k] = _mm256_loadu_ps(out + (k0 + k) * cols + j);
      for (int a = 0; a < ROWS; a++) {
        const __m256 x = _mm256_loadu_ps(m + (i + a) * cols + j);
        for (int k = 0; k < GROUP; k++) sums[k] = _mm256_fmadd_ps(x, left[a][k], sums[k]);
      }
      for (int k = 0; k < GROUP; k++) _mm256_storeu_ps(out + (k0 + k) * cols + j, sums[k]);
    }
    for (; j < to; j++)
      for (int a = 0; a < ROWS; a++)
        for (int k = k0; k < k0 + GROUP; k++)
          out[k * cols + j] += m[(i + a) * cols + j] * p[k * rows + i + a];
  }
}

INLINE void backproject(const int R) {
  memset(out, 0, sizeof(float) * R * cols);
  for (index_t from = 0; from < cols; from += STRIP) {
    const index_t to = from + STRIP < cols ? from + STRIP : cols;
    index_t i = 0;
    for (; i + 4 <= rows; i += 4) backprojected(R, 4, i, from, to);
    for (; i < rows; i++) backprojected(R, 1, i, from, to);
  }
}

// y <- p qᵀ, m <- m - p ownᵀ in one pass, or one of them: two rows at a time.
INLINE void settled(const int R, const int ROWS, int reconstruct, int deflate, index_t i) {
  __m256 left[2][4];
  for (int a = 0; a < ROWS; a++)
    for (int k = 0; k < R; k++) left[a][k] = _mm256_set1_ps(p[k * rows + i + a]);
  index_t j = 0;
  for (; j + 8 <= cols; j += 8) {
    for (int a = 0; a < ROWS; a++) {
      const index_t at = (i + a) * cols + j;
      if (reconstruct) {
        __m256 sum = _mm256_mul_ps(left[a][0], _mm256_loadu_ps(q + j));
        for (int k = 1; k < R; k++)
          sum = _mm256_fmadd_ps(left[a][k], _mm256_loadu_ps(q + k * cols + j), sum);
        _mm256_storeu_ps(y + at, sum);
      }
      if (deflate) {
        __m256 rest = _mm256_loadu_ps(m + at);
        for (int k = 0; k < R; k++)
          rest = _mm256_fnmadd_ps(left[a][k], _mm256_loadu_ps(own + k * cols + j), rest);
        _mm256_storeu_ps(m + at, rest);
      }
    }
  }
  for (; j < cols; j++) {
    for (int a = 0; a < ROWS; a++) {
      float sum = 0, taken = 0;
      for (int k = 0; k < R; k++) {
        sum += p[k * rows + i + a] * q[k * cols + j];
        taken += p[k * rows + i + a] * own[k * cols + j];
      }
      if (reconstruct) y[(i + a) * cols + j] = sum;
      if (deflate) m[(i + a) * cols + j] -= taken;
    }
  }
}

INLINE void settle(const int R, int reconstruct, int deflate) {
  index_t i = 0;
  for (; i + 2 <= rows; i += 2) settled(R, 2, reconstruct, deflate, i);
  for (; i < rows; i++) settled(R, 1, reconstruct, deflate, i);
}

#define KERNELS(R)                                              \
  static void project_##R(void) { project(R, 0); }              \
  static void accumulateProject_##R(void) { project(R, 1); }    \
  static void backproject_##R(void) { backproject(R); }         \
  static void reconstruct_##R(void) { settle(R, 1, 0); }        \
  static void residual_##R(void) { settle(R, 0, 1); }           \
  static void settle_##R(void) { settle(R, 1, 1); }
KERNELS(1)
KERNELS(2)
KERNELS(4)

// ---- checks

static void expect(const char *name, float got, double want, double size, double products) {
  const double bound = (products + 2) * 0x1p-23 * size + 1e-30;
  if (fabs(got - want) <= bound) return;
  fprintf(stderr, "native %s: got %g, want %g +- %g\n", name, got, want, bound);
  exit(1);
}

// Some rows, and the columns of M where its kernels differ: first, last, and around.
static void check(int rank, void (*projects)(void), void (*accumulates)(void),
                  void (*backprojects)(void), void (*settles)(void)) {
  for (int turn = 0; turn < 2; turn++) {
    const index_t seen[] = {0, rows / 2, rows - 1};
    float *before = malloc(3 * cols * sizeof(float));
    for (int s = 0; s < 3; s++) memcpy(before + s * cols, m + seen[s] * cols, cols * sizeof(float));
    (turn ? accumulates : projects)();
    for (int s = 0; s < 3; s++) {
      for (int k = 0; k < rank; k++) {
        double want = 0, size = 0;
        for (index_t j = 0; j < cols; j++) {
          const float added = turn ? g[seen[s] * cols + j] : 0;
          const double x = (double)(before[s * cols + j] + added) * q[k * cols + j];
          want += x, size += fabs(x);
        }
        expect("project", p[k * rows + seen[s]], want, size, cols);
      }
    }
    free(before);
  }
  backprojects();
  const index_t columns[] = {0, cols / 2, cols - 1};
  for (int s = 0; s < 3; s++) {
    for (int k = 0; k < rank; k++) {
      double want = 0, size = 0;
      for (index_t i = 0; i < rows; i++) {
        const double x = (double)m[i * cols + columns[s]] * p[k * rows + i];
        want += x, size += fabs(x);
      }
      expect("backproject", out[k * cols + columns[s]], want, size, rows);
    }
  }
  float former[3];
  for (int s = 0; s < 3; s++) former[s] = m[(rows - 1) * cols + columns[s]];
  settles();
  for (int s = 0; s < 3; s++) {
    const index_t at = (rows - 1) * cols + columns[s];
    double update = 0, rest = former[s], size = fabs(rest);
    for (int k = 0; k < rank; k++) {
      update += (double)p[k * rows + rows - 1] * q[k * cols + columns[s]];
      rest -= (double)p[k * rows + rows - 1] * own[k * cols + columns[s]];
      size += fabs((double)p[k * rows + rows - 1] * q[k * cols + columns[s]]);
      size += fabs((double)p[k * rows + rows - 1] * own[k * cols + columns[s]]);
    }
    expect("settle: y", y[at], update, size, rank);
    expect("settle: m", m[at], rest, size, rank);
  }
}

// ---- measuring

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e3 * t.tv_sec + 1e-6 * t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, z = *(const double *)b;
  return (x > z) - (x < z);
}

static double median(double *values, int count) {
  qsort(values, count, sizeof(double), ascending);
  return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static const char *separator = "[";

static void measure(const char *name, int number, double budget, double bytes, double flops,
                    void (*run)(void)) {
  static double samples[MOST_SAMPLES];
  int count = 0;
  run(), run();
  for (double begun = now(); count < MOST_SAMPLES && (count < 5 || now() - begun < budget);) {
    const double before = now();
    run();
    samples[count++] = now() - before;
  }
  const double middle = median(samples, count);
  for (int i = 0; i < count; i++) samples[i] = fabs(samples[i] - middle);
  printf("%s\n{\"name\":\"%s\",\"number\":%d,\"ms\":%.6f,\"spread\":%.6f,\"samples\":%d,"
         "\"bytes\":%.0f,\"flops\":%.0f}",
         separator, name, number, middle, median(samples, count), count, bytes, flops);
  separator = ",";
}

static float *filled(index_t count, double scale, unsigned seed) {
  float *x = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
  if (!x) {
    fprintf(stderr, "native: no memory for %ld floats\n", count);
    exit(1);
  }
  for (index_t i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = scale * ((seed >> 8) * 0x1p-23 - 1);
  }
  return x;
}

#define PROBE(NAME, BYTES)                                              \
  measure("probe " #NAME, 1, budget, (BYTES) * (double)n, 0, NAME##1);  \
  measure("probe " #NAME, 2, budget, (BYTES) * (double)n, 0, NAME##2);  \
  measure("probe " #NAME, 4, budget, (BYTES) * (double)n, 0, NAME##4)

#define KERNEL(NAME, R, BYTES, FLOPS) \
  measure(#NAME, R, budget, (BYTES) * (double)n, (FLOPS) * (double)n, NAME##_##R)

#define RANK(R)                                                                      \
  check(R, project_##R, accumulateProject_##R, backproject_##R, settle_##R);         \
  KERNEL(accumulateProject, R, 12, 1 + 2 * R);                                       \
  KERNEL(project, R, 4, 2 * R);                                                      \
  KERNEL(backproject, R, 4, 2 * R);                                                  \
  KERNEL(reconstruct, R, 4, 2 * R);                                                  \
  KERNEL(residual, R, 8, 2 * R);                                                     \
  KERNEL(settle, R, 12, 4 * R)

int main(int count, char **words) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    fprintf(stderr, "this processor has no AVX2 and FMA\n");
    return 1;
  }
  if (count == 2 && strcmp(words[1], "--can") == 0) return 0;
  if (count < 4) {
    fprintf(stderr, "native ROWS COLS MILLISECONDS RANK...\n");
    return 1;
  }
  rows = atol(words[1]);
  cols = atol(words[2]);
  n = rows * cols;
  const double budget = atof(words[3]);
  m = filled(n, 1, 1);
  g = filled(n, 1e-3, 2);
  y = filled(n, 1, 3);
  p = filled(4 * rows, 1e-3, 4);
  q = filled(4 * cols, 1e-3, 5);
  own = filled(4 * cols, 1e-3, 6);
  out = filled(4 * cols, 1, 7);
  PROBE(read, 4);
  PROBE(write, 4);
  PROBE(update, 8);
  PROBE(accumulate, 12);
  PROBE(settle, 12);
  for (int i = 4; i < count; i++) {
    const int rank = atoi(words[i]);
    if (rank == 1) {
      RANK(1);
    } else if (rank == 2) {
      RANK(2);
    } else if (rank == 4) {
      RANK(4);
    }
  }
  printf("]\n");
  return 0;
}
