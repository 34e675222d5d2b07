# SPDX-License-Identifier: MIT
# Where asyncio meets the session.

from fastpg.protocol.operation cimport Operation, StatementPlan
from fastpg.protocol.row cimport RowSink
from fastpg.protocol.session cimport Session


cdef class Client:
    cdef readonly Session session
    cdef readonly object loop
    cdef readonly object transport          # None once lost
    cdef readonly object closed             # Future, done when the connection is gone
    cdef object farewell                    # what close() waits for: Future, done with `closed`
    cdef readonly object cancelling         # Future of a cancel under way, or None
    cdef public object section              # who holds the connection for several steps, or None
    cdef public unsigned long queries_count   # statements executed: not Prepare, not the Bind of a cursor
    cdef object owner_ref                   # weak reference to the Connection
    cdef public object canceller            # async callable that sends a CancelRequest
    cdef public double cancel_timeout       # seconds
    cdef public double patience             # seconds that close() waits for the server to have ended the session
    cdef public bint reuse_after_cancel     # False: a cancel that is over ends the connection
    cdef object undo                        # an Operation to run before `cancelling` is over, or None
    cdef object watchdog                    # the TimerHandle that bounds a cancel
    cdef public object schedule             # the flush trigger: loop.call_soon unless injected
    cdef object create_future
    cdef bint plain_futures                 # create_future() makes an asyncio.Future and does nothing else
    cdef object write                       # the transport's
    cdef object writelines                  # the transport's, of uvloop; or None
    cdef public dict plans                  # SQL -> StatementPlan: the entries of the connection's statement cache
    cdef unsigned long long uses            # the clock of the statement cache: counts what it gave
    cdef public list to_close               # names of statements that are to be closed in passing
    cdef public dict query_loggers          # the connection's
    cdef public double command_timeout      # seconds, negative for none
    cdef object timer                       # the one TimerHandle of the deadline wheel
    cdef double timer_at
    cdef object tasks
    cdef unsigned long thread
    cdef unsigned long fork_epoch
    cdef bint tls
    cdef bint flush_scheduled
    cdef bint feeding                       # what was received is being parsed; then the outgoing buffer is written
    cdef bint whole                         # get_buffer() hands out the client itself, which has the buffer's interface

    cpdef int check(self) except -1
    cdef bint at_home(self) noexcept
    cpdef int check_usable(self) except -1
    cdef object new_future(self)
    cdef StatementPlan ready_plan(self, str query)
    cdef int begin_cancel(self, Operation op) except -1
    cdef int submit(self, Operation op, double timeout) except -1
    cdef int queue(self, Operation op, double timeout) except -1
    cdef bint forked(self) noexcept
    cdef int watch(self, bint on) except -1
    cdef Operation to_cancel(self)
    cdef int flush(self) except -1
    cdef bint pump(self) except -1          # whether it has sent something already
    cdef int write_out(self) except -1
    cdef int arm(self, double when) except -1
    cdef Operation find(self, object waiter)
    cdef int after_feed_slow(self) except -1
    cdef int end(self, object error) except -1
