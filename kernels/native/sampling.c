/* From logits to tokens on a CPU, for logits of one precision (REAL: float or double).

   Owns penalties, filters and the draw of a row, with SplitMix64 at the row's seed and position. It knows neither jobs nor what stops them, allocates
   nothing and keeps nothing. `sampling.py` beside it calls it; what is computed is stated at the plain-torch reference of the same name. Rows are
   computed one by one, each in an order of sums that its own length decides, weights in double.

   Nothing is sorted. A filter's border is found by halving the numbers between which it lies, where positive numbers order as their bits do, among
   ever fewer weights. */

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define BLOCK 256 /* tokens whose weights are summed before they join the running sum */
#define STEPS 8   /* borders that are tried in the first look */
#define LANES 8   /* sums side by side, whatever the processor: so many that none waits for the last */

#if defined(__AVX512F__)
#define WIDTH 8 /* of LANES, so many are one vector of the processor: of wider ones a compiler makes single numbers where it compares them */
#elif defined(__AVX__)
#define WIDTH 4
#else
#define WIDTH 2
#endif
#define PARTS (LANES / WIDTH)
#define ABREAST (PARTS == 1 ? STEPS : STEPS / 2) /* borders whose sums fit into the registers together */

#define INLINE static inline __attribute__((always_inline))

typedef double vec_t __attribute__((vector_size(WIDTH * sizeof(double))));
typedef int64_t mask_t __attribute__((vector_size(WIDTH * sizeof(int64_t))));
typedef double loose_t __attribute__((vector_size(WIDTH * sizeof(double)), aligned(sizeof(double)), may_alias));

struct lanes {
    vec_t part[PARTS];
};

int omp_get_thread_num(void);

struct jobs {
    const double *temperature, *top_p, *min_p, *repetition, *presence, *frequency;
    const int64_t *top_k, *seed, *position;
};

struct best {
    double value; /* NaN where any number is */
    int64_t token;
};

static uint64_t mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static double uniform(int64_t seed, int64_t position) {
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    const uint64_t state = mix64((uint64_t)seed + golden) + ((uint64_t)position + 1) * golden;
    return ((double)(int64_t)(mix64(state) >> 12) + 0.5) * 0x1p-52;
}

/* exp of x <= 0 to the last digit or two, 1 at 0, and 0 where it is next to nothing; as in vectors.h. */
INLINE double exp_below(double x) {
    const double round = 6755399441055744.0, shifted = x * 1.4426950408889634 + round, n = shifted - round;
    const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0, p = p * r + 1.0 / 39916800.0, p = p * r + 1.0 / 3628800.0, p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0, p = p * r + 1.0 / 5040.0, p = p * r + 1.0 / 720.0, p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0, p = p * r + 1.0 / 6.0, p = p * r + 0.5, p = p * r + 1, p = p * r + 1;
    int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int64_t)((uint64_t)(bits + 1023) << 52);
    double power;
    memcpy(&power, &bits, sizeof power);
    return x < -708.0 ? 0.0 : p * power;
}

/* The largest of x[count] and the first place where it stands. */
#define DEFINE_BEST(NAME, TYPE, MASK)                                                \
    static struct best NAME(const TYPE *x, int64_t count) {                          \
        TYPE high = -(TYPE)INFINITY;                                                 \
        int64_t token = 0;                                                           \
        for (int64_t first = 0; first < count; first += BLOCK) {                     \
            const int64_t end = first + BLOCK < count ? first + BLOCK : count;       \
            TYPE most = -(TYPE)INFINITY;                                             \
            MASK odd = 0;                                                            \
            _Pragma("omp simd reduction(max : most) reduction(| : odd)")             \
            for (int64_t i = first; i < end; i++) {                                  \
                most = x[i] > most ? x[i] : most;                                    \
                odd |= x[i] != x[i];                                                 \
            }                                                                        \
            if (odd) return (struct best){NAN, 0};                                   \
            if (most > high) high = most, token = first;                             \
        }                                                                            \
        while (token < count && x[token] != high) token++;                           \
        return (struct best){high, token};                                           \
    }

DEFINE_BEST(best_of_logits, REAL, WHOLE)
DEFINE_BEST(best_of_scores, double, int64_t)

