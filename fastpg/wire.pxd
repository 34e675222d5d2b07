# SPDX-License-Identifier: MIT
# Declarations of include/wire.h: the primitives of every hot path. Bodies live in the header.

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "wire.h" nogil:
    const int FASTPG_MAX_MESSAGE

    ctypedef struct Out:
        char *buf
        Py_ssize_t len
        Py_ssize_t cap

    uint16_t load_u16(const char *p)
    uint32_t load_u32(const char *p)
    uint64_t load_u64(const char *p)
    int16_t load_i16(const char *p)
    int32_t load_i32(const char *p)
    int64_t load_i64(const char *p)
    float load_f32(const char *p)
    double load_f64(const char *p)
    void store_u16(char *p, uint16_t v)
    void store_u32(char *p, uint32_t v)
    void store_u64(char *p, uint64_t v)
    void put_u8(Out *out, uint8_t v)
    void put_u16(Out *out, uint16_t v)
    void put_u32(Out *out, uint32_t v)
    void put_u64(Out *out, uint64_t v)
    void put_bytes(Out *out, const void *p, Py_ssize_t n)
    void out_free(Out *out)
    Py_ssize_t cstring_len(const char *p, const char *end)


cdef extern from "wire.h":
    int out_need(Out *out, Py_ssize_t n) except -1
    int out_u8(Out *out, uint8_t v) except -1
    int out_i16(Out *out, int16_t v) except -1
    int out_i32(Out *out, int32_t v) except -1
    int out_i64(Out *out, int64_t v) except -1
    int out_bytes(Out *out, const void *p, Py_ssize_t n) except -1
    int out_value(Out *out, const void *p, Py_ssize_t n) except -1
    int32_t wire_len(Py_ssize_t n) except -1
    Py_ssize_t out_begin_value(Out *out) except -1
    int out_end_value(Out *out, Py_ssize_t at) except -1
    Py_ssize_t out_begin_message(Out *out, char tag) except -1
    int out_end_message(Out *out, Py_ssize_t at, Py_ssize_t limit) except -1
    int out_cstring(Out *out, const char *p, Py_ssize_t n) except -1
