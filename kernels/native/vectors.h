/* The widest vectors of the processor that this is compiled for, of one precision (REAL: float or double), as all files here use them.

   Owns their width, how they are read and written where nothing is aligned, sums within them, and exp. It knows no operation. */

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define LANES (VECTOR_BYTES / (int64_t)sizeof(REAL))

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL loose __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const REAL *p) { return *(const loose *)p; }
INLINE void store(REAL *p, vec v) { *(loose *)p = v; }

#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef WHOLE wholes __attribute__((vector_size(VECTOR_BYTES)));
#define PICK(a, b, ...) __builtin_shuffle(a, b, (wholes){__VA_ARGS__})
#endif

/* Of every run of 2 * w numbers of a, then of b: the first w plus the last w. As many numbers as a vector has. */
#if VECTOR_BYTES / REAL_BYTES == 16
#define HALVES_8(a, b) (PICK(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) + \
                        PICK(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#define HALVES_4(a, b) (PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) + \
                        PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
#define HALVES_2(a, b) (PICK(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) + \
                        PICK(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31))
#define HALVES_1(a, b) (PICK(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) + \
                        PICK(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31))
#elif VECTOR_BYTES / REAL_BYTES == 8
#define HALVES_4(a, b) (PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + \
                        PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#define HALVES_2(a, b) (PICK(a, b, 0, 1, 4, 5, 8, 9, 12, 13) + \
                        PICK(a, b, 2, 3, 6, 7, 10, 11, 14, 15))
#define HALVES_1(a, b) (PICK(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + \
                        PICK(a, b, 1, 3, 5, 7, 9, 11, 13, 15))
#elif VECTOR_BYTES / REAL_BYTES == 4
#define HALVES_2(a, b) (PICK(a, b, 0, 1, 4, 5) + \
                        PICK(a, b, 2, 3, 6, 7))
#define HALVES_1(a, b) (PICK(a, b, 0, 2, 4, 6) + \
                        PICK(a, b, 1, 3, 5, 7))
#elif VECTOR_BYTES / REAL_BYTES == 2
#define HALVES_1(a, b) (PICK(a, b, 0, 2) + \
                        PICK(a, b, 1, 3))
#endif

/* Entry i: the sum of the numbers of v[i], for as many vectors as one has numbers; v is used up. Each sum is in the same order, whatever its place. */
INLINE vec sums_of(vec *v) {
#define HALVE(W)                                                      \
    for (int i = 0; i < W; i++) v[i] = HALVES_##W(v[2 * i], v[2 * i + 1])
#if VECTOR_BYTES / REAL_BYTES >= 16
    HALVE(8);
#endif
#if VECTOR_BYTES / REAL_BYTES >= 8
    HALVE(4);
#endif
#if VECTOR_BYTES / REAL_BYTES >= 4
    HALVE(2);
#endif
    HALVE(1);
#undef HALVE
    return v[0];
}

INLINE REAL sum_of(vec v) {
    REAL parts[LANES];
    memcpy(parts, &v, sizeof v);
    for (int64_t width = LANES / 2; width > 0; width /= 2)
        for (int64_t i = 0; i < width; i++) parts[i] += parts[i + width];
    return parts[0];
}

/* exp to the last digit or two: 2^n times a polynomial of the rest, n rounded by adding a number so large that only whole ones fit behind it. */
INLINE REAL exp_of(REAL x) {
    const int wide = sizeof(REAL) == 8;
    const REAL low = wide ? -708.0 : -87.0, high = wide ? 709.0 : 88.0;
    const REAL round = wide ? 6755399441055744.0 : 12582912.0;
    x = x < low ? low : x;
    x = x > high ? high : x;
    const REAL shifted = x * (REAL)1.4426950408889634 + round, n = shifted - round;
    const REAL head = wide ? 0.693147180369123816490 : 0.693145751953125;
    const REAL tail = wide ? 1.90821492927058770002e-10 : 1.428606765330187e-6;
    const REAL r = (x - n * head) - n * tail;
    REAL p = wide ? 1.0 / 6227020800.0 : 1.0 / 5040.0;
    if (wide) {
        p = p * r + (REAL)(1.0 / 479001600.0), p = p * r + (REAL)(1.0 / 39916800.0), p = p * r + (REAL)(1.0 / 3628800.0);
        p = p * r + (REAL)(1.0 / 362880.0), p = p * r + (REAL)(1.0 / 40320.0), p = p * r + (REAL)(1.0 / 5040.0);
    }
    p = p * r + (REAL)(1.0 / 720.0), p = p * r + (REAL)(1.0 / 120.0), p = p * r + (REAL)(1.0 / 24.0);
    p = p * r + (REAL)(1.0 / 6.0), p = p * r + (REAL)0.5, p = p * r + 1, p = p * r + 1;
    WHOLE bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + (wide ? 1023 : 127)) << (wide ? 52 : 23);
    REAL power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}
