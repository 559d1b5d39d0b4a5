/* Attention over block tables, for one precision (REAL: float or double) on a CPU.

   Owns `attend`: tiles of queries over the pages of their sequence, which are read where they lie. It knows neither jobs nor layers' weights, allocates
   nothing and keeps nothing. `operations.py` calls it with shapes it has checked; what it computes is stated at `ragged_attention`. Every pair of a query
   and a head is computed by itself, in an order of sums that its own position decides. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "vectors.h"

#define CHUNK 256    /* keys that are scored before they are mixed */
#define TILE 32      /* (query, head) pairs that go through a chunk together */
#define MAX_HEAD 512 /* elements of a head */
#define ABREAST 4    /* vectors of a head that are mixed at once */
#define AHEAD 16     /* keys that are asked for before they are needed */
#define KEYS_AT_ONCE (QUERIES < LANES ? LANES / QUERIES : 1) /* keys whose products with QUERIES queries fill whole vectors */
#define MOST_SUMS (LANES > 4 ? LANES : 4)

int64_t longest_head(void) { return MAX_HEAD; }
int64_t tile_pairs(void) { return TILE; }

/* Ask for one key or value, into the second cache: what is asked for into the first waits in a queue of some two dozen lines, and half as much came in
   the same time. Pages lie scattered, and the processor's own guess ends where a page does. */
INLINE void fetch(const REAL *from, int64_t head_dim) {
    for (int64_t d = 0; d < head_dim; d += 64 / (int64_t)sizeof(REAL)) __builtin_prefetch(from + d, 0, 2);
}

/* scores[q][k] = queries[q] . keys[k] * scale for `count` keys; QUERIES is known to the compiler. With
   `cold` keys and values are not in the cache yet. */
INLINE void score(const int QUERIES, const REAL *const *queries, const REAL *const *keys, int64_t count, int64_t head_dim, REAL scale,
                  int64_t to_values, int cold, REAL (*scores)[CHUNK]) {
    for (int64_t k = 0; cold && k < AHEAD && k < count; k++) fetch(keys[k], head_dim);
    for (int64_t first = 0; first < count; first += KEYS_AT_ONCE) {
        const REAL *key[MOST_SUMS];
        vec sums[MOST_SUMS];
        /* Behind the last key its own numbers are read again: what lies there may be anybody's. */
        for (int k = 0; k < KEYS_AT_ONCE; k++) key[k] = keys[first + k < count ? first + k : count - 1];
        if (cold)
            for (int k = 0; k < KEYS_AT_ONCE; k++) {
                if (first + k + AHEAD < count) fetch(keys[first + k + AHEAD], head_dim);
                fetch(key[k] + to_values, head_dim);
            }
#pragma GCC unroll 16
        for (int i = 0; i < QUERIES * KEYS_AT_ONCE; i++) sums[i] = (vec){0};
        for (int64_t d = 0; d < head_dim; d += LANES) {
            vec query[4];
#pragma GCC unroll 4
            for (int q = 0; q < QUERIES; q++) query[q] = load(queries[q] + d);
#pragma GCC unroll 16
            for (int k = 0; k < KEYS_AT_ONCE; k++) {
                const vec part = load(key[k] + d);
#pragma GCC unroll 4
                for (int q = 0; q < QUERIES; q++) sums[q * KEYS_AT_ONCE + k] += query[q] * part;
            }
        }
        REAL all[MOST_SUMS];
#pragma GCC unroll 4
        for (int i = 0; i < QUERIES * KEYS_AT_ONCE; i += LANES) store(all + i, sums_of(sums + i) * scale);
        for (int q = 0; q < QUERIES; q++) memcpy(scores[q] + first, all + q * KEYS_AT_ONCE, sizeof(REAL) * KEYS_AT_ONCE);
    }
}

/* mixed[q][d] += sum of shares[q][k] * values[k][d] for WIDTH vectors of d. */
INLINE void mix(const int QUERIES, const int WIDTH, REAL (*shares)[CHUNK], const REAL *const *keys, int64_t to_values, int64_t from, int64_t count,
                int64_t d, REAL (*mixed)[MAX_HEAD]) {
    vec sums[4][ABREAST];
    for (int q = 0; q < QUERIES; q++)
        for (int w = 0; w < WIDTH; w++) sums[q][w] = load(mixed[q] + d + w * LANES);
    for (int64_t k = from; k < count; k++) {
        const REAL *value = keys[k] + to_values + d;
        vec part[ABREAST];
        for (int w = 0; w < WIDTH; w++) part[w] = load(value + w * LANES);
        for (int q = 0; q < QUERIES; q++)
            for (int w = 0; w < WIDTH; w++) sums[q][w] += shares[q][k] * part[w];
    }
    for (int q = 0; q < QUERIES; q++)
        for (int w = 0; w < WIDTH; w++) store(mixed[q] + d + w * LANES, sums[q][w]);
}

struct layer {
    const REAL *queries;
    REAL *out;
    const REAL *pool; /* the layer's part of page 0 */
    const int64_t *tables;
    int64_t query_stride, table_stride, page_stride, group, kv_heads, head_dim, page_tokens, window;
    REAL scale, softcap;
};

