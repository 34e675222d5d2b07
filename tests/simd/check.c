/* SPDX-License-Identifier: MIT
 *
 * Every table of swap.c against the scalar one, without Python: for processors that are only emulated here. Buffers
 * are of the exact size, at every alignment; the bytes around a result must stay as they are. Prints the tables.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "swap.h"

#define GUARD 16

static uint32_t state = 2463534242u;

static uint32_t chance(void) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static int failed(const char *table, const char *what, size_t count, size_t offset) {
    printf("%s %s differs from scalar: count %zu, offset %zu\n", table, what, count, offset);
    return 1;
}

/* kind: 0 to 6 as in the table. */
static size_t run(const fastpg_swap_table *table, int kind, void *dst, const void *src, size_t count) {
    switch (kind) {
    case 0: table->swap16(dst, src, count); return count;
    case 1: table->swap32(dst, src, count); return count;
    case 2: table->swap64(dst, src, count); return count;
    case 3: return table->unpack4(dst, src, count);
    case 4: return table->unpack8(dst, src, count);
    case 5: table->pack4(dst, src, count); return count;
    default: table->pack8(dst, src, count); return count;
    }
}

int main(void) {
    static const char *names[] = {"swap16", "swap32", "swap64", "unpack4", "unpack8", "pack4", "pack8"};
    static const size_t in[] = {2, 4, 8, 8, 12, 4, 8}, out[] = {2, 4, 8, 4, 8, 8, 12};
    const fastpg_swap_table *scalar = fastpg_swap_available(0);
    for (int index = 0; fastpg_swap_available(index) != NULL; index++) {
        const fastpg_swap_table *table = fastpg_swap_available(index);
        for (int kind = 0; kind < 7; kind++) {
            for (size_t count = 0; count <= 70; count++) {
                for (size_t offset = 0; offset < 16; offset++) {
                    size_t size = out[kind] * count + offset + GUARD;
                    unsigned char *src = malloc(in[kind] * count + offset + 1);
                    unsigned char *a = malloc(size), *b = malloc(size);
                    size_t wrong = chance() % 3 ? count : chance() % (count + 1);
                    for (size_t i = 0; i < in[kind] * count + offset; i++)
                        src[i] = (unsigned char)chance();
                    for (size_t i = 0; (kind == 3 || kind == 4) && i < count; i++) {
                        unsigned char *p = src + offset + in[kind] * i;
                        p[0] = p[1] = p[2] = 0;
                        p[3] = (unsigned char)(kind == 3 ? 4 : 8);
                        if (i == wrong)
                            p[chance() % 4] ^= 1u << (chance() % 8);
                    }
                    memset(a, 0xa5, size);
                    memset(b, 0xa5, size);
                    size_t expected = run(scalar, kind, a + offset, src + offset, count);
                    size_t taken = run(table, kind, b + offset, src + offset, count);
                    /* Behind an element of another length a block may not have been written at all. */
                    if (taken != expected || memcmp(a, b, offset + out[kind] * taken) ||
                        memcmp(a + size - GUARD, b + size - GUARD, GUARD))
                        return failed(table->name, names[kind], count, offset);
                    free(src);
                    free(a);
                    free(b);
                }
            }
        }
        printf("%s\n", table->name);
    }
    return 0;
}
