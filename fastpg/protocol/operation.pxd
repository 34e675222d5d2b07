# SPDX-License-Identifier: MIT
# An operation is the script of one request: what it writes, and what it expects in answer.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastpg.codecs.codec cimport Codec
from fastpg.protocol.opening cimport Opening
from fastpg.protocol.row cimport RowPlan, RowSink
from fastpg.wire cimport Out

cdef enum:
    FILL_DONE = 0           # everything has been written, the last Sync included
    FILL_MORE = 1           # call again when there is room
    FILL_WAIT = 2           # nothing to write now; the producer calls Session.wake()
    FILL_SPLICE = 3         # as FILL_MORE; first spliced() goes out, behind what has been written

cdef enum Phase:
    PHASE_QUEUED = 0        # not a byte written
    PHASE_SENT = 1          # at least one byte went into the outgoing buffer
    PHASE_DONE = 2


cdef class Operation:
    cdef object waiter              # anything with done(), set_result(), set_exception(); None: nobody waits
    cdef Operation next             # FIFO of the session
    cdef readonly uint64_t serial   # order on the connection
    cdef readonly int syncs         # ReadyForQuery owed
    cdef readonly int phase         # Phase
    cdef readonly bint discard      # the answer is consumed, nobody gets it
    cdef readonly bint fatal        # an error of this operation closes the connection (reset, internal SET)
    cdef public double deadline     # loop time in seconds, 0 for none
    cdef readonly object error      # first error, delivered at ReadyForQuery
    cdef readonly object result
    cdef readonly bytes status      # the last CommandComplete tag
    cdef readonly double queued_at, finished_at     # loop time, only when the session's clock is on
    cdef readonly str encoding      # Python's codec of the client encoding, None for UTF-8: the session's
    cdef bint riders                # Closes, BEGIN or SAVEPOINTs in front of it have still to be answered
    cdef list closing               # names of statements that are closed in front of it, or None
    cdef Py_ssize_t closed          # of those, as the server has told
    cdef Opening opening            # BEGIN and SAVEPOINTs in front of it, the first without its answer; or None
    cdef readonly Opening opened    # those that the server has executed
    cdef public object query        # SQL for exceptions and statistics, or None
    cdef bint eats                  # eat() may be asked before the session looks at messages one by one

    cdef Py_ssize_t eat(self, const char *p, const char *end) except -1     # bytes read
    cdef int fill(self, Out *out) except -1         # FILL_*
    cdef bytes spliced(self)                        # once after each FILL_SPLICE
    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1   # 0 go on, 1 pause
    cdef int on_rows(self, const char *p, const char *end) except -1    # 0 go on, 1 pause
    cdef int on_error(self, object error) except -1
    cdef int on_ready(self) except -1               # its last ReadyForQuery came
    cdef int on_lost(self, object error) except -1  # the connection is gone
    cdef int refuse_copy(self, Out *out) except -1
    cdef int resync(self, Out *out) except -1
    cdef bytes in_encoding(self, str sql)
    cdef int unexpected(self, uint8_t tag) except -1
    cdef int deliver(self) except -1


cdef class StatementPlan:
    """What the server told of one prepared statement, and the bytes that are the same in every execution."""
    cdef readonly str query
    cdef readonly bytes name
    cdef readonly tuple parameter_oids
    cdef readonly tuple parameters      # CodecHandle a parameter
    cdef readonly RowPlan plan          # None when the statement returns no rows
    cdef readonly bytes last_status
    cdef public unsigned long long used     # the statement cache's clock at its last use
    cdef Py_ssize_t parameter_count
    cdef bint unnamed                   # parsed anew with every Bind: others use the unnamed statement too
    cdef const Codec **codecs
    cdef bytes prefix                   # Bind to the parameter count, length word unset
    cdef bytes suffix                   # result formats, Execute without limit, Sync
    cdef bytes suffix_first             # the same with a limit of one row

    cdef bytes bind_prefix(self)
    cdef int write_bind(self, Out *out, bytes portal, object args, Py_ssize_t element) except -1
    cdef int write_query(self, Out *out, object args, uint32_t limit, bint sync) except -1
    cdef bytes ended(self, const char *p, Py_ssize_t n)


cdef enum Shape:
    SHAPE_SINK = 0          # the result of an Execute is its sink's
    SHAPE_FIRST = 1         # the first element of the sink's, None of an empty one
    SHAPE_STATUS = 2        # the status, '' when the statement was empty
    SHAPE_VALUE = 3         # one column of the first row, without a sink: an Item's


cdef class SimpleQuery(Operation):
    cdef bint copy_refused
    cdef bint answered              # the server has told how a statement ended

cdef class Prepare(Operation):
    cdef bytes name
    cdef tuple oids
    cdef tuple parameters
    cdef tuple columns
    cdef bint parsed
    cdef bint described             # its columns, or that it has none

cdef class Execute(Operation):
    cdef readonly StatementPlan statement
    cdef RowSink sink
    cdef object args
    cdef uint32_t limit
    cdef bytes portal               # None: Bind the unnamed portal; else see portal_step
    cdef int portal_step            # PORTAL_*
    cdef readonly bint parsed       # the server has the statement
    cdef readonly bint bound        # and has begun to run it
    cdef bint suspended
    cdef bint answered              # the server has told how it ended
    cdef int shape                  # SHAPE_*

    cdef int conclude(self) except -1

cdef enum:
    PORTAL_UNNAMED = 0
    PORTAL_BIND = 1                 # Bind to the named portal, Sync
    PORTAL_FETCH = 2                # Execute the named portal, Sync

cdef class ExecuteMany(Operation):
    cdef readonly StatementPlan statement
    cdef RowSink sink
    cdef object source              # iterator of argument sequences
    cdef Py_ssize_t element         # written
    cdef Py_ssize_t answered        # ended, as the server has told
    cdef bint parsed
    cdef bint bound                 # the server runs one of them
    cdef bint written
    cdef bint broken
    cdef bint careful               # it may be a COPY: nothing is sent after the first element before its answer

cdef class CloseStatements(Operation):
    cdef list names
    cdef char what
