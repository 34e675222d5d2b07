# SPDX-License-Identifier: MIT
# Rows as Records, and single values.

from fastpg.protocol.row cimport RowSink
from fastpg.sinks.base cimport ListSink


cdef class RecordSink(ListSink):
    cdef object record_class

    @staticmethod
    cdef RecordSink make(object record_class)


cdef class ValueSink(RowSink):
    cdef object column
    cdef Py_ssize_t index
    cdef bint filled
    cdef object value
    cdef bytes kept             # the value as it came, when it holds an unknown type
    cdef object unknown         # its UnknownTypeError

    cdef Py_ssize_t resolve(self) except -1
    @staticmethod
    cdef ValueSink make(object column)
