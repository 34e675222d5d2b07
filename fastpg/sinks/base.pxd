# SPDX-License-Identifier: MIT
# What the sinks that make a list of rows share: the walk over a row's fields, and the rows that wait for their types.

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t

from fastpg.codecs.codec cimport KIND_FLOAT8, KIND_INT4, KIND_INT8, Codec
from fastpg.protocol.row cimport RowPlan, RowSink, raise_truncated, raise_wrong_size, row_fields
from fastpg.wire cimport load_f64, load_i32, load_i64, load_u16

cdef extern from "Python.h":
    PyObject *PyLong_FromLong(long value) except NULL
    PyObject *PyLong_FromLongLong(long long value) except NULL
    PyObject *PyFloat_FromDouble(double value) except NULL

# A decoder as it is in C: the new reference goes into the row without being counted up and down.
ctypedef PyObject *(*raw_decode_fn)(const Codec *self, const char *p, Py_ssize_t n) except NULL


cdef class ListSink(RowSink):
    """A list of rows. A format overrides decode(), which appends the rows of a run to `result`."""
    cdef list result
    cdef list kept              # rows as they came, from the first one that holds an unknown type on
    cdef object unknown         # its UnknownTypeError

    # `column` tells where it was when it raised.
    cdef int decode(self, const char *p, const char *end, Py_ssize_t *column) except -1


cdef class ItemSink(ListSink):
    """A list of rows that are made of their values when these are there. A format overrides row()."""

    # Takes the values: they are NULL afterwards. Behind them is room for as many pointers more.
    cdef object row(self, RowPlan plan, PyObject **items)


cdef inline PyObject *decode_field(const Codec *codec, const char *p, Py_ssize_t n) except NULL:
    # The three kinds of which results are widest, without the call through the pointer.
    if codec.kind == KIND_INT4:
        return PyLong_FromLong(load_i32(p))
    if codec.kind == KIND_FLOAT8:
        return PyFloat_FromDouble(load_f64(p))
    if codec.kind == KIND_INT8:
        return PyLong_FromLongLong(load_i64(p))
    return (<raw_decode_fn>codec.decode)(codec, p, n)


cdef inline const char *decode_row(RowPlan plan, const char *p, PyObject **items, Py_ssize_t *column) except NULL:
    # The hot loop: the DataRow frame at `p` into items, of which there are plan.count, all NULL. Where the next frame
    # begins. When it raises, the values before `column` are there, and are the caller's to release.
    cdef const Codec **codecs = plan.codecs
    cdef Py_ssize_t i, count = plan.count
    cdef const char *row_end = p + 1 + load_i32(p + 1)
    cdef const char *head
    cdef const Codec *codec
    cdef int32_t n
    p += 5
    if row_end - p < 2 or load_u16(p) != count:
        head = p                    # a pointer to `p` itself would keep it out of a register
        row_fields(plan, &head, row_end)
    p += 2
    for i in range(count):
        if row_end - p < 4:
            raise_truncated("DataRow")
        n = load_i32(p)
        p += 4
        if n < 0:
            if n != -1:
                raise_truncated("DataRow")
            Py_INCREF(None)
            items[i] = <PyObject *>None
            continue
        codec = codecs[i]
        if n > row_end - p:
            raise_truncated("DataRow")
        if n != codec.size and codec.size >= 0:
            raise_wrong_size(codec, n)
        column[0] = i
        items[i] = decode_field(codec, p, n)
        p += n
    if p != row_end:
        raise_truncated("DataRow")
    return row_end
