/* SPDX-License-Identifier: MIT
 *
 * swap.c: see swap.h. Each table names its instruction set; the functions are compiled for it one by one (attribute
 * target), so that the module itself runs on any processor. A vector loop takes whole blocks, its scalar sibling the
 * rest. Every shuffle below writes the bytes of a number backwards; index 0x80 gives a zero byte.
 */
#include "swap.h"

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#  define BE16(x) (x)
#  define BE32(x) (x)
#  define BE64(x) (x)
#else
#  define LITTLE_ENDIAN_HOST 1
#  if defined(_MSC_VER)
#    include <stdlib.h>
#    define BE16(x) _byteswap_ushort(x)
#    define BE32(x) _byteswap_ulong(x)
#    define BE64(x) _byteswap_uint64(x)
#  else
#    define BE16(x) __builtin_bswap16(x)
#    define BE32(x) __builtin_bswap32(x)
#    define BE64(x) __builtin_bswap64(x)
#  endif
#endif

#if defined(LITTLE_ENDIAN_HOST) && (defined(__x86_64__) || defined(_M_X64))
#  define WITH_X86 1
#  include <immintrin.h>
#  if defined(_MSC_VER)
#    include <intrin.h>
#    define TARGET(set)
#  else
#    define TARGET(set) __attribute__((target(set)))
#  endif
#endif

#if defined(LITTLE_ENDIAN_HOST) && (defined(__aarch64__) || defined(_M_ARM64))
#  define WITH_NEON 1
#  include <arm_neon.h>
#endif

/* ------------------------------------------------------------------------------------------------------- scalar */

static void scalar_swap16(void *dst, const void *src, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint16_t v;
        memcpy(&v, (const char *)src + 2 * i, 2);
        v = BE16(v);
        memcpy((char *)dst + 2 * i, &v, 2);
    }
}

static void scalar_swap32(void *dst, const void *src, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t v;
        memcpy(&v, (const char *)src + 4 * i, 4);
        v = BE32(v);
        memcpy((char *)dst + 4 * i, &v, 4);
    }
}

static void scalar_swap64(void *dst, const void *src, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t v;
        memcpy(&v, (const char *)src + 8 * i, 8);
        v = BE64(v);
        memcpy((char *)dst + 8 * i, &v, 8);
    }
}

static size_t scalar_unpack4(void *dst, const void *src, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t n, v;
        memcpy(&n, (const char *)src + 8 * i, 4);
        if (n != BE32((uint32_t)4))
            return i;
        memcpy(&v, (const char *)src + 8 * i + 4, 4);
        v = BE32(v);
        memcpy((char *)dst + 4 * i, &v, 4);
    }
    return count;
}

static size_t scalar_unpack8(void *dst, const void *src, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t n;
        uint64_t v;
        memcpy(&n, (const char *)src + 12 * i, 4);
        if (n != BE32((uint32_t)8))
            return i;
        memcpy(&v, (const char *)src + 12 * i + 4, 8);
        v = BE64(v);
        memcpy((char *)dst + 8 * i, &v, 8);
    }
    return count;
}

static void scalar_pack4(void *dst, const void *src, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t n = BE32((uint32_t)4), v;
        memcpy(&v, (const char *)src + 4 * i, 4);
        v = BE32(v);
        memcpy((char *)dst + 8 * i, &n, 4);
        memcpy((char *)dst + 8 * i + 4, &v, 4);
    }
}

static void scalar_pack8(void *dst, const void *src, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t n = BE32((uint32_t)8);
        uint64_t v;
        memcpy(&v, (const char *)src + 8 * i, 8);
        v = BE64(v);
        memcpy((char *)dst + 12 * i, &n, 4);
        memcpy((char *)dst + 12 * i + 4, &v, 8);
    }
}

static const fastpg_swap_table scalar = {
    "scalar", scalar_swap16, scalar_swap32, scalar_swap64, scalar_unpack4, scalar_unpack8, scalar_pack4, scalar_pack8,
};

#ifdef WITH_X86