/* scores[vocab] of a job with penalties. The parts that are taken off are rounded first, each in a loop of its own: tokens that tie do so here as well. */
static void penalise(const REAL *logits, int64_t vocab, double repetition, double presence, double frequency, const int32_t *output,
                     const uint8_t *anywhere, double *scores, double *parts) {
    for (int64_t i = 0; i < vocab; i++) parts[i] = frequency * output[i];
    for (int64_t i = 0; i < vocab; i++) {
        const double score = logits[i], repeated = score > 0 ? score / repetition : score * repetition;
        scores[i] = (anywhere[i] ? repeated : score) - parts[i];
    }
    for (int64_t i = 0; i < vocab; i++) scores[i] -= output[i] > 0 ? presence : 0;
}

/* weights = exp((x - best) / temperature). */
#define DEFINE_WEIGH(NAME, TYPE)                                                                          \
    static void NAME(const TYPE *x, int64_t vocab, double best, double temperature, double *weights) {    \
        const double inverse = 1 / temperature;                                                           \
        if (inverse < INFINITY) {                                                                         \
            _Pragma("omp simd")                                                                           \
            for (int64_t i = 0; i < vocab; i++) weights[i] = exp_below(((double)x[i] - best) * inverse);  \
        } else {                                                                                          \
            for (int64_t i = 0; i < vocab; i++) weights[i] = (double)x[i] == best ? 1 : 0;                \
        }                                                                                                 \
    }

DEFINE_WEIGH(weigh_logits, REAL)
DEFINE_WEIGH(weigh_scores, double)

INLINE vec_t spread(double x) { return x - (vec_t){0}; }
INLINE vec_t load(const double *p) { return *(const loose_t *)p; }
INLINE vec_t where(mask_t mask, vec_t v) { return (vec_t)(mask & (mask_t)v); }

INLINE double sum_of(const struct lanes *lanes) {
    double v[LANES];
    memcpy(v, lanes, sizeof v);
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* Sum of the weights >= floor of `length` tokens, a multiple of BLOCK; `sums` gets that of each block, unless it is NULL. */
static double mass_from(const double *weights, int64_t length, double floor, double *sums) {
    const vec_t least = spread(floor);
    double total = 0;
    for (int64_t first = 0; first < length; first += BLOCK) {
        struct lanes a = {0}, b = {0};
        for (int64_t i = first; i < first + BLOCK; i += 2 * LANES)
#pragma GCC unroll 4
            for (int p = 0; p < PARTS; p++) {
                const vec_t v = load(weights + i + p * WIDTH), w = load(weights + i + LANES + p * WIDTH);
                a.part[p] += where(v >= least, v), b.part[p] += where(w >= least, w);
            }
        for (int p = 0; p < PARTS; p++) a.part[p] += b.part[p];
        const double sum = sum_of(&a);
        if (sums) sums[first / BLOCK] = sum;
        total += sum;
    }
    return total;
}

#if defined(__AVX2__) && !defined(__AVX512F__)
/* Halves of a vector's four numbers, those of each set of them first. */
#define PAIR(n) 2 * (n), 2 * (n) + 1
#define FRONT(a, b, c, d) {PAIR(a), PAIR(b), PAIR(c), PAIR(d)}
static const int32_t front[16][8] __attribute__((aligned(32))) = {
    FRONT(0, 1, 2, 3), FRONT(0, 1, 2, 3), FRONT(1, 0, 2, 3), FRONT(0, 1, 2, 3), FRONT(2, 0, 1, 3), FRONT(0, 2, 1, 3),
    FRONT(1, 2, 0, 3), FRONT(0, 1, 2, 3), FRONT(3, 0, 1, 2), FRONT(0, 3, 1, 2), FRONT(1, 3, 0, 2), FRONT(0, 1, 3, 2),
    FRONT(2, 3, 0, 1), FRONT(0, 2, 3, 1), FRONT(1, 2, 3, 0), FRONT(0, 1, 2, 3)};
#endif

/* Those of from[count] with low <= it < high, in their order, into `to`, which may be `from`; gives their number. */
INLINE int64_t keep(const double *from, int64_t count, double low, double high, double *to) {
    int64_t kept = 0, i = 0;
#ifdef __AVX512F__
    for (; i + LANES <= count; i += LANES) {
        const __m512d v = _mm512_loadu_pd(from + i);
        const __mmask8 in = _mm512_cmp_pd_mask(v, _mm512_set1_pd(low), _CMP_GE_OQ) & _mm512_cmp_pd_mask(v, _mm512_set1_pd(high), _CMP_LT_OQ);
        _mm512_storeu_pd(to + kept, _mm512_maskz_compress_pd(in, v)); /* what lies behind `kept` was read already */
        kept += __builtin_popcount(in);
    }
#elif defined(__AVX2__)
    for (; i + WIDTH <= count; i += WIDTH) {
        const __m256d v = _mm256_loadu_pd(from + i);
        const int in = _mm256_movemask_pd(
            _mm256_and_pd(_mm256_cmp_pd(v, _mm256_set1_pd(low), _CMP_GE_OQ), _mm256_cmp_pd(v, _mm256_set1_pd(high), _CMP_LT_OQ)));
        const __m256i order = _mm256_load_si256((const __m256i *)front[in]);
        _mm256_storeu_pd(to + kept, _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(v), order)));
        kept += __builtin_popcount(in);
    }
