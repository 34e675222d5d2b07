# SPDX-License-Identifier: MIT
# The pool's core.

from libc.stdint cimport uint32_t

from fastpg.call cimport Call
from fastpg.client cimport Client
from fastpg.protocol.operation cimport Operation, StatementPlan
from fastpg.protocol.row cimport RowSink


cdef enum:
    STATEMENTS = 2000               # are remembered, then all are forgotten


cdef class Reset(Operation):
    """The reset of a session; nobody waits for it, an error closes the connection."""
    cdef bytes message              # a whole Query message
    cdef bint answered


cdef class Dispatcher


cdef class Holder:
    """A place in a pool, with or without a connection in it."""
    cdef object __weakref__
    cdef object con                 # the Connection, or None
    cdef Client client              # of `con`
    cdef readonly Dispatcher queue
    cdef readonly bint in_use       # somebody has it, or calls run on it
    cdef object released            # Future of who waits for that to end, or None
    cdef public long generation     # the pool's when the connection was made
    cdef public double expires      # time.monotonic() at which it is too old, 0 for never
    cdef double idle_since          # time.monotonic() of the last release
    cdef public object permit       # the right to open a connection, not used yet; or None
    cdef public object lease        # the one that the connection has used; or None
    cdef bytes reset_message        # the Query message that resets the session; None: nothing has to
    cdef object reset_query         # its text
    cdef object own_reset           # callable that gives the text anew each time, of a subclass; or None
    cdef Reset reset
    cdef bint plain                 # the connection's class and the way it is reset are the ordinary ones
    cdef bint dirty                 # the reset has to be written before anything else, within this turn of the loop
    cdef bint waiting_to_flush
    cdef bint worn                  # calls have shared it since it was reset
    # Of a connection that calls share, see `_sharing`:
    cdef bint shared
    cdef bint draining              # no more calls are put on it
    cdef int inflight
    cdef double load                # seconds that the server needs for what is in flight
    cdef double last_end            # time.monotonic() when the last of its calls ended

    cdef bint usable(self) except -1
    cdef bint is_odd(self) except -1
    cdef int soil(self) except -1
    cdef int renew(self) except -1
    cdef int clean(self) except -1
    cdef int rest(self) except -1


cdef class PoolCall(Call):
    """A call that gives its connection back when it ends."""
    cdef Holder holder

    cdef int leave(self) except -1


cdef class Request:
    """A call that waits for a connection."""
    cdef str query
    cdef tuple args
    cdef RowSink sink
    cdef int shape
    cdef uint32_t limit
    cdef object timeout
    cdef object waiter


cdef int refuse(Request request, object error) except -1


cdef class Limit:
    """How many connections several pools may have together. Written under a lock; read without one, as a hint."""
    cdef public int free            # permits that nobody has
    cdef public int wanted          # permits that pools have asked for and not been given


cdef class Permits:
    """A pool's part in a limit."""
    cdef readonly Limit limit
    cdef public int outstanding     # permits that have been asked for and are not here yet
    cdef public bint giving         # a connection that is released may have to go: ask on_release()


cdef class Dispatcher:
    """Idle holders, who waits for one, and the calls that need no more of a connection than one answer."""
    cdef readonly object loop
    cdef object create_future
    cdef object connection_class
    cdef object give_back           # callable(holder): the long way of taking a connection back
    cdef public list holders        # all there are
    cdef list connected             # idle; the end is the last used
    cdef list disconnected
    cdef object waiters             # deque of Futures and Requests that want a connection for themselves
    cdef tuple lines                # all there are of such
    cdef object progress            # what when_less() has given to who waits for it, or None
    cdef dict direct_queries        # SQL -> whether its result can be read without asking the server anything
    cdef list unflushed             # holders with something to write at the end of this turn
    cdef bint turn_scheduled
    cdef public bint direct         # the pool is open, and has no callbacks
    cdef public int depth           # most statements that may be in flight on one connection
    cdef public Py_ssize_t max_size # holders above it leave the pool when they come back
    cdef public long generation
    cdef public unsigned long max_queries
    cdef public Permits permits     # what connections have to be asked for; None: `holders` are the only limit

    cdef Holder pick(self)
    cdef Holder unconnected(self)
    cdef bint may_connect(self) except -1
    cdef int waits(self, object line) except -1
    cdef int ask(self) except -1
    cdef int progressed(self) except -1
    cdef bint admit(self, Holder holder) except -1
    cdef object next_line(self)
    cdef bint hand_over(self, Holder holder) except -1
    cdef object start(self, object query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout)
    cdef object place(self, str query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout)
    cdef object wait(self, object line, str query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout)
    cdef int begin(self, PoolCall call, Holder holder, StatementPlan plan, tuple args, RowSink sink, int shape,
                   uint32_t limit, double seconds, object waiter) except -1
    cdef bint begin_request(self, Holder holder, Request request) except -1
    cdef StatementPlan plan_of(self, Holder holder, Request request)
    cdef bint is_direct(self, str query, StatementPlan plan) except -1
    cdef int forget(self, str query) except -1
    cdef int done(self, Holder holder, PoolCall call) except -1
    cdef bint is_odd_after(self, Holder holder, PoolCall call) except -1
    cdef int later(self, Holder holder) except -1
