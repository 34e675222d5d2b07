# SPDX-License-Identifier: MIT
# Codecs of the text types, and of the types whose values travel in their text form (money, tsvector, reg* ...).
# Payloads are UTF-8 both ways; for another client_encoding there are functions that go through Python's codecs.
# May import: codecs.codec, wire, exceptions.

from cpython.exc cimport PyErr_Clear
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, FORMAT_BINARY, FORMAT_TEXT, KIND_TEXT, Codec, out_of_range, register,
)
from fastpg.wire cimport Out, out_need, out_value, put_bytes, put_u8, put_u32, wire_len

from fastpg.exceptions import UnrepresentableValueError


cdef extern from "Python.h":
    PyObject *PyUnicode_DecodeUTF8(const char *p, Py_ssize_t n, const char *errors)
    const char *PyUnicode_AsUTF8AndSize(object value, Py_ssize_t *n) except NULL
    bint PyUnicode_IS_COMPACT_ASCII(object value)
    Py_ssize_t PyUnicode_GET_LENGTH(object value)
    const char *ascii_data "(const char *)PyUnicode_DATA" (object value)
    # A new reference changes hands: what Cython calls a function returning an object.
    object owned "(PyObject *)" (PyObject *reference)


cdef object _undecodable(const Codec *codec, const char *p, Py_ssize_t n):
    # Decode again for the reason; MemoryError passes.
    try:
        return p[:n].decode("utf-8")
    except UnicodeDecodeError as error:
        return out_of_range(codec, str(error))


cdef object text_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef PyObject *result = PyUnicode_DecodeUTF8(p, n, NULL)
    if result == NULL:
        PyErr_Clear()
        return _undecodable(self, p, n)
    return owned(result)


cdef int _not_str(object value) except -1:
    raise TypeError(f"expected str, got {type(value).__name__}")


cdef int text_encode(const Codec *self, Out *out, object value) except -1:
    cdef const char *p
    cdef Py_ssize_t n
    if not PyUnicode_Check(value):
        _not_str(value)
    if PyUnicode_IS_COMPACT_ASCII(value):
        return out_value(out, ascii_data(value), PyUnicode_GET_LENGTH(value))
    p = PyUnicode_AsUTF8AndSize(value, &n)
    return out_value(out, p, n)


cdef int text_encode_versioned(Out *out, object value, char version) except -1:
    cdef Py_ssize_t n
    if not PyUnicode_Check(value):
        _not_str(value)
    cdef const char *p = PyUnicode_AsUTF8AndSize(value, &n)
    wire_len(n + 1)
    out_need(out, n + 5)
    put_u32(out, <uint32_t>(n + 1))
    put_u8(out, version)
    put_bytes(out, p, n)
    return 0


# ---------------------------------------------------------- another client_encoding

cdef object encoded_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef object encoding = <object>self.extra
    try:
        return p[:n].decode(encoding)
    except UnicodeDecodeError as error:
        raise UnrepresentableValueError(f"value of type {self.name.decode()}: {error}") from error


cdef int encoded_encode(const Codec *self, Out *out, object value) except -1:
    cdef bytes data
    cdef const char *p
    if not PyUnicode_Check(value):
        _not_str(value)
    data = value.encode(<object>self.extra)
    p = data
    return out_value(out, p, len(data))


# ------------------------------------------------------------------------------ table

cdef enum:
    COUNT = 80

cdef Codec _codecs[COUNT]
cdef int _used = 0


cdef int _add(uint32_t oid, const char *name, int format) except -1:
    global _used
    if _used == COUNT:
        raise RuntimeError("too many text codecs")
    cdef Codec *codec = &_codecs[_used]
    _used += 1
    codec.oid = oid
    codec.size = -1
    codec.kind = KIND_TEXT
    codec.format = format
    codec.flags = CODEC_ATOMIC
    codec.decode = text_decode
    codec.encode = text_encode
    codec.name = name
    return register(codec)


# The binary form is the text itself.
_add(25, b"text", FORMAT_BINARY)
_add(1043, b"varchar", FORMAT_BINARY)
_add(1042, b"bpchar", FORMAT_BINARY)
_add(19, b"name", FORMAT_BINARY)
_add(142, b"xml", FORMAT_BINARY)
_add(705, b"unknown", FORMAT_BINARY)
_add(2275, b"cstring", FORMAT_BINARY)
_add(1790, b"refcursor", FORMAT_BINARY)
_add(194, b"pg_node_tree", FORMAT_BINARY)

# Transferred in the text form: str has no better type for them, or there is no binary form.
_add(790, b"money", FORMAT_TEXT)
_add(829, b"macaddr", FORMAT_TEXT)
_add(774, b"macaddr8", FORMAT_TEXT)
_add(1033, b"aclitem", FORMAT_TEXT)
_add(3614, b"tsvector", FORMAT_TEXT)
_add(3615, b"tsquery", FORMAT_TEXT)
_add(3642, b"gtsvector", FORMAT_TEXT)
_add(24, b"regproc", FORMAT_TEXT)
_add(2202, b"regprocedure", FORMAT_TEXT)
_add(2203, b"regoper", FORMAT_TEXT)
_add(2204, b"regoperator", FORMAT_TEXT)
_add(2205, b"regclass", FORMAT_TEXT)
_add(2206, b"regtype", FORMAT_TEXT)
_add(3734, b"regconfig", FORMAT_TEXT)
_add(3769, b"regdictionary", FORMAT_TEXT)
_add(4089, b"regnamespace", FORMAT_TEXT)
_add(4096, b"regrole", FORMAT_TEXT)
_add(4191, b"regcollation", FORMAT_TEXT)
_add(6490, b"regdatabase", FORMAT_TEXT)       # PostgreSQL 19
_add(3361, b"pg_ndistinct", FORMAT_TEXT)
_add(3402, b"pg_dependencies", FORMAT_TEXT)
_add(5017, b"pg_mcv_list", FORMAT_TEXT)
_add(4600, b"pg_brin_bloom_summary", FORMAT_TEXT)
_add(4601, b"pg_brin_minmax_multi_summary", FORMAT_TEXT)
_add(32, b"pg_ddl_command", FORMAT_TEXT)

# Pseudo-types: columns of some catalogs and views carry them, and they print as text.
_add(2276, b"any", FORMAT_TEXT)
_add(2277, b"anyarray", FORMAT_TEXT)
_add(2283, b"anyelement", FORMAT_TEXT)
_add(2776, b"anynonarray", FORMAT_TEXT)
_add(3500, b"anyenum", FORMAT_TEXT)
_add(3831, b"anyrange", FORMAT_TEXT)
_add(4537, b"anymultirange", FORMAT_TEXT)
_add(4538, b"anycompatiblemultirange", FORMAT_TEXT)
_add(5077, b"anycompatible", FORMAT_TEXT)
_add(5078, b"anycompatiblearray", FORMAT_TEXT)
_add(5079, b"anycompatiblenonarray", FORMAT_TEXT)
_add(5080, b"anycompatiblerange", FORMAT_TEXT)
_add(2279, b"trigger", FORMAT_TEXT)
_add(3838, b"event_trigger", FORMAT_TEXT)
_add(2280, b"language_handler", FORMAT_TEXT)
_add(2281, b"internal", FORMAT_TEXT)
_add(3115, b"fdw_handler", FORMAT_TEXT)
_add(325, b"index_am_handler", FORMAT_TEXT)
_add(3310, b"tsm_handler", FORMAT_TEXT)
_add(269, b"table_am_handler", FORMAT_TEXT)
