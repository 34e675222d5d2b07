# SPDX-License-Identifier: MIT
# Frontend messages. Free functions on one Out; a message whose writing fails leaves the caller to roll back.
# May import: wire.

from fastpg.wire cimport (
    FASTPG_MAX_MESSAGE, Out, out_begin_message, out_bytes, out_cstring, out_end_message, out_i16, out_i32, out_u8,
    out_value, wire_len,
)


cdef int write_query(Out *out, bytes sql) except -1:
    cdef Py_ssize_t at = out_begin_message(out, b"Q")
    out_cstring(out, sql, len(sql))
    return out_end_message(out, at, FASTPG_MAX_MESSAGE)


cdef int write_parse(Out *out, bytes name, bytes sql, tuple oids) except -1:
    cdef Py_ssize_t at = out_begin_message(out, b"P")
    cdef uint32_t oid
    out_cstring(out, name, len(name))
    out_cstring(out, sql, len(sql))
    if len(oids) > 65535:
        raise ValueError("more than 65535 parameter types")
    out_i16(out, <short>len(oids))
    for oid in oids:
        out_i32(out, <int>oid)
    return out_end_message(out, at, FASTPG_MAX_MESSAGE)


cdef int write_named(Out *out, char tag, char what, bytes name) except -1:
    cdef Py_ssize_t at = out_begin_message(out, tag)
    out_u8(out, <unsigned char>what)
    out_cstring(out, name, len(name))
    return out_end_message(out, at, MAX_SMALL_MESSAGE)


cdef int write_describe(Out *out, char what, bytes name) except -1:
    return write_named(out, b"D", what, name)


cdef int write_close(Out *out, char what, bytes name) except -1:
    return write_named(out, b"C", what, name)


cdef int write_execute(Out *out, bytes portal, uint32_t limit) except -1:
    cdef Py_ssize_t at = out_begin_message(out, b"E")
    out_cstring(out, portal, len(portal))
    out_i32(out, <int>limit)
    return out_end_message(out, at, MAX_SMALL_MESSAGE)


cdef int write_sync(Out *out) except -1:
    return out_bytes(out, b"S\0\0\0\4", 5)


cdef int write_flush(Out *out) except -1:
    return out_bytes(out, b"H\0\0\0\4", 5)


cdef int write_terminate(Out *out) except -1:
    return out_bytes(out, b"X\0\0\0\4", 5)


cdef int begin_copy_data(Out *out, Py_ssize_t n) except -1:
    # wire_len() keeps the whole message, length word included, below the server's limit.
    cdef int length = wire_len(n + 4)
    out_u8(out, b"d")
    return out_i32(out, length)


cdef int write_copy_data(Out *out, const char *p, Py_ssize_t n) except -1:
    begin_copy_data(out, n)
    return out_bytes(out, p, n)


cdef int write_copy_done(Out *out) except -1:
    return out_bytes(out, b"c\0\0\0\4", 5)


cdef int write_copy_fail(Out *out, bytes reason) except -1:
    cdef Py_ssize_t at = out_begin_message(out, b"f")
    out_cstring(out, reason, len(reason))
    return out_end_message(out, at, MAX_SMALL_MESSAGE)


cdef int write_function_call(Out *out, uint32_t oid, tuple arguments) except -1:
    # Arguments are bytes in binary format, or None; the result comes in binary.
    cdef Py_ssize_t at = out_begin_message(out, b"F")
    cdef bytes argument
    cdef const char *p
    if len(arguments) > 65535:
        raise ValueError("more than 65535 arguments")
    out_i32(out, <int>oid)
    out_i16(out, 1)
    out_i16(out, 1)
    out_i16(out, <short>len(arguments))
    for value in arguments:
        if value is None:
            out_i32(out, -1)
        else:
            argument = value
            p = argument
            out_value(out, p, len(argument))
    out_i16(out, 1)
    return out_end_message(out, at, FASTPG_MAX_MESSAGE)