/* QUERIES pairs of one tile over one chunk of keys, [first, first + count). `at`: the position of each pair's query. */
INLINE void through_chunk(const int QUERIES, const struct layer *l, const REAL *const *queries, const int64_t *at, const REAL *const *keys, int64_t first,
                          int64_t count, int cold, REAL *best, REAL *mass, REAL (*mixed)[MAX_HEAD]) {
    REAL shares[4][CHUNK];
    const int64_t to_values = l->kv_heads * l->page_tokens * l->head_dim;
    /* Pairs stand by rising position: nobody here sees behind the last one, nor before the first one's window. */
    if (at[QUERIES - 1] - first + 1 < count) count = at[QUERIES - 1] - first + 1;
    int64_t from = l->window && at[0] - l->window + 1 > first ? at[0] - l->window + 1 - first : 0;
    if (from >= count) return;
    from -= from % KEYS_AT_ONCE; /* so that the last group of keys ends where the chunk does */
    score(QUERIES, queries, keys + from, count - from, l->head_dim, l->scale, to_values, cold,
          (REAL(*)[CHUNK])(shares[0] + from));
    for (int q = 0; q < QUERIES; q++) {
        REAL *share = shares[q];
        const int64_t end = at[q] - first + 1 < count ? at[q] - first + 1 : count;
        const int64_t begin = l->window && at[q] - l->window + 1 > first ? at[q] - l->window + 1 - first : 0;
        if (l->softcap > 0) {
            const REAL cap = l->softcap;
            for (int64_t k = from; k < count; k++) share[k] = cap * (REAL)tanh((double)(share[k] / cap));
        }
        REAL high = best[q], total = 0;
#pragma omp simd reduction(max : high)
        for (int64_t k = begin; k < end; k++) high = share[k] > high ? share[k] : high;
        /* A row that has seen nothing yet would subtract infinity from infinity. */
        const REAL anchor = begin < end ? high : 0, decay = begin < end ? exp_of(best[q] - anchor) : 1;
#pragma omp simd reduction(+ : total)
        for (int64_t k = begin; k < end; k++) {
            share[k] = exp_of(share[k] - anchor);
            total += share[k];
        }
        for (int64_t k = from; k < begin && k < count; k++) share[k] = 0;
        for (int64_t k = end < from ? from : end; k < count; k++) share[k] = 0;
        if (begin < end) {
            if (mass[q] > 0 || mass[q] != mass[q]) {
                mass[q] *= decay;
                for (int64_t d = 0; d < l->head_dim; d += LANES) store(mixed[q] + d, load(mixed[q] + d) * decay);
            }
            mass[q] += total;
            best[q] = high;
        }
    }
    int64_t d = 0;
    for (; d + ABREAST * LANES <= l->head_dim; d += ABREAST * LANES) 
        mix(QUERIES, ABREAST, shares, keys, to_values, from, count, d, mixed);
    for (; d < l->head_dim; d += LANES) mix(QUERIES, 1, shares, keys, to_values, from, count, d, mixed);
}

/* One tile: `rows` queries of a sequence from row `row` on, the first of which stands at `position`, with all heads of one KV head. */
static void attend_tile(const struct layer *l, int64_t sequence, int64_t row, int64_t rows, int64_t position, int64_t kv_head) {
    const REAL *queries[TILE], *keys[CHUNK];
    int64_t at[TILE];
    REAL best[TILE], mass[TILE], mixed[TILE][MAX_HEAD];
    const int64_t pairs = rows * l->group, end = position + rows;
    const int64_t *table = l->tables + sequence * l->table_stride;
    for (int64_t i = 0; i < pairs; i++) {
        queries[i] = l->queries + (row + i / l->group) * l->query_stride + (kv_head * l->group + i % l->group) * l->head_dim;
        at[i] = position + i / l->group;
        best[i] = -INFINITY, mass[i] = 0;
        memset(mixed[i], 0, l->head_dim * sizeof(REAL));
    }
    int64_t first = l->window && position - l->window + 1 > 0 ? (position - l->window + 1) / CHUNK * CHUNK : 0;
    for (; first < end; first += CHUNK) {
        const int64_t count = end - first < CHUNK ? end - first : CHUNK;
        for (int64_t k = 0; k < count;) {
            const int64_t key = first + k, offset = key % l->page_tokens;
            const REAL *page = l->pool + table[key / l->page_tokens] * l->page_stride + kv_head * l->page_tokens * l->head_dim;
            for (int64_t t = offset; t < l->page_tokens && k < count; t++, k++) keys[k] = page + t * l->head_dim;
        }
        int64_t i = 0;
        for (; i + 4 <= pairs; i += 4) through_chunk(4, l, queries + i, at + i, keys, first, count, i == 0, best + i, mass + i, mixed + i);
        for (; i + 2 <= pairs; i += 2) through_chunk(2, l, queries + i, at + i, keys, first, count, i == 0, best + i, mass + i, mixed + i);
        for (; i < pairs; i++) through_chunk(1, l, queries + i, at + i, keys, first, count, i == 0, best + i, mass + i, mixed + i);
    }
    for (int64_t i = 0; i < pairs; i++) {
        REAL *to = l->out + ((row + i / l->group) * l->kv_heads * l->group + kv_head * l->group + i % l->group) * l->head_dim;
        for (int64_t d = 0; d < l->head_dim; d += LANES) store(to + d, load(mixed[i] + d) / mass[i]);
    }
}

/* Fill out[rows, heads, head_dim] for `count` tiles: items[count, 4] hold sequence, first row, rows and position of the first row. A window or a cap
   of 0 is none. */
void attend(const REAL *queries, REAL *out, const REAL *pool, const int64_t *tables, const int64_t *items, int64_t count, int64_t query_stride,
            int64_t table_stride, int64_t page_stride, int64_t group, int64_t kv_heads, int64_t head_dim, int64_t page_tokens, int64_t window,
            double scale, double softcap, int threads) {
    const struct layer l = {queries,  out,      pool,        tables, query_stride,  table_stride, page_stride, group,
                            kv_heads, head_dim, page_tokens, window, (REAL)scale, (REAL)softcap};
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < count * kv_heads; i++) {
        const int64_t *item = items + i / kv_heads * 4;
        attend_tile(&l, item[0], item[1], item[2], item[3], i % kv_heads);
    }
}