#define OFF -128
#define SHUFFLE16 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#define SHUFFLE32 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12
#define SHUFFLE64 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8
/* Two (length, value) of 8 bytes: the values to the low half. */
#define SHUFFLE_UNPACK4 7, 6, 5, 4, 15, 14, 13, 12, OFF, OFF, OFF, OFF, OFF, OFF, OFF, OFF
/* Two values in the low half, to (length, value) with the lengths left zero. */
#define SHUFFLE_PACK4 OFF, OFF, OFF, OFF, 3, 2, 1, 0, OFF, OFF, OFF, OFF, 7, 6, 5, 4
/* Two (length, value) of 12 bytes, seen through the 16 bytes from 0 and the 16 bytes from 8. */
#define SHUFFLE_UNPACK8_LOW 11, 10, 9, 8, 7, 6, 5, 4, OFF, OFF, OFF, OFF, OFF, OFF, OFF, OFF
#define SHUFFLE_UNPACK8_HIGH OFF, OFF, OFF, OFF, OFF, OFF, OFF, OFF, 15, 14, 13, 12, 11, 10, 9, 8
/* Two values, to the first 16 and the last 8 of those 24 bytes, lengths left zero. */
#define SHUFFLE_PACK8_LOW OFF, OFF, OFF, OFF, 7, 6, 5, 4, 3, 2, 1, 0, OFF, OFF, OFF, OFF
#define SHUFFLE_PACK8_HIGH 15, 14, 13, 12, 11, 10, 9, 8, OFF, OFF, OFF, OFF, OFF, OFF, OFF, OFF

/* -------------------------------------------------------------------------------------------------------- SSSE3 */

#define SWAP_SSSE3(name, width, pattern, rest)                                                                        \
    TARGET("ssse3") static void name(void *dst, const void *src, size_t count) {                                      \
        const __m128i shuffle = _mm_setr_epi8(pattern);                                                               \
        size_t i = 0;                                                                                                 \
        for (; i + 16 / width <= count; i += 16 / width) {                                                            \
            __m128i v = _mm_loadu_si128((const __m128i *)((const char *)src + width * i));                            \
            _mm_storeu_si128((__m128i *)((char *)dst + width * i), _mm_shuffle_epi8(v, shuffle));                     \
        }                                                                                                             \
        rest((char *)dst + width * i, (const char *)src + width * i, count - i);                                      \
    }

SWAP_SSSE3(ssse3_swap16, 2, SHUFFLE16, scalar_swap16)
SWAP_SSSE3(ssse3_swap32, 4, SHUFFLE32, scalar_swap32)
SWAP_SSSE3(ssse3_swap64, 8, SHUFFLE64, scalar_swap64)

TARGET("ssse3") static size_t ssse3_unpack4(void *dst, const void *src, size_t count) {
    const __m128i shuffle = _mm_setr_epi8(SHUFFLE_UNPACK4);
    const __m128i length = _mm_set1_epi32(0x04000000);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        __m128i a = _mm_loadu_si128((const __m128i *)((const char *)src + 8 * i));
        __m128i b = _mm_loadu_si128((const __m128i *)((const char *)src + 8 * i + 16));
        int right = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(a, length)))
                  & _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(b, length)));
        if ((right & 5) != 5)
            break;
        __m128i v = _mm_unpacklo_epi64(_mm_shuffle_epi8(a, shuffle), _mm_shuffle_epi8(b, shuffle));
        _mm_storeu_si128((__m128i *)((char *)dst + 4 * i), v);
    }
    return i + scalar_unpack4((char *)dst + 4 * i, (const char *)src + 8 * i, count - i);
}

TARGET("ssse3") static size_t ssse3_unpack8(void *dst, const void *src, size_t count) {
    const __m128i low = _mm_setr_epi8(SHUFFLE_UNPACK8_LOW), high = _mm_setr_epi8(SHUFFLE_UNPACK8_HIGH);
    const __m128i length = _mm_set1_epi32(0x08000000);
    size_t i = 0;
    for (; i + 2 <= count; i += 2) {
        __m128i a = _mm_loadu_si128((const __m128i *)((const char *)src + 12 * i));
        __m128i b = _mm_loadu_si128((const __m128i *)((const char *)src + 12 * i + 8));
        /* The lengths are word 0 of the one and word 1 of the other. */
        int first = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(a, length)));
        int second = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(b, length)));
        if (!(first & 1) || !(second & 2))
            break;
        __m128i v = _mm_or_si128(_mm_shuffle_epi8(a, low), _mm_shuffle_epi8(b, high));
        _mm_storeu_si128((__m128i *)((char *)dst + 8 * i), v);
    }
    return i + scalar_unpack8((char *)dst + 8 * i, (const char *)src + 12 * i, count - i);
}

