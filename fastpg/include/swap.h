/* SPDX-License-Identifier: MIT
 *
 * swap.h: many numbers at once between the wire's byte order and the host's.
 *
 *   swap16/32/64       count numbers, contiguous on both sides
 *   unpack4/8          the elements of an array as they are on the wire, (int32 length, value) each, to contiguous
 *                      numbers; stops at the first element whose length is not 4 (8) and returns how many it took
 *   pack4/8            the other way round
 *
 * Any alignment; src and dst do not overlap; not a byte outside of them is read or written. There is one table of
 * functions for each instruction set, and they differ in nothing but time (tests/test_simd.py).
 */
#ifndef FASTPG_SWAP_H
#define FASTPG_SWAP_H

#include <stddef.h>

typedef struct {
    const char *name;
    void (*swap16)(void *dst, const void *src, size_t count);
    void (*swap32)(void *dst, const void *src, size_t count);
    void (*swap64)(void *dst, const void *src, size_t count);
    size_t (*unpack4)(void *dst, const void *src, size_t count);
    size_t (*unpack8)(void *dst, const void *src, size_t count);
    void (*pack4)(void *dst, const void *src, size_t count);
    void (*pack8)(void *dst, const void *src, size_t count);
} fastpg_swap_table;

/* The tables that this machine can run, from the slowest to the fastest; NULL after the last. */
const fastpg_swap_table *fastpg_swap_available(int index);

#endif
