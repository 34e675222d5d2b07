/* SPDX-License-Identifier: MIT
 *
 * wire.h: the primitives every hot path is made of, as static inline functions.
 *
 *   load_* / store_*   big-endian scalars at any alignment
 *   Out, out_*         the one growing buffer that frontend messages and values are written into
 *   wire_len()         the only place where a size becomes a 32-bit wire length
 *
 * Rules: no Python objects beyond raising an exception, no state. Whoever reads checks the bounds once
 * before it loads; nothing here re-checks.
 */
#ifndef FASTPG_WIRE_H
#define FASTPG_WIRE_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#  include <stdlib.h>
#  define FASTPG_BSWAP16(x) _byteswap_ushort(x)
#  define FASTPG_BSWAP32(x) _byteswap_ulong(x)
#  define FASTPG_BSWAP64(x) _byteswap_uint64(x)
#  define FASTPG_UNLIKELY(x) (x)
#  define FASTPG_NOINLINE __declspec(noinline)
#  define FASTPG_UNUSED
#else
#  define FASTPG_BSWAP16(x) __builtin_bswap16(x)
#  define FASTPG_BSWAP32(x) __builtin_bswap32(x)
#  define FASTPG_BSWAP64(x) __builtin_bswap64(x)
#  define FASTPG_UNLIKELY(x) __builtin_expect(!!(x), 0)
#  define FASTPG_NOINLINE __attribute__((noinline))
#  define FASTPG_UNUSED __attribute__((unused))
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#  define FASTPG_BE16(x) (x)
#  define FASTPG_BE32(x) (x)
#  define FASTPG_BE64(x) (x)
#else
#  define FASTPG_BE16(x) FASTPG_BSWAP16(x)
#  define FASTPG_BE32(x) FASTPG_BSWAP32(x)
#  define FASTPG_BE64(x) FASTPG_BSWAP64(x)
#endif

/* The server closes the connection without a word on a longer message (measured, PostgreSQL 15). */
#define FASTPG_MAX_MESSAGE 0x3ffffffe

/* ------------------------------------------------------------------ loads */

static inline uint16_t load_u16(const char *p) { uint16_t v; memcpy(&v, p, 2); return FASTPG_BE16(v); }
static inline uint32_t load_u32(const char *p) { uint32_t v; memcpy(&v, p, 4); return FASTPG_BE32(v); }
static inline uint64_t load_u64(const char *p) { uint64_t v; memcpy(&v, p, 8); return FASTPG_BE64(v); }
static inline int16_t load_i16(const char *p) { return (int16_t)load_u16(p); }
static inline int32_t load_i32(const char *p) { return (int32_t)load_u32(p); }
static inline int64_t load_i64(const char *p) { return (int64_t)load_u64(p); }
static inline float load_f32(const char *p) { uint32_t v = load_u32(p); float f; memcpy(&f, &v, 4); return f; }
static inline double load_f64(const char *p) { uint64_t v = load_u64(p); double f; memcpy(&f, &v, 8); return f; }

/* ----------------------------------------------------------------- stores */

static inline void store_u16(char *p, uint16_t v) { v = FASTPG_BE16(v); memcpy(p, &v, 2); }
static inline void store_u32(char *p, uint32_t v) { v = FASTPG_BE32(v); memcpy(p, &v, 4); }
static inline void store_u64(char *p, uint64_t v) { v = FASTPG_BE64(v); memcpy(p, &v, 8); }

/* -------------------------------------------------------------------- Out */

typedef struct {
    char *buf;
    Py_ssize_t len;
    Py_ssize_t cap;
} Out;