TARGET("ssse3") static void ssse3_pack4(void *dst, const void *src, size_t count) {
    const __m128i shuffle = _mm_setr_epi8(SHUFFLE_PACK4);
    const __m128i length = _mm_setr_epi32(0x04000000, 0, 0x04000000, 0);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        __m128i v = _mm_loadu_si128((const __m128i *)((const char *)src + 4 * i));
        __m128i a = _mm_or_si128(_mm_shuffle_epi8(v, shuffle), length);
        __m128i b = _mm_or_si128(_mm_shuffle_epi8(_mm_unpackhi_epi64(v, v), shuffle), length);
        _mm_storeu_si128((__m128i *)((char *)dst + 8 * i), a);
        _mm_storeu_si128((__m128i *)((char *)dst + 8 * i + 16), b);
    }
    scalar_pack4((char *)dst + 8 * i, (const char *)src + 4 * i, count - i);
}

TARGET("ssse3") static void ssse3_pack8(void *dst, const void *src, size_t count) {
    const __m128i low = _mm_setr_epi8(SHUFFLE_PACK8_LOW), high = _mm_setr_epi8(SHUFFLE_PACK8_HIGH);
    const __m128i length = _mm_setr_epi32(0x08000000, 0, 0, 0x08000000);
    size_t i = 0;
    for (; i + 2 <= count; i += 2) {
        __m128i v = _mm_loadu_si128((const __m128i *)((const char *)src + 8 * i));
        _mm_storeu_si128((__m128i *)((char *)dst + 12 * i), _mm_or_si128(_mm_shuffle_epi8(v, low), length));
        _mm_storel_epi64((__m128i *)((char *)dst + 12 * i + 16), _mm_shuffle_epi8(v, high));
    }
    scalar_pack8((char *)dst + 12 * i, (const char *)src + 8 * i, count - i);
}

static const fastpg_swap_table ssse3 = {
    "ssse3", ssse3_swap16, ssse3_swap32, ssse3_swap64, ssse3_unpack4, ssse3_unpack8, ssse3_pack4, ssse3_pack8,
};

/* --------------------------------------------------------------------------------------------------------- AVX2 */

#define SWAP_AVX2(name, width, pattern, rest)                                                                         \
    TARGET("avx2") static void name(void *dst, const void *src, size_t count) {                                       \
        const __m256i shuffle = _mm256_setr_epi8(pattern, pattern);                                                   \
        size_t i = 0;                                                                                                 \
        for (; i + 32 / width <= count; i += 32 / width) {                                                            \
            __m256i v = _mm256_loadu_si256((const __m256i *)((const char *)src + width * i));                         \
            _mm256_storeu_si256((__m256i *)((char *)dst + width * i), _mm256_shuffle_epi8(v, shuffle));               \
        }                                                                                                             \
        rest((char *)dst + width * i, (const char *)src + width * i, count - i);                                      \
    }

SWAP_AVX2(avx2_swap16, 2, SHUFFLE16, scalar_swap16)
SWAP_AVX2(avx2_swap32, 4, SHUFFLE32, scalar_swap32)
SWAP_AVX2(avx2_swap64, 8, SHUFFLE64, scalar_swap64)

