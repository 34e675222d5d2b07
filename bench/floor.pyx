# SPDX-License-Identifier: MIT
# The object floor: loops that only make the Python objects of the results `wide` and `floats`, each as cheaply as
# CPython's C API makes it, in tuples. No bytes are parsed, nothing is checked: no driver can be below it.
# Built by `make bench`, apart from the package.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.datetime cimport date_new, datetime_new, get_utc, import_datetime
from cpython.object cimport PyObject_GenericSetAttr
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

from fastpg.pgproto.pgproto import UUID

cdef extern from "Python.h":
    object PyType_GenericAlloc(void *cls, Py_ssize_t items)
    void PyObject_GC_UnTrack(void *op)

import_datetime()
cdef object utc = get_utc()

# An int times a power of ten in a context of unlimited precision: the cheapest public road to a Decimal.
cdef object multiply = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN).multiply
cdef object hundredth = Decimal("0.01")


cdef inline void put(object row, Py_ssize_t i, object value):
    Py_INCREF(value)
    PyTuple_SET_ITEM(row, i, value)


cdef object make_uuid(const char *p):
    value = PyType_GenericAlloc(<void *>UUID, 0)
    PyObject_GenericSetAttr(value, "_bytes", PyBytes_FromStringAndSize(p, 16))
    PyObject_GC_UnTrack(<void *>value)
    return value


def wide(int count) -> list:
    """The objects of `count` rows of int4, int8, float8, text, bool, timestamptz, uuid, numeric, text, date."""
    cdef int i
    cdef long long key
    cdef char *text = b"customer number 12345"
    cdef char *raw = b"0123456789abcdef"
    cdef object nothing = None
    result = []
    for i in range(count):
        key = i
        row = PyTuple_New(10)
        put(row, 0, <object>i)
        put(row, 1, <object>(key * 1000003 + 10000000000))
        put(row, 2, <object>(i * 1.25))
        put(row, 3, PyUnicode_DecodeUTF8(text, 21, NULL))
        put(row, 4, i % 2 == 0)
        put(row, 5, datetime_new(2024, 1 + i % 12, 1 + i % 28, i % 24, i % 60, i % 60, i, utc, 0))
        put(row, 6, make_uuid(raw))
        put(row, 7, multiply(key * 100 + 12345, hundredth))
        put(row, 8, nothing if i % 3 == 0 else PyUnicode_DecodeUTF8(text, 12, NULL))
        put(row, 9, date_new(2024, 1 + i % 12, 1 + i % 28))
        result.append(row)
    return result


def floats(int count) -> list:
    """The objects of `count` rows of two int4, two int8 and four float8."""
    cdef int i
    cdef long long key
    result = []
    for i in range(count):
        key = i
        row = PyTuple_New(8)
        put(row, 0, <object>(i + 1000))
        put(row, 1, <object>(key + 10000000000))
        put(row, 2, <object>(i * 1.25))
        put(row, 3, <object>(i + 2000))
        put(row, 4, <object>(key + 20000000000))
        put(row, 5, <object>(i * 2.5))
        put(row, 6, <object>(i * 0.5))
        put(row, 7, <object>(i * 0.75))
        result.append(row)
    return result


def arrays(int count) -> list:
    """The objects of ten rows that hold `count` int4 and as many float8, in lists."""
    cdef int i, j
    result = []
    for j in range(10):
        numbers, fractions = [], []
        for i in range(count // 10):
            numbers.append(<object>((i * 10 + j) * 1000))
            fractions.append(<object>((i * 10 + j) * 1.25))
        row = PyTuple_New(2)
        put(row, 0, numbers)
        put(row, 1, fractions)
        result.append(row)
    return result
