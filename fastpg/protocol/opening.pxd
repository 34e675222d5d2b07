# SPDX-License-Identifier: MIT
# BEGIN and SAVEPOINT, written in front of the operation that comes next.

from libc.stdint cimport uint8_t

from fastpg.wire cimport Out


cdef class Opening:
    cdef readonly str query
    cdef readonly bint begins       # BEGIN; else SAVEPOINT
    cdef readonly str undo          # what ends it, and all behind it, in a failed transaction too
    cdef readonly bint done         # the server has executed it
    cdef Opening next               # the SAVEPOINT inside it that has not been sent either
    cdef int step                   # of its answer

    cdef int write(self, Out *out, str encoding) except -1
    cdef bint on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1
