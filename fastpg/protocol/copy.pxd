# SPDX-License-Identifier: MIT
# COPY operations, and the seam that feeds them: RowSource.

from libc.stdint cimport uint8_t

from fastpg.protocol.operation cimport Operation
from fastpg.wire cimport Out


cdef class RowSource:
    """Writes what it has into the outgoing buffer, up to its high-water mark.

    fill() returns FILL_DONE at the end, FILL_MORE when there is more at once, FILL_WAIT when a producer
    must deliver first (it then calls Client.wake()). abort() is called once when nobody wants more.
    """
    cdef public Py_ssize_t high_water       # bytes in the buffer at which fill() stops
    cdef public Py_ssize_t low_water        # a waiting producer is woken below this many bytes

    cdef int fill(self, Out *out) except -1
    cdef int abort(self, object error) except -1


cdef class IteratorSource(RowSource):
    cdef object chunks

cdef class PushSource(RowSource):
    cdef object chunks
    cdef Py_ssize_t size
    cdef bint ended
    cdef object failure
    cdef object drained

cdef class CopyIn(Operation):
    cdef bytes sql
    cdef RowSource source
    cdef bint asked
    cdef bint started
    cdef bint finished

cdef class CopyOut(Operation):
    cdef bytes sql
    cdef object sink                # callable(bytes) -> true to pause
    cdef bint started
    cdef bint ended
