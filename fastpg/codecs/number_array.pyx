# SPDX-License-Identifier: MIT
# Arrays of int4, int8, float4 and float8, many elements at once. To read one, lengths are checked and bytes swapped
# block by block (simd), then the objects are made. One is written out of whatever offers its memory as numbers of that
# very type, without making objects of them. What does not fit is left to array.pyx. May import: wire, simd, codec.

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.list cimport PyList_New
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t

from fastpg.codecs.codec cimport (
    CODEC_ZERO_BASED, FORMAT_BINARY, KIND_FLOAT4, KIND_FLOAT8, KIND_INT4, KIND_INT8, Codec,
)
from fastpg.simd cimport pack_4, pack_8, unpack_4, unpack_8
from fastpg.wire cimport Out, load_i32, out_begin_value, out_end_value, out_i32, out_need

import sys

cdef extern from "Python.h":
    PyObject *PyLong_FromLong(long value) except NULL
    PyObject *PyLong_FromLongLong(long long value) except NULL
    PyObject *PyFloat_FromDouble(double value) except NULL
    # Takes the reference over.
    void PyList_SET_ITEM(PyObject *values, Py_ssize_t i, PyObject *item)

cdef enum:
    BLOCK = 256                 # numbers on the stack
    MAX_DIMENSIONS = 6

cdef bint LITTLE = sys.byteorder == "little"


cdef union Numbers:
    int32_t int4[BLOCK]
    int64_t int8[BLOCK]
    float float4[BLOCK]
    double float8[BLOCK]


cdef list decode_numbers(const Codec *element, const char *p, const char *end, int32_t count):
    cdef Numbers numbers
    cdef int kind = element.kind
    cdef Py_ssize_t width = 4 if kind == KIND_INT4 or kind == KIND_FLOAT4 else 8
    cdef Py_ssize_t i, take, taken, at = 0
    cdef PyObject *item
    cdef list result
    if element.format != FORMAT_BINARY or kind not in (KIND_INT4, KIND_INT8, KIND_FLOAT4, KIND_FLOAT8):
        return None
    result = PyList_New(count)
    while at < count:
        take = min(count - at, BLOCK, (end - p) // (4 + width))
        if width == 4:
            taken = <Py_ssize_t>unpack_4(&numbers, p, take)
        else:
            taken = <Py_ssize_t>unpack_8(&numbers, p, take)
        for i in range(taken):
            if kind == KIND_INT4:
                item = PyLong_FromLong(numbers.int4[i])
            elif kind == KIND_INT8:
                item = PyLong_FromLongLong(numbers.int8[i])
            elif kind == KIND_FLOAT8:
                item = PyFloat_FromDouble(numbers.float8[i])
            else:
                item = PyFloat_FromDouble(numbers.float4[i])
            PyList_SET_ITEM(<PyObject *>result, at + i, item)
        p += taken * (4 + width)
        at += taken
        if taken < take or take == 0:
            # A NULL, or an error that the general way has the words for.
            if end - p < 4 or load_i32(p) != -1:
                return None
            Py_INCREF(None)
            PyList_SET_ITEM(<PyObject *>result, at, <PyObject *>None)
            p += 4
            at += 1
    return result if p == end else None


cdef bint is_native(const char *format, Py_ssize_t itemsize, int kind) noexcept:
    # Formats of the module struct; sizes tell what 'l' is here.
    if format == NULL:
        return False
    if format[0] == b"@" or format[0] == b"=" or format[0] == (b"<" if LITTLE else b">"):
        format += 1
    if format[0] == 0 or format[1] != 0:
        return False
    if kind == KIND_INT4:
        return itemsize == 4 and format[0] in (b"i", b"l")
    if kind == KIND_INT8:
        return itemsize == 8 and format[0] in (b"q", b"l")
    if kind == KIND_FLOAT4:
        return itemsize == 4 and format[0] == b"f"
    if kind == KIND_FLOAT8:
        return itemsize == 8 and format[0] == b"d"
    return False


cdef bint encode_buffer(const Codec *self, Out *out, object value) except -1:
    cdef const Codec *element = self.element
    cdef Py_buffer view
    if element.kind not in (KIND_INT4, KIND_INT8, KIND_FLOAT4, KIND_FLOAT8) or not PyObject_CheckBuffer(value):
        return False
    if isinstance(value, (bytes, bytearray, memoryview)):
        return False            # bytes are no numbers, whatever their format says
    try:
        PyObject_GetBuffer(value, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    except (BufferError, TypeError, ValueError):
        return False
    try:
        if view.ndim < 1 or view.ndim > MAX_DIMENSIONS or view.len == 0:
            return False
        if not is_native(view.format, view.itemsize, element.kind):
            return False
        write_numbers(self, out, &view)
    finally:
        PyBuffer_Release(&view)
    return True


cdef int write_numbers(const Codec *self, Out *out, Py_buffer *view) except -1:
    cdef Py_ssize_t i, count = view.len // view.itemsize
    cdef Py_ssize_t at = out_begin_value(out)
    out_i32(out, <int32_t>view.ndim)
    out_i32(out, 0)
    out_i32(out, <int32_t>self.element.oid)
    for i in range(view.ndim):
        if view.shape[i] > 0x7fffffff:
            raise ValueError("array dimension too large")
        out_i32(out, <int32_t>view.shape[i])
        out_i32(out, 0 if self.flags & CODEC_ZERO_BASED else 1)
    out_need(out, count * (4 + view.itemsize))
    if view.itemsize == 4:
        pack_4(out.buf + out.len, view.buf, count)
    else:
        pack_8(out.buf + out.len, view.buf, count)
    out.len += count * (4 + view.itemsize)
    return out_end_value(out, at)
