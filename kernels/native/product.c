/* Products with a weight that never changes, for one precision (REAL: float or double) on a CPU.

   Owns `product`: rows times a weight that lies in panels, PANEL outputs wide and as deep as the input is, so that any number of rows reads it as one
   stream. It knows neither layers nor activations, allocates nothing and keeps nothing. `product.py` lays weights out and calls it.

   Every number of the result is one sum in the order of the inputs, whatever the number of rows, of threads and of blocks: a row's result is the
   same to the bit alone and in any company. */

#include <omp.h>
#include <string.h>

#include "vectors.h"

#if defined(__AVX512F__)
#define MOST_ROWS 14 /* two sums for each, two vectors of weights and a number of x fill 32 registers */
#else
#define MOST_ROWS 6 /* the same for 16 */
#endif
#define FEWER_ROWS (MOST_ROWS < 8 ? MOST_ROWS : 8) /* where rows lie a multiple of 4 KiB apart, and no more of them fit into one place of the cache */
#define SLAB (128 / MOST_ROWS)                     /* blocks of rows that go over all panels together, so that they stay in the cache */
#define PANEL (2 * LANES)
#define DEEP (4096 / (int64_t)sizeof(REAL)) /* depth of a panel's part that stays in the cache while blocks of rows go over it */
#define NEAR 64                             /* steps of a panel that are asked for before they are needed, where there is one block */

int64_t panel_width(void) { return PANEL; }
int64_t rows_as_they_lie(void) { return 2 * FEWER_ROWS; }

/* How x lies and what is fetched. ALONE and PAIR: rows apart by `stride`, one block or two over each panel. MANY: turned, the rows of a block side by
   side. */
enum form { ALONE, PAIR, MANY };

struct part {
    const REAL *x, *w, *bias, *ahead;
    REAL *out;
    int64_t stride, depth, out_stride, step;
    int first;
};

/* out[ROWS, PANEL] = (first ? bias : out) + x[ROWS, depth] w[depth, PANEL]. Reads of `ahead` only bring what comes next nearer. */
INLINE void block(const int ROWS, const enum form FORM, const struct part *p) {
    vec left[MOST_ROWS], right[MOST_ROWS];
    const REAL *x = p->x, *w = p->w, *ahead = p->ahead;
    const int64_t stride = p->stride, depth = p->depth, step = p->step;
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) {
        const REAL *from = p->first ? p->bias : p->out + r * p->out_stride;
        left[r] = from ? load(from) : (vec){0}, right[r] = from ? load(from + LANES) : (vec){0};
    }
    for (int64_t k = 0; k < depth; k++) {
        const vec one = load(w), two = load(w + LANES);
        __builtin_prefetch(ahead, 0, 2);
        if (FORM == ALONE) __builtin_prefetch(ahead + LANES, 0, 2);
        ahead += FORM == MANY ? step : FORM == PAIR ? LANES : PANEL;
        w += PANEL;
#pragma GCC unroll 14
        for (int r = 0; r < ROWS; r++) {
            const REAL number = FORM == MANY ? x[k * ROWS + r] : x[r * stride + k];
            left[r] += number * one, right[r] += number * two;
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) store(p->out + r * p->out_stride, left[r]), store(p->out + r * p->out_stride + LANES, right[r]);
}

#define CASE(ROWS, FORM) case ROWS: block(ROWS, FORM, p); break;
#if MOST_ROWS == 14
#define WIDER(FORM) CASE(7, FORM) CASE(8, FORM) CASE(9, FORM) CASE(10, FORM) CASE(11, FORM) CASE(12, FORM) CASE(13, FORM) CASE(14, FORM)
#else
#define WIDER(FORM)
#endif
#define BLOCKS(NAME, FORM)                                                                                     \
    static void NAME(int64_t rows, const struct part *p) {                                                     \
        switch (rows) {                                                                                        \
            CASE(1, FORM) CASE(2, FORM) CASE(3, FORM) CASE(4, FORM) CASE(5, FORM) CASE(6, FORM) WIDER(FORM)    \
        }                                                                                                      \
    }
BLOCKS(alone, ALONE)
BLOCKS(pair, PAIR)
BLOCKS(many, MANY)

struct call {
    const REAL *x, *w, *bias, *turned;
    REAL *out;
    int64_t rows, stride, depth, width, blocks;
};

/* Rows of block i begin here; the blocks are of one size, or differ by one row. */
INLINE int64_t begin(const struct call *c, int64_t i) { return c->rows * i / c->blocks; }