#endif
    for (; i < count; i++) {
        const double weight = from[i];
        to[kept] = weight;
        kept += (weight >= low) & (weight < high);
    }
    return kept;
}

/* The largest of rest[count] for which it holds that those >= it, with `above`, number (counts) or weigh at least `need`; the smallest where rounding
   keeps all of them below. */
INLINE double narrow(const int counts, double *rest, int64_t count, double above, double need) {
    for (;;) {
        double least = INFINITY, most = 0, reached = 0;
#pragma omp simd reduction(min : least) reduction(max : most)
        for (int64_t i = 0; i < count; i++) {
            least = rest[i] < least ? rest[i] : least;
            most = rest[i] > most ? rest[i] : most;
        }
        if (least == most) return least;
        int64_t low, high;
        memcpy(&low, &least, sizeof low), memcpy(&high, &most, sizeof high);
        high -= (high - low) / 2; /* above `least` and not above `most`: both sides get something */
        double middle;
        memcpy(&middle, &high, sizeof middle);
#pragma omp simd reduction(+ : reached)
        for (int64_t i = 0; i < count; i++) reached += rest[i] >= middle ? (counts ? 1.0 : rest[i]) : 0.0;
        const int holds = above + reached >= need;
        if (!holds) above += reached;
        count = holds ? keep(rest, count, middle, INFINITY, rest) : keep(rest, count, 0, middle, rest);
    }
}

/* The largest weight of which it holds that the weights >= it number (counts) or weigh at least `need`, `floor` at least. Weights of 0 do not matter.
   `rest` is as long as `weights`. */
INLINE double border(const int counts, const double *weights, int64_t length, double floor, double need, double *rest) {
    static const double powers[STEPS] = {0x1p-1, 0x1p-2, 0x1p-3, 0x1p-4, 0x1p-6, 0x1p-9, 0x1p-13, 0x1p-20};
    double at[STEPS];
    struct lanes sums[STEPS] = {0};
    for (int k = 0; k < STEPS; k++) at[k] = powers[k] > floor ? powers[k] : floor;
    for (int first = 0; first < STEPS; first += ABREAST) {
        vec_t least[ABREAST], more[ABREAST][PARTS] = {0};
#pragma GCC unroll 8
        for (int k = 0; k < ABREAST; k++) least[k] = spread(at[first + k]);
        for (int64_t i = 0; i < length; i += LANES)
#pragma GCC unroll 4
            for (int p = 0; p < PARTS; p++) {
                const vec_t v = load(weights + i + p * WIDTH), gain = counts ? spread(1) : v;
#pragma GCC unroll 8
                for (int k = 0; k < ABREAST; k++) more[k][p] += where(v >= least[k], gain);
            }
        memcpy(sums + first, more, sizeof more);
        if (sum_of(sums + first + ABREAST - 1) >= need) break; /* the border lies above those that are left */
    }
    int k = 0;
    while (k < STEPS && sum_of(sums + k) < need) k++;
    const double above = k > 0 ? sum_of(sums + k - 1) : 0, high = k > 0 ? at[k - 1] : INFINITY;
    const double low = k < STEPS ? at[k] : floor > 0 ? floor : 0x1p-1074;
    const int64_t count = keep(weights, length, low, high, rest);
    return count ? narrow(counts, rest, count, above, need) : low;
}

