# SPDX-License-Identifier: MIT
# One connection without its I/O: framing, the FIFO of operations, the outgoing buffer.

from libc.stdint cimport uint8_t, uint64_t

from fastpg.protocol.opening cimport Opening
from fastpg.protocol.operation cimport Operation
from fastpg.wire cimport Out


cdef class Slab:
    """Receive memory. A value that points into it calls pin() and keeps a reference; the session then moves on."""
    cdef char *buf
    cdef Py_ssize_t cap
    cdef Py_ssize_t pins

    cdef int resize(self, Py_ssize_t cap) except -1


cdef class Session:
    cdef Out out
    cdef Slab slab
    cdef Py_ssize_t start           # first byte not yet parsed
    cdef Py_ssize_t end             # end of what was received
    cdef Operation head             # its answer is being read
    cdef Operation tail
    cdef Operation cursor           # the first not written completely
    cdef uint64_t serial
    cdef readonly Opening opening   # BEGIN and SAVEPOINTs that go along with the next operation somebody waits for
    cdef list closing               # names of statements that are closed in front of that operation, or None
    cdef Opening undone             # those that the last operation has taken along, when it has failed
    cdef uint64_t undone_at         # its serial number
    cdef Operation recovery         # makes the transaction that a refused BEGIN was for a failed one
    cdef readonly int tx_status     # b'I', b'T' or b'E', the server's word
    cdef readonly dict parameters   # ParameterStatus
    cdef readonly int reports       # ParameterStatus messages since the start-up
    cdef readonly str encoding      # Python's codec of the client encoding, None for UTF-8
    cdef readonly str first_encoding    # the same when the session began: what RESET ALL goes back to
    cdef readonly object last_error # an ErrorResponse that answered no operation (57P01 and its kin)
    cdef readonly object failure    # why the session is dead, or None
    cdef readonly bint paused       # a sink asked to stop reading
    cdef public bint writable       # the transport takes bytes
    cdef bint splicing              # of the next pump(): whoever calls it sends `splice`, at once, behind its output
    cdef bytes splice
    cdef public Py_ssize_t max_result_bytes     # of DataRow messages an operation, 0 for no limit
    cdef Py_ssize_t result_bytes
    cdef public object listener     # on_parameter, on_notice, on_notification
    cdef public object clock        # callable giving seconds; operations get timestamps when it is set
    cdef public object statistics   # callable(operation) at the end of each, or None
    cdef public object backend_pid  # for what exceptions tell, or None

    cdef int enqueue(self, Operation op) except -1
    cdef int pump(self, Operation entering) except -1
    cdef int space(self, char **p, Py_ssize_t *n) except -1
    cdef int rows(self, const char *p, const char *end) except -1
    cpdef int resume_parsing(self) except -1
    cdef int received(self, Py_ssize_t n) except -1
    cdef int parse(self) except -1
    cdef int dispatch(self, uint8_t tag, const char *p, Py_ssize_t n) except -1
    cdef int compact(self, Py_ssize_t need) except -1
    cdef int fail(self, object error) except -1
    cdef int explain(self, object error, Operation op, str outcome) except -1
    cdef bint idle(self) noexcept
    cpdef int open(self, Opening opening) except -1
    cpdef bint withdraw(self, Opening opening) except -1
    cdef int write_riders(self, Operation op) except -1
    cdef int on_rider(self, Operation op, uint8_t tag, const char *p, Py_ssize_t n) except -1
    cdef int refuse_riders(self, Operation op) except -1
