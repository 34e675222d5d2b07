# SPDX-License-Identifier: MIT
# COPY operations, and the seams that feed and drain them: RowSource and CopySink.

from libc.stdint cimport uint8_t

from fastpg.protocol.operation cimport Operation
from fastpg.wire cimport Out


cdef class RowSource:
    """Writes what it has into the outgoing buffer, up to its high-water mark.

    begin() is called once, when the server asks for data, with the number of columns it expects.
    fill() returns FILL_DONE at the end, FILL_MORE when there is more at once, FILL_WAIT when a producer
    must deliver first (it then calls Client.wake()), FILL_SPLICE when `splice` is to be sent without being copied.
    abort() is called once when nobody wants more.
    """
    cdef public Py_ssize_t high_water       # bytes in the buffer at which fill() stops
    cdef public Py_ssize_t low_water        # a waiting producer is woken below this many bytes
    cdef bytes splice

    cdef int begin(self, Py_ssize_t columns) except -1
    cdef int fill(self, Out *out) except -1
    cdef int abort(self, object error) except -1


cdef class IteratorSource(RowSource):
    cdef object chunks

cdef class PushSource(RowSource):
    cdef object chunks
    cdef Py_ssize_t size
    cdef bint ended
    cdef bint aborted
    cdef object failure
    cdef object drained

cdef class CopyIn(Operation):
    cdef RowSource source
    cdef bint asked
    cdef readonly bint started
    cdef readonly Py_ssize_t columns        # the server expects, known once it has started
    cdef bint finished

    cdef int end(self, object error) except -1

cdef class CopySink:
    """Takes the body of each CopyData. data() returns 1 to pause reading, until Client.resume_reading().

    run() may take several whole CopyData messages at once, of those between p and end, as long as it need not pause; it
    returns the bytes that it has taken, and what is left goes to data().
    """
    cdef int data(self, const char *p, Py_ssize_t n) except -1
    cdef Py_ssize_t run(self, const char *p, const char *end) except -1

cdef class CallbackSink(CopySink):
    cdef object callback

cdef class BufferSink(CopySink):
    cdef Out out
    cdef object arrived
    cdef public Py_ssize_t high_water       # bytes at which reading pauses

cdef class CopyOut(Operation):
    cdef CopySink sink
    cdef bint started
    cdef bint ended