/* The first token at which the running sum of the weights >= floor reaches `draw` of their sum; the last of its block, if rounding kept it below. */
static int64_t drawn(const double *weights, int64_t length, double floor, double draw, double *sums) {
    const double target = draw * mass_from(weights, length, floor, sums);
    double running = 0;
    int64_t block = 0, last = 0;
    for (; block < length / BLOCK - 1 && running + sums[block] < target; block++) running += sums[block];
    for (int64_t i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
        if (weights[i] < floor || weights[i] == 0) continue;
        running += weights[i], last = i;
        if (running >= target) break;
    }
    return last;
}

/* The token of one row. `weights` and `rest`: vocab, rounded up to whole blocks. */
static int64_t sample_row(const REAL *logits, int64_t vocab, const struct jobs *jobs, int64_t row, const int32_t *output, const uint8_t *anywhere,
                          double *weights, double *rest, uint8_t *finite) {
    const double temperature = jobs->temperature[row], top_p = jobs->top_p[row], min_p = jobs->min_p[row];
    const double repetition = jobs->repetition[row], presence = jobs->presence[row], frequency = jobs->frequency[row];
    const int64_t top_k = jobs->top_k[row], length = (vocab + BLOCK - 1) / BLOCK * BLOCK;
    const int penalised = output && (repetition != 1 || presence != 0 || frequency != 0);
    struct best best = best_of_logits(logits, vocab);
    *finite = isfinite(best.value) != 0;
    if (*finite && penalised) {
        penalise(logits, vocab, repetition, presence, frequency, output, anywhere, weights, rest);
        best = best_of_scores(weights, vocab);
        *finite = isfinite(best.value) != 0; /* a penalty next to nothing drives a logit beyond the numbers there are */
    }
    if (!*finite) return 0;
    if (temperature == 0) return best.token;
    if (penalised)
        weigh_scores(weights, vocab, best.value, temperature, weights);
    else
        weigh_logits(logits, vocab, best.value, temperature, weights);
    for (int64_t i = vocab; i < length; i++) weights[i] = 0;
    double floor = 0;
    if (top_k > 0 && top_k < vocab) floor = border(1, weights, length, floor, (double)top_k, rest);
    if (top_p < 1) floor = border(0, weights, length, floor, top_p * mass_from(weights, length, floor, 0), rest);
    return drawn(weights, length, min_p > floor ? min_p : floor, uniform(jobs->seed[row], jobs->position[row]), rest);
}

/* How many doubles of scratch one thread needs. */
int64_t sample_scratch(int64_t vocab) { return 2 * ((vocab + BLOCK - 1) / BLOCK * BLOCK); }

/* tokens[rows] and finite[rows] for logits[rows, vocab], rows `stride` apart; output and anywhere [rows, vocab], or both NULL. scratch[threads,
   sample_scratch(vocab)]. */
void sample(const REAL *logits, int64_t rows, int64_t vocab, int64_t stride, const double *temperature, const int64_t *top_k, const double *top_p,
            const double *min_p, const double *repetition, const double *presence, const double *frequency, const int64_t *seed,
            const int64_t *position, const int32_t *output, const uint8_t *anywhere, double *scratch, int64_t *tokens, uint8_t *finite, int threads) {
    const struct jobs jobs = {temperature, top_p, min_p, repetition, presence, frequency, top_k, seed, position};
    const int64_t half = sample_scratch(vocab) / 2;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        double *own = scratch + (threads > 1 ? omp_get_thread_num() : 0) * 2 * half;
        tokens[row] = sample_row(logits + row * stride, vocab, &jobs, row, output ? output + row * vocab : 0, anywhere ? anywhere + row * vocab : 0,
                                 own, own + half, finite + row);
    }
}