TARGET("avx2") static size_t avx2_unpack4(void *dst, const void *src, size_t count) {
    const __m256i shuffle = _mm256_setr_epi8(SHUFFLE_UNPACK4, SHUFFLE_UNPACK4);
    const __m256i length = _mm256_set1_epi32(0x04000000);
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256i a = _mm256_loadu_si256((const __m256i *)((const char *)src + 8 * i));
        __m256i b = _mm256_loadu_si256((const __m256i *)((const char *)src + 8 * i + 32));
        int right = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, length)))
                  & _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(b, length)));
        if ((right & 0x55) != 0x55)
            break;
        /* Halves a0 b0 a1 b1: the two in the middle change places. */
        __m256i v = _mm256_unpacklo_epi64(_mm256_shuffle_epi8(a, shuffle), _mm256_shuffle_epi8(b, shuffle));
        _mm256_storeu_si256((__m256i *)((char *)dst + 4 * i), _mm256_permute4x64_epi64(v, 0xd8));
    }
    return i + scalar_unpack4((char *)dst + 4 * i, (const char *)src + 8 * i, count - i);
}

TARGET("avx2") static __m256i avx2_two(const char *first, const char *second) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)first)),
                                   _mm_loadu_si128((const __m128i *)second), 1);
}

TARGET("avx2") static size_t avx2_unpack8(void *dst, const void *src, size_t count) {
    const __m256i low = _mm256_setr_epi8(SHUFFLE_UNPACK8_LOW, SHUFFLE_UNPACK8_LOW);
    const __m256i high = _mm256_setr_epi8(SHUFFLE_UNPACK8_HIGH, SHUFFLE_UNPACK8_HIGH);
    const __m256i length = _mm256_set1_epi32(0x08000000);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const char *p = (const char *)src + 12 * i;
        __m256i a = avx2_two(p, p + 24), b = avx2_two(p + 8, p + 32);
        int first = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, length)));
        int second = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(b, length)));
        if ((first & 0x11) != 0x11 || (second & 0x22) != 0x22)
            break;
        __m256i v = _mm256_or_si256(_mm256_shuffle_epi8(a, low), _mm256_shuffle_epi8(b, high));
        _mm256_storeu_si256((__m256i *)((char *)dst + 8 * i), v);
    }
    return i + scalar_unpack8((char *)dst + 8 * i, (const char *)src + 12 * i, count - i);
}

TARGET("avx2") static void avx2_pack4(void *dst, const void *src, size_t count) {
    const __m256i shuffle = _mm256_setr_epi8(SHUFFLE_PACK4, SHUFFLE_PACK4);
    const __m256i length = _mm256_setr_epi32(0x04000000, 0, 0x04000000, 0, 0x04000000, 0, 0x04000000, 0);
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256i v = _mm256_loadu_si256((const __m256i *)((const char *)src + 4 * i));
        /* Pairs of numbers 0 1 2 3 -> 0 2 1 3: each half then holds what goes out together. */
        v = _mm256_permute4x64_epi64(v, 0xd8);
        __m256i a = _mm256_or_si256(_mm256_shuffle_epi8(v, shuffle), length);
        __m256i b = _mm256_or_si256(_mm256_shuffle_epi8(_mm256_unpackhi_epi64(v, v), shuffle), length);
        _mm256_storeu_si256((__m256i *)((char *)dst + 8 * i), a);
        _mm256_storeu_si256((__m256i *)((char *)dst + 8 * i + 32), b);
    }
    scalar_pack4((char *)dst + 8 * i, (const char *)src + 4 * i, count - i);
}

static const fastpg_swap_table avx2 = {
    /* Packing eight-byte values is bound by the stores: nothing is won with wider vectors. */
    "avx2", avx2_swap16, avx2_swap32, avx2_swap64, avx2_unpack4, avx2_unpack8, avx2_pack4, ssse3_pack8,
};

static int has_ssse3(void) {
#if defined(_MSC_VER)
    int info[4];
    __cpuid(info, 1);
    return (info[2] >> 9) & 1;
#else
    return __builtin_cpu_supports("ssse3") != 0;
#endif
}

static int has_avx2(void) {
#if defined(_MSC_VER)
    int info[4];
    __cpuid(info, 0);
    if (info[0] < 7)
        return 0;
    __cpuid(info, 1);
    /* OSXSAVE and AVX, and the system saves the wide registers. */
    if (((info[2] >> 27) & 3) != 3 || (_xgetbv(0) & 6) != 6)
        return 0;
    __cpuidex(info, 7, 0);
    return (info[1] >> 5) & 1;
#else
    return __builtin_cpu_supports("avx2") != 0;
#endif
}

