# SPDX-License-Identifier: MIT
# The one-step way of a statement: from the arguments of a user's call to a Future of its result, without a coroutine or
# a second look at anything. It is for the ordinary case, a statement in the cache of a connection that has nothing
# else to do; in every other case these functions do nothing and give None, and the caller goes the long way.
# May import: client, operation, row, sinks, asyncio.

from asyncio import InvalidStateError

from libc.stdint cimport uint32_t

from fastpg.client cimport Client
from fastpg.protocol.operation cimport SHAPE_FIRST, SHAPE_SINK, SHAPE_STATUS, PHASE_DONE, Execute, StatementPlan
from fastpg.protocol.row cimport RowSink
from fastpg.sinks.record cimport RecordSink, ValueSink

from fastpg.codecs._unknown import UnknownTypeError

cdef RowSink NOTHING = RowSink()


cdef class Call(Execute):
    """Bind, Execute, Sync."""

    cdef int deliver(self) except -1:
        if self.discard or self.error is not None:
            if self.deadline and isinstance(self.error, UnknownTypeError):
                self.error.deadline = self.deadline
            return Execute.deliver(self)
        waiter, self.waiter = self.waiter, None
        self.phase = PHASE_DONE
        try:
            waiter.set_result(self.result)
        except InvalidStateError:
            pass                # cancelled in this very turn
        return 0


cdef double limit_of(Client client, object timeout) except? -3:
    """Seconds that a call has; NO_LIMIT, or LONG_WAY for what is not worth a quick look."""
    cdef double seconds
    if timeout is None:
        return client.command_timeout
    if type(timeout) is float:
        seconds = timeout
        if seconds > 0:
            return seconds
    elif type(timeout) is int and 0 < timeout < 1_000_000_000:      # others may be too large for a double
        return timeout
    return LONG_WAY


cdef object start(Client client, str query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout):
    cdef StatementPlan plan = client.ready_plan(query)
    cdef Call call
    cdef double seconds
    if plan is None:
        return None
    seconds = limit_of(client, timeout)
    if seconds == LONG_WAY:
        return None
    client.check_usable()
    call = Call.__new__(Call)
    call.query = query
    call.statement = plan
    call.args = args
    call.sink = sink
    call.shape = shape
    call.limit = limit
    waiter = call.waiter = client.new_future()
    client.submit(call, seconds)
    client.queries_count += 1
    return waiter


def value(Client client not None, query, tuple args, column, timeout):
    """The Future of one column of the first row, or of None when there is no row; None: not in one step."""
    if type(query) is not str:
        return None
    return start(client, query, args, ValueSink.make(column), SHAPE_SINK, 1, timeout)


def rows(Client client not None, query, tuple args, record_class, uint32_t limit, timeout):
    """The Future of all rows, or with a limit of 1 of the first or None; None: not in one step.

    record_class: of the rows, or a sink whose again() gives the one to use.
    """
    cdef RowSink sink
    if type(query) is not str:
        return None
    if isinstance(record_class, RowSink):
        sink = record_class.again()
    else:
        sink = RecordSink.make(record_class)
    return start(client, query, args, sink, SHAPE_FIRST if limit == 1 else SHAPE_SINK, limit, timeout)


def status(Client client not None, query, tuple args, timeout):
    """The Future of the status; None: not in one step."""
    if type(query) is not str:
        return None
    return start(client, query, args, NOTHING, SHAPE_STATUS, 0, timeout)
