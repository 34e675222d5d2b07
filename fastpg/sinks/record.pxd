# SPDX-License-Identifier: MIT
# Rows as Records, and single values.

from fastpg.protocol.row cimport RowSink


cdef class RecordSink(RowSink):
    cdef object record_class
    cdef bint keep
    cdef list result
    cdef list kept              # rows as they came, from the first one that holds an unknown type on
    cdef object unknown         # its UnknownTypeError

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