#endif /* WITH_X86 */

#ifdef WITH_NEON

/* --------------------------------------------------------------------------------------------------------- NEON */

#define SWAP_NEON(name, width, reverse, rest)                                                                         \
    static void name(void *dst, const void *src, size_t count) {                                                      \
        size_t i = 0;                                                                                                 \
        for (; i + 16 / width <= count; i += 16 / width)                                                              \
            vst1q_u8((uint8_t *)dst + width * i, reverse(vld1q_u8((const uint8_t *)src + width * i)));                \
        rest((char *)dst + width * i, (const char *)src + width * i, count - i);                                      \
    }

SWAP_NEON(neon_swap16, 2, vrev16q_u8, scalar_swap16)
SWAP_NEON(neon_swap32, 4, vrev32q_u8, scalar_swap32)
SWAP_NEON(neon_swap64, 8, vrev64q_u8, scalar_swap64)

static uint32x4_t reversed(uint32x4_t v) { return vreinterpretq_u32_u8(vrev32q_u8(vreinterpretq_u8_u32(v))); }

static size_t neon_unpack4(void *dst, const void *src, size_t count) {
    const uint32x4_t length = vdupq_n_u32(0x04000000);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        /* Lengths and values, each in a register of their own. */
        uint32x4x2_t v = vld2q_u32((const uint32_t *)((const char *)src + 8 * i));
        if (vminvq_u32(vceqq_u32(v.val[0], length)) == 0)
            break;
        vst1q_u32((uint32_t *)((char *)dst + 4 * i), reversed(v.val[1]));
    }
    return i + scalar_unpack4((char *)dst + 4 * i, (const char *)src + 8 * i, count - i);
}

static size_t neon_unpack8(void *dst, const void *src, size_t count) {
    const uint32x4_t length = vdupq_n_u32(0x08000000);
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        uint32x4x3_t v = vld3q_u32((const uint32_t *)((const char *)src + 12 * i));
        uint32x4x2_t words;
        if (vminvq_u32(vceqq_u32(v.val[0], length)) == 0)
            break;
        words.val[0] = reversed(v.val[2]);
        words.val[1] = reversed(v.val[1]);
        vst2q_u32((uint32_t *)((char *)dst + 8 * i), words);
    }
    return i + scalar_unpack8((char *)dst + 8 * i, (const char *)src + 12 * i, count - i);
}

static void neon_pack4(void *dst, const void *src, size_t count) {
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        uint32x4x2_t v;
        v.val[0] = vdupq_n_u32(0x04000000);
        v.val[1] = reversed(vld1q_u32((const uint32_t *)((const char *)src + 4 * i)));
        vst2q_u32((uint32_t *)((char *)dst + 8 * i), v);
    }
    scalar_pack4((char *)dst + 8 * i, (const char *)src + 4 * i, count - i);
}

static void neon_pack8(void *dst, const void *src, size_t count) {
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        uint32x4x2_t words = vld2q_u32((const uint32_t *)((const char *)src + 8 * i));
        uint32x4x3_t v;
        v.val[0] = vdupq_n_u32(0x08000000);
        v.val[1] = reversed(words.val[1]);
        v.val[2] = reversed(words.val[0]);
        vst3q_u32((uint32_t *)((char *)dst + 12 * i), v);
    }
    scalar_pack8((char *)dst + 12 * i, (const char *)src + 8 * i, count - i);
}

static const fastpg_swap_table neon = {
    "neon", neon_swap16, neon_swap32, neon_swap64, neon_unpack4, neon_unpack8, neon_pack4, neon_pack8,
};

#endif /* WITH_NEON */

const fastpg_swap_table *fastpg_swap_available(int index) {
    const fastpg_swap_table *tables[4];
    int count = 0;
    tables[count++] = &scalar;
#ifdef WITH_X86
    if (has_ssse3())
        tables[count++] = &ssse3;
    if (has_avx2())
        tables[count++] = &avx2;
#endif
#ifdef WITH_NEON
    tables[count++] = &neon;
#endif
    return index >= 0 && index < count ? tables[index] : NULL;
}
