/* The operations of a decoder between its matrix products, for one precision (REAL: float or double) on a CPU.

   Owns norms, the gated activations and rotary embedding with the write into pages. It knows neither jobs nor layers' weights, allocates nothing and
   keeps nothing. `operations.py` calls it with shapes it has checked; what each function computes is stated at the plain-torch reference of the same
   name. Every row is computed by itself, in an order of sums that its own position decides.

   Nothing here may be compiled with -ffast-math: a NaN must come through to the sampler, which then fails the one job whose it is. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "vectors.h"

int64_t lanes(void) { return LANES; }

/* out = norm(x) * weight, or with a residual: residual += x, out = norm(residual) * weight. All [rows, hidden], hidden a multiple of LANES; weights
   [weight_rows, hidden], used in turn. */
void rms_norm(const REAL *x, REAL *residual, const REAL *weights, REAL *out, int64_t rows, int64_t hidden, int64_t weight_rows, double eps,
              int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *from = x + row * hidden, *weight = weights + row % weight_rows * hidden;
        vec squares = {0}, more = {0};
        int64_t i = 0;
        if (residual) {
            REAL *sum = residual + row * hidden;
            for (; i < hidden; i += LANES) {
                const vec v = load(from + i) + load(sum + i);
                store(sum + i, v);
                squares += v * v;
            }
            from = sum;
        } else {
            for (; i + LANES < hidden; i += 2 * LANES) {
                const vec v = load(from + i), w = load(from + i + LANES);
                squares += v * v, more += w * w;
            }
            for (; i < hidden; i += LANES) squares += load(from + i) * load(from + i);
        }
        const REAL inverse = (REAL)(1 / sqrt((double)sum_of(squares + more) / (double)hidden + eps));
        for (i = 0; i < hidden; i += LANES) store(out + row * hidden + i, load(from + i) * inverse * load(weight + i));
    }
}

#define TOGETHER 256 /* exponentials that are there before they are used */

/* out[rows, width] = act(gate) * up for gate_up[rows, 2 * width]; act is silu, or gelu in its tanh form. */
void gate(const REAL *gate_up, REAL *out, int64_t rows, int64_t width, int gelu, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *g = gate_up + row * 2 * width, *up = g + width;
        REAL *to = out + row * width, powers[TOGETHER];
        for (int64_t first = 0; first < width; first += TOGETHER, g += TOGETHER, up += TOGETHER, to += TOGETHER) {
            const int64_t count = width - first < TOGETHER ? width - first : TOGETHER;
            /* In a loop of their own: a compiler that sees the bounds of exp and the division together divides three times and picks. */
            if (gelu) {
#pragma omp simd
                for (int64_t i = 0; i < count; i++) powers[i] = exp_of((REAL)-1.5957691216057308 * (g[i] + (REAL)0.044715 * g[i] * g[i] * g[i]));
            } else {
#pragma omp simd
                for (int64_t i = 0; i < count; i++) powers[i] = exp_of(-g[i]);
            }
#pragma omp simd
            for (int64_t i = 0; i < count; i++) to[i] = g[i] / (1 + powers[i]) * up[i];
        }
    }
}

/* Turn the first 2 * half elements of every query and key head of qkv[rows, heads + 2 * kv_heads, head_dim], the queries in place; keys and values
   go to slot `slots[row]` of the layer that `pool` points to. cos and sin [rows, half]. */
void rotate_and_write(REAL *qkv, const REAL *cos, const REAL *sin, const int64_t *slots, REAL *pool, int64_t rows, int64_t heads, int64_t kv_heads,
                      int64_t head_dim, int64_t half, int64_t page_tokens, int64_t page_stride, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        REAL *token = qkv + row * (heads + 2 * kv_heads) * head_dim;
        const REAL *c = cos + row * half, *s = sin + row * half;
        REAL *place = pool + slots[row] / page_tokens * page_stride + slots[row] % page_tokens * head_dim;
        for (int64_t head = 0; head < heads + kv_heads; head++) {
            REAL *from = token + head * head_dim, *to = head < heads ? from : place + (head - heads) * page_tokens * head_dim;
#pragma omp simd
            for (int64_t i = 0; i < half; i++) {
                const REAL first = from[i], second = from[half + i];
                to[i] = first * c[i] - second * s[i];
                to[half + i] = second * c[i] + first * s[i];
            }
            if (to != from) memcpy(to + 2 * half, from + 2 * half, (head_dim - 2 * half) * sizeof(REAL));
        }
        for (int64_t head = kv_heads; head < 2 * kv_heads; head++)
            memcpy(place + head * page_tokens * head_dim, token + (heads + head) * head_dim, head_dim * sizeof(REAL));
    }
}