static FASTPG_NOINLINE FASTPG_UNUSED int out_grow(Out *out, Py_ssize_t more) {
    if (more < 0 || out->len > PY_SSIZE_T_MAX / 2 - more) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t need = out->len + more;
    Py_ssize_t cap = out->cap ? out->cap : 1024;
    while (cap < need) cap += cap;
    char *buf = (char *)PyMem_Realloc(out->buf, (size_t)cap);
    if (buf == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    out->buf = buf;
    out->cap = cap;
    return 0;
}

/* Room for n more bytes, or -1 with MemoryError. */
static inline int out_need(Out *out, Py_ssize_t n) {
    return FASTPG_UNLIKELY(out->cap - out->len < n) ? out_grow(out, n) : 0;
}

static inline void out_free(Out *out) {
    PyMem_Free(out->buf);
    out->buf = NULL;
    out->len = out->cap = 0;
}

/* put_*: the caller has called out_need(). out_*: with the check. */
static inline void put_u8(Out *out, uint8_t v) { out->buf[out->len++] = (char)v; }
static inline void put_u16(Out *out, uint16_t v) { store_u16(out->buf + out->len, v); out->len += 2; }
static inline void put_u32(Out *out, uint32_t v) { store_u32(out->buf + out->len, v); out->len += 4; }
static inline void put_u64(Out *out, uint64_t v) { store_u64(out->buf + out->len, v); out->len += 8; }
static inline void put_bytes(Out *out, const void *p, Py_ssize_t n) {
    memcpy(out->buf + out->len, p, (size_t)n);
    out->len += n;
}

static inline int out_u8(Out *out, uint8_t v) { if (out_need(out, 1)) return -1; put_u8(out, v); return 0; }
static inline int out_i16(Out *out, int16_t v) { if (out_need(out, 2)) return -1; put_u16(out, (uint16_t)v); return 0; }
static inline int out_i32(Out *out, int32_t v) { if (out_need(out, 4)) return -1; put_u32(out, (uint32_t)v); return 0; }
static inline int out_i64(Out *out, int64_t v) { if (out_need(out, 8)) return -1; put_u64(out, (uint64_t)v); return 0; }
static inline int out_bytes(Out *out, const void *p, Py_ssize_t n) {
    if (out_need(out, n)) return -1;
    if (n) put_bytes(out, p, n);
    return 0;
}

/* The one checked narrowing of a size to a wire length (ValueError beyond the server's message limit). */
static inline int32_t wire_len(Py_ssize_t n) {
    if (FASTPG_UNLIKELY(n < 0 || n > FASTPG_MAX_MESSAGE)) {
        PyErr_Format(PyExc_ValueError,
                     "value of %zd bytes does not fit: a message to the server cannot exceed %d bytes",
                     n, FASTPG_MAX_MESSAGE);
        return -1;
    }
    return (int32_t)n;
}

/* A value whose length is known: the int32 length, then the bytes. */
static inline int out_value(Out *out, const void *p, Py_ssize_t n) {
    int32_t len = wire_len(n);
    if (FASTPG_UNLIKELY(len < 0)) return -1;
    if (out_need(out, n + 4)) return -1;
    put_u32(out, (uint32_t)len);
    if (n) put_bytes(out, p, n);
    return 0;
}

/* A value of unknown length: at = out_begin_value(); write; out_end_value(at). Offsets, since buf may move. */
static inline Py_ssize_t out_begin_value(Out *out) {
    if (out_need(out, 4)) return -1;
    out->len += 4;
    return out->len - 4;
}
static inline int out_end_value(Out *out, Py_ssize_t at) {
    int32_t len = wire_len(out->len - at - 4);
    if (FASTPG_UNLIKELY(len < 0)) return -1;
    store_u32(out->buf + at, (uint32_t)len);
    return 0;
}

/* A frontend message: at = out_begin_message(tag); write; out_end_message(at, limit). */
static inline Py_ssize_t out_begin_message(Out *out, char tag) {
    if (out_need(out, 5)) return -1;
    out->buf[out->len] = tag;
    out->len += 5;
    return out->len - 5;
}
static inline int out_end_message(Out *out, Py_ssize_t at, Py_ssize_t limit) {
    Py_ssize_t n = out->len - at - 1;
    if (FASTPG_UNLIKELY(n < 4 || n > limit)) {
        PyErr_Format(PyExc_ValueError, "message of %zd bytes exceeds the server's limit of %zd bytes", n, limit);
        return -1;
    }
    store_u32(out->buf + at + 1, (uint32_t)n);
    return 0;
}

/* A C string of the protocol: no NUL inside, NUL after. */
static inline int out_cstring(Out *out, const char *p, Py_ssize_t n) {
    if (FASTPG_UNLIKELY(n && memchr(p, 0, (size_t)n) != NULL)) {
        PyErr_SetString(PyExc_ValueError, "a NUL character cannot be sent in a protocol string");
        return -1;
    }
    if (out_need(out, n + 1)) return -1;
    if (n) put_bytes(out, p, n);
    put_u8(out, 0);
    return 0;
}

/* Length of the C string at p within [p, end), or -1 when its NUL is missing. */
static inline Py_ssize_t cstring_len(const char *p, const char *end) {
    if (p >= end) return -1;
    const char *nul = (const char *)memchr(p, 0, (size_t)(end - p));
    return nul == NULL ? -1 : nul - p;
}

#endif