/* Block `i` of the rows over depth [k, k + depth) of panel `p`; `left` blocks of its slab follow it. */
static void one_block(const struct call *c, int64_t p, int64_t i, int64_t left, int64_t k, int64_t depth) {
    const int64_t from = begin(c, i), rows = begin(c, i + 1) - from, width = c->width - p * PANEL;
    const REAL *panel = c->w + p * PANEL * c->depth + k * PANEL, *next = panel + PANEL * c->depth;
    REAL *out = c->out + from * c->width + p * PANEL, edge[MOST_ROWS * PANEL];
    const int narrow = width < PANEL;
    struct part part = {c->x + from * c->stride + k, panel, c->bias ? c->bias + p * PANEL : 0, panel, out, c->stride, depth, c->width, 0, k == 0};
    if (narrow) {
        part.out = edge, part.out_stride = PANEL;
        for (int64_t r = 0; r < rows && k; r++) memcpy(edge + r * PANEL, out + r * c->width, width * sizeof(REAL));
    }
    /* While the last two blocks go over a part of a panel, each brings one half of the next. */
    if (left < 2) part.ahead = next + (1 - left) * (depth * PANEL / 2), part.step = LANES;
    if (c->blocks == 1) {
        part.ahead = panel + NEAR * PANEL;
        alone(rows, &part);
    } else if (c->turned) {
        part.x = c->turned + from * c->depth + k * rows;
        many(rows, &part);
    } else {
        pair(rows, &part);
    }
    for (int64_t r = 0; r < rows && narrow; r++) memcpy(out + r * c->width, edge + r * PANEL, width * sizeof(REAL));
}

/* Block `i` of x, turned: turned[k * rows + r] of the block. */
static void turn(const struct call *c, REAL *turned, int64_t i) {
    const int64_t from = begin(c, i), rows = begin(c, i + 1) - from, side = 16;
    REAL *to = turned + from * c->depth;
    for (int64_t first = 0; first < c->depth; first += side) {
        const int64_t end = first + side < c->depth ? first + side : c->depth;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = first; k < end; k++) to[k * rows + r] = c->x[(from + r) * c->stride + k];
    }
}

/* What a thread does first: items [next, end). Whoever has none left takes from the others, since a thread may lose its processor to somebody else for as
   long as a whole product takes. */
struct share {
    int64_t next, end;
    char apart[48]; /* a line of the cache for each */
};

static void deal(struct share *shares, int count, int64_t items) {
    for (int i = 0; i < count; i++) shares[i].next = items * i / count, shares[i].end = items * (i + 1) / count;
}

/* The next item for thread `me`, -1 when all are taken. */
INLINE int64_t take(struct share *shares, int count, int me) {
    for (int i = 0; i < count; i++) {
        struct share *share = shares + (me + i) % count;
        if (__atomic_load_n(&share->next, __ATOMIC_RELAXED) >= share->end) continue;
        const int64_t item = __atomic_fetch_add(&share->next, 1, __ATOMIC_RELAXED);
        if (item < share->end) return item;
    }
    return -1;
}

/* out[rows, width] = x[rows, depth] W^T + bias, W in ceil(width / PANEL) panels [depth, PANEL], the last filled up with zeros, as `bias` is (none where it
   is null). Rows of x lie `stride` apart. `room`: rows * depth numbers to work in, needed for more than rows_as_they_lie(). At least
   one row. */
void product(const REAL *x, const REAL *w, const REAL *bias, REAL *out, REAL *room, int64_t rows, int64_t stride, int64_t depth, int64_t width,
             int threads) {
    const int64_t most = stride * sizeof(REAL) % 4096 || rows > 2 * MOST_ROWS ? MOST_ROWS : FEWER_ROWS;
    const int64_t panels = (width + PANEL - 1) / PANEL, blocks = (rows + most - 1) / most, slabs = (blocks + SLAB - 1) / SLAB;
    const struct call call = {x, w, bias, blocks > 2 ? room : 0, out, rows, stride, depth, width, blocks}, *c = &call;
    const int64_t cuts = blocks == 1 ? 1 : (depth + DEEP - 1) / DEEP;
    /* Panels alone do not occupy many threads; then several share one, each with some of its blocks. */
    int64_t groups = threads > 1 && panels < 4 * threads ? (4 * threads + panels - 1) / panels : 1;
    groups = groups < blocks / slabs ? groups : blocks / slabs;
    struct share shares[threads];
    deal(shares, threads, panels * groups);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        if (call.turned) {
#pragma omp for schedule(dynamic)
            for (int64_t i = 0; i < blocks; i++) turn(c, room, i);
        }
        for (int64_t phase = 0; phase < slabs * cuts; phase++) {
            const int64_t slab = phase / cuts, cut = phase % cuts;
            const int64_t first = blocks * slab / slabs, count = blocks * (slab + 1) / slabs - first;
            const int64_t k = depth * cut / cuts, end = depth * (cut + 1) / cuts;
            for (int64_t item; (item = take(shares, threads, omp_get_thread_num())) >= 0;) {
                const int64_t group = item % groups, last = first + count * (group + 1) / groups;
                for (int64_t i = first + count * group / groups; i < last; i++) one_block(c, item / groups, i, last - 1 - i, k, end - k);
            }
            if (phase + 1 < slabs * cuts) {
                /* A later cut adds to the sums of an earlier one, whoever made them. */
#pragma omp barrier
#pragma omp single
                deal(shares, threads, panels * groups);
            }
        }
    }
}
