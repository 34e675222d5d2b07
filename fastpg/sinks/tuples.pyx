# SPDX-License-Identifier: MIT
# Rows as tuples. May import: row, base.

from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_New

from fastpg.protocol.row cimport RowPlan
from fastpg.sinks.base cimport ListSink, decode_row

cdef extern from "Python.h":
    ctypedef struct PyTupleObject:
        PyObject **ob_item
    void PyObject_GC_UnTrack(PyObject *op)


cdef class TupleSink(ListSink):
    """A list of tuples of the values."""

    def again(self):
        """A fresh sink of the same kind: for a second try, or for another query."""
        return TupleSink.__new__(TupleSink)

    cdef int decode(self, const char *p, const char *end, Py_ssize_t *column) except -1:
        cdef RowPlan plan = self.plan
        cdef list result = self.result
        cdef bint atomic = plan.atomic and plan.count > 0
        while p < end:
            row = PyTuple_New(plan.count)
            if atomic:
                # It can be in no reference cycle: the collector need not look, not even once.
                PyObject_GC_UnTrack(<PyObject *>row)
            p = decode_row(plan, p, (<PyTupleObject *>row).ob_item, column)
            result.append(row)
        return 0
