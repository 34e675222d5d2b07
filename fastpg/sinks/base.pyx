# SPDX-License-Identifier: MIT
# The base of the sinks that make a list of rows. May import: wire, codec, row.

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject

from fastpg.protocol.row cimport RowPlan, RowSink, raise_in_row
from fastpg.wire cimport load_i32

from fastpg.codecs._unknown import UnknownTypeError

cdef extern from "Python.h":
    void Py_XDECREF(PyObject *value)


cdef class ListSink(RowSink):
    """A list of rows, in some format."""

    def __cinit__(self):
        self.result = []

    def again(self):
        """A fresh sink of the same kind: for a second try, or for another query."""
        raise NotImplementedError

    cdef int decode(self, const char *p, const char *end, Py_ssize_t *column) except -1:
        raise NotImplementedError

    cdef int rows(self, const char *p, const char *end) except -1:
        cdef Py_ssize_t column = 0
        cdef Py_ssize_t before
        if self.kept is not None:
            self.kept.append(p[:end - p])
            return 0
        before = len(self.result)
        try:
            self.decode(p, end, &column)
        except UnknownTypeError as error:
            # Those before it stay: no row is made twice.
            for _ in range(len(self.result) - before):
                p += 1 + load_i32(p + 1)
            self.kept = [p[:end - p]]
            self.unknown = error
        except Exception as error:
            raise_in_row(self.plan, column, error, len(self.result))
        return 0

    cdef object finish(self):
        if self.unknown is not None:
            raise UnknownTypeError(*self.unknown.oids, sink=self)
        result, self.result = self.result, []
        return result

    def resume(self):
        """Go on with the rows that were kept, now that their types are known; the result, or UnknownTypeError again."""
        cdef bytes data
        cdef const char *p
        kept, self.kept, self.unknown = self.kept, None, None
        for data in kept:
            p = data
            self.rows(p, p + len(data))
        return self.finish()


cdef class ItemSink(ListSink):
    """A list of what something else makes of the values of each row."""

    cdef object row(self, RowPlan plan, PyObject **items):
        raise NotImplementedError

    cdef int decode(self, const char *p, const char *end, Py_ssize_t *column) except -1:
        cdef RowPlan plan = self.plan
        cdef list result = self.result
        cdef Py_ssize_t i
        cdef PyObject **items = <PyObject **>PyMem_Calloc(2 * plan.count or 1, sizeof(PyObject *))
        if items == NULL:
            raise MemoryError
        try:
            while p < end:
                p = decode_row(plan, p, items, column)
                result.append(self.row(plan, items))
        finally:
            for i in range(plan.count):
                Py_XDECREF(items[i])
            PyMem_Free(items)
        return 0
