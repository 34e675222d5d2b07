# SPDX-License-Identifier: MIT
# The pool's core: who gets which connection, and the calls that are reserved, run and given back in one step. A holder
# is in the queue once or with one borrower, or it is shared by calls, never two of these; whatever interrupts a waiter,
# the holder that was handed over goes on to the next one. Everything runs on the thread of the pool's loop.
#
# A call: the holder leaves the queue, the call is written behind the reset of the one before, and when its answer has
# been read the holder goes to the first who waits, or back. Nobody waits for a reset: it is written at the end of the
# turn of the loop at the latest, and the next statement stands behind it in the session's FIFO. Calls that share a
# connection are `_sharing`'s. May import: call, client, operation, row, sinks, exceptions.

from asyncio import _get_running_loop as get_running_loop
from collections import deque
from time import monotonic

from libc.stdint cimport uint8_t, uint32_t

from fastpg.call cimport LONG_WAY, Call, limit_of
from fastpg.client cimport Client
from fastpg.protocol cimport backend
from fastpg.protocol.operation cimport (
    FILL_DONE, PHASE_DONE, PHASE_QUEUED, SHAPE_FIRST, SHAPE_SINK, SHAPE_STATUS, Operation, StatementPlan,
)
from fastpg.protocol.row cimport RowSink
from fastpg.sinks.record cimport RecordSink, ValueSink
from fastpg.wire cimport Out, out_bytes

from fastpg.exceptions import OutdatedSchemaCacheError, PostgresError, ProtocolError, annotate

cdef enum:
    IDLE = 73                   # 'I', the transaction status

# record, record[] and anyarray: their values may be of types that have to be asked for first.
OPEN_TYPES = frozenset((2249, 2287, 2277))
cdef RowSink NOTHING = RowSink()


cdef RowSink sink_of(object rows):
    return rows.again() if isinstance(rows, RowSink) else RecordSink.make(rows)


cdef class Reset(Operation):
    """The reset of a session between two of a pool's users."""

    cdef int fill(self, Out *out) except -1:
        out_bytes(out, <const char *>self.message, len(self.message))
        self.syncs = 1
        return FILL_DONE

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.COMMAND_COMPLETE or tag == backend.EMPTY_QUERY_RESPONSE:
            self.answered = True
        elif tag != backend.ROW_DESCRIPTION:
            return self.unexpected(tag)
        return 0

    cdef int on_rows(self, const char *p, const char *end) except -1:
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None and not self.answered:
            raise ProtocolError("the server did not answer the reset of a session")
        return self.deliver()


cdef class Holder:
    """A place in a pool. `_con` is its connection, or None."""

    def __init__(self, Dispatcher queue not None):
        self.queue = queue

    @property
    def _con(self):
        return self.con

    @_con.setter
    def _con(self, con):
        self.con = con
        self.client = None if con is None else con._client
        self.dirty = self.worn = False
        self.reset = None
        self.plain = con is not None and type(con) is self.queue.connection_class

    @property
    def _in_use(self):
        return self.when_released() if self.in_use else None

    def how_to_reset(self, query, own=None) -> None:
        """SQL that makes the session as new for the next user; '' for nothing. own: a callable that gives it anew."""
        self.own_reset = own
        if query != self.reset_query:
            self.reset_query = query
            data = query.encode() + b"\0"
            self.reset_message = b"Q" + (len(data) + 4).to_bytes(4, "big") + data if query else None
            self.reset = None

    def is_connected(self) -> bool:
        """There is a connection, and it is open."""
        return self.con is not None and not self.con.is_closed()

    def is_idle(self) -> bool:
        """Nobody has it."""
        return not self.in_use

    def take(self) -> None:
        """Somebody has it for himself now; put() ends that."""
        self.in_use = True
        self.renew()

    def when_released(self):
        """The Future of the end of that."""
        if self.released is None:
            self.released = self.queue.loop.create_future()
        return self.released

    def free(self) -> None:
        """Nobody has it any more, and it does not go back to the queue."""
        self.rest()

    def soiled(self) -> None:
        """Have the session reset, within this turn of the loop and before anything else."""
        self.soil()

    cdef int soil(self) except -1:
        if self.own_reset is not None:
            self.how_to_reset(self.own_reset(), self.own_reset)
        self.dirty = self.reset_message is not None
        self.worn = False
        return 0

    cdef int renew(self) except -1:
        # Before somebody has it for himself: what the calls that shared it may have left goes.
        if self.worn:
            self.soil()
        return self.clean()

    cdef int clean(self) except -1:
        # Write the reset that is due.
        cdef Reset reset
        if not self.dirty:
            return 0
        self.dirty = False
        if self.client is None or self.client.transport is None or self.client.session.failure is not None:
            return 0
        reset = self.reset
        if reset is None or reset.phase != PHASE_DONE:
            reset = self.reset = Reset.__new__(Reset)
            reset.message = self.reset_message
            reset.fatal = True
        else:
            reset.phase = PHASE_QUEUED
            reset.waiter = reset.error = None
            reset.discard = reset.answered = False
        self.client.session.enqueue(reset)
        self.client.queries_count += 1
        return self.queue.later(self)

    cdef int rest(self) except -1:
        # Nobody has it any more.
        self.in_use = False
        if self.released is not None:
            released, self.released = self.released, None
            if not released.done():
                released.set_result(None)
        if self.queue.progress is not None:
            self.queue.progressed()
        return 0

    cdef bint usable(self) except -1:
        # For a call of one step.
        cdef Client client = self.client
        return (self.plain and client.transport is not None and client.session.failure is None and not client.forked()
                and client.cancelling is None and client.section is None
                and self.generation == self.queue.generation
                and (self.expires == 0 or monotonic() < self.expires))

    cdef bint is_odd(self) except -1:
        # After a call: whether it takes more than a reset to make it as new.
        cdef Client client = self.client
        return (not self.queue.direct or not self.usable() or client.session.tx_status != IDLE
                or len(self.queue.holders) > self.queue.max_size
                or client.queries_count >= self.queue.max_queries or bool(client.query_loggers)
                or client.session.encoding != client.session.first_encoding)


cdef class PoolCall(Call):
    """Bind, Execute, Sync on a pool's connection."""

    cdef int deliver(self) except -1:
        Call.deliver(self)
        return self.leave()

    def abandon(self, finished=None) -> None:
        """See Operation. When nothing of it was sent it has left the session's FIFO, and nothing ever ends it."""
        Call.abandon(self, finished)
        if self.phase == PHASE_QUEUED:
            self.leave()

    def left(self) -> None:
        """It has ended before it was under way."""
        self.leave()

    cdef int leave(self) except -1:
        cdef Holder holder = self.holder
        if holder is None:
            return 0
        self.holder = None
        return holder.queue.done(holder, self)


cdef class Request:
    """A call that waits."""


cdef int refuse(Request request, object error) except -1:
    """The task that waits gets this error."""
    if not request.waiter.done():
        request.waiter.set_exception(error)
    return 0


cdef class Limit:
    """How many connections several pools may have together."""


cdef class Permits:
    """A pool's part in a limit; `_limit.Share` says how it is divided. All but `limit` is of the pool's own thread."""

    def __init__(self, Limit limit not None):
        self.limit = limit


cdef class Dispatcher:
    """Holders, connected ones first and the last used first; waiters are served in the order they came.

    give_back: callable(holder), the long way of taking a connection back. connection_class: the pool's; its `_direct`
    tells whether a call of the pool may do without the methods of a connection.
    """

    def __init__(self, loop, connection_class, give_back):
        self.loop = loop
        self.create_future = loop.create_future
        self.connection_class = connection_class
        self.give_back = give_back
        self.holders = []
        self.connected = []
        self.disconnected = []
        self.waiters = deque()
        self.lines = (self.waiters,)
        self.direct_queries = {}
        self.unflushed = []
        self.depth = 1000
        self.max_queries = <unsigned long>-1
        self.max_size = 1 << 30

    # ------------------------------------------------------------------ the queue

    cdef Holder pick(self):
        """A connected holder, or None."""
        cdef Holder holder
        while self.connected:
            holder = self.connected.pop()
            # A connection may be lost while it lies here: such a holder counts as disconnected.
            if holder.client is not None and holder.client.transport is not None and holder.is_connected():
                return holder
            self.disconnected.append(holder)
        return None

    def take(self):
        """A holder, or None when there is none."""
        holder = self.pick()
        if holder is None and self.disconnected:
            holder = self.unconnected()
        return holder

    cdef Holder unconnected(self):
        """One without a connection, which may have one; None when the limit is reached."""
        cdef Holder holder
        if self.permits is None:
            return self.disconnected.pop()
        permit = self.permits.take()
        if permit is None:
            return None
        holder = self.disconnected.pop()
        holder.permit = permit
        return holder

    cdef bint may_connect(self) except -1:
        """Whether there is a holder without a connection, and it may have one."""
        return bool(self.disconnected) and (self.permits is None or self.permits.limit.free > 0)

    cdef int waits(self, object line) except -1:
        """Somebody has begun to wait in this line."""
        return self.ask()

    cdef int ask(self) except -1:
        """Ask for as many permits as are of use."""
        cdef Py_ssize_t need
        if self.permits is not None:
            need = self.wanting()
            if need > self.permits.outstanding:
                self.permits.want(need)
        return 0

    def wanting(self):
        """How many permits could be put to use now."""
        return min(self.waiting(), len(self.disconnected))

    def grant(self, permit):
        """Let a waiter connect; False when none has a use for it."""
        cdef Holder holder
        if not self.wanting():
            return False
        holder = self.disconnected.pop()
        holder.permit = permit
        self.put(holder)
        return True

    cdef bint admit(self, Holder holder) except -1:
        """Whether a holder that comes back may go to who waits here; if not, it has been put away."""
        if holder.is_connected():
            if not self.permits.giving or not self.permits.on_release(holder):
                return True
        elif holder.permit is not None:
            return True
        self.disconnected.append(holder)
        self.ask()
        return False

    def remove(self, holder):
        """Take this holder out; False when it is not here."""
        for where in (self.connected, self.disconnected):
            if holder in where:
                where.remove(holder)
                return True
        return False

    def put(self, Holder holder not None):
        """Give a holder to the first waiter, or keep it."""
        holder.rest()
        holder.idle_since = monotonic()
        if self.permits is not None and not self.admit(holder):
            return
        if self.hand_over(holder):
            return
        if holder.is_connected():
            self.connected.append(holder)
            if holder.dirty:
                self.later(holder)
            if self.permits is not None and (self.permits.outstanding or self.permits.limit.wanted):
                self.permits.on_idle()
        else:
            self.disconnected.append(holder)
            if holder.permit is not None:
                permit, holder.permit = holder.permit, None
                permit.end()

    async def get(self):
        """A holder, as soon as there is one."""
        cdef Holder holder = self.take()
        if holder is not None:
            return holder
        waiter = self.create_future()
        self.waiters.append(waiter)
        self.waits(self.waiters)
        try:
            return await waiter
        except BaseException:
            self.withdraw(waiter)
            raise

    def withdraw(self, waiter) -> bool:
        """The task of this waiter goes away: what it may have been given goes to the next. True: nothing was."""
        if not waiter.done():
            waiter.cancel()
        elif not waiter.cancelled() and waiter.exception() is None and isinstance(waiter.result(), Holder):
            # By the long way: the pool may have been closed or made smaller.
            self.give_back(waiter.result())
        waits = False
        for line in self.lines:
            for entry in line:
                if entry is waiter or type(entry) is Request and (<Request>entry).waiter is waiter:
                    line.remove(entry)
                    waits = True
                    break
        if self.permits is not None and self.permits.outstanding:
            self.permits.on_idle()
        self.progressed()
        return waits

    def when_less(self):
        """The Future of the next time that a holder is released, or somebody stops waiting for one."""
        if self.progress is None:
            self.progress = self.create_future()
        return self.progress

    cdef int progressed(self) except -1:
        progress, self.progress = self.progress, None
        if progress is not None and not progress.done():
            progress.set_result(None)
        return 0

    def fail(self, error):
        """All waiters get this error."""
        for line in self.lines:
            while line:
                entry = line.popleft()
                waiter = (<Request>entry).waiter if type(entry) is Request else entry
                if not waiter.done():
                    waiter.set_exception(error)
        if self.permits is not None:
            self.permits.on_idle()
        self.progressed()

    def idle_longest(self):
        """(holder, time.monotonic() of its last release) of the one that has been idle for longest; or None."""
        return (self.connected[0], (<Holder>self.connected[0]).idle_since) if self.connected else None

    def idle(self):
        """How many connections nobody uses; may be asked from any thread."""
        return len(self.connected)

    def qsize(self):
        """How many holders nobody uses."""
        return len(self.connected) + len(self.disconnected)

    def waiting(self):
        """How many tasks wait."""
        return sum([len(line) for line in self.lines])

    cdef object next_line(self):
        """The line of which the first is served next; an empty one when nobody waits."""
        return self.waiters

    cdef bint hand_over(self, Holder holder) except -1:
        # To the first who waits; False when nobody does.
        cdef Request request
        while True:
            line = self.next_line()
            if not line:
                return False
            entry = line.popleft()
            if type(entry) is not Request:
                if not entry.done():
                    holder.take()
                    entry.set_result(holder)
                    return True
                continue
            request = entry
            if request.waiter.done():
                continue
            try:
                if self.begin_request(holder, request):
                    return True
            except BaseException as error:
                # Its own arguments are at fault: the holder goes on to the next one.
                holder.rest()
                refuse(request, error)
                continue
            # It takes more than one step: the task gets the holder and sees to it.
            holder.take()
            request.waiter.set_result(holder)
            return True

    # -------------------------------------------------------------------- calls

    def value(self, query, tuple args, column, timeout):
        """The Future of one column of the first row, or of None.

        Its result is a Holder when it turns out that the call has to go the long way: on this one. None instead of a
        Future: the long way from the start.
        """
        return self.start(query, args, ValueSink.make(column), SHAPE_SINK, 1, timeout)

    def rows(self, query, tuple args, record_class, uint32_t limit, timeout):
        """The same of all rows, or with a limit of 1 of the first or None.

        record_class: or a sink whose again() gives the one to use; None: what the connection's rows are.
        """
        cdef RowSink sink = None if record_class is None else sink_of(record_class)
        return self.start(query, args, sink, SHAPE_FIRST if limit == 1 else SHAPE_SINK, limit, timeout)

    def status(self, query, tuple args, timeout):
        """The same of the status."""
        return self.start(query, args, NOTHING, SHAPE_STATUS, 0, timeout)

    def abandon(self, holders, waiter, error) -> None:
        """The task that awaited this Future was cancelled. error: the exception it gets; annotated."""
        cdef Holder holder
        for holder in holders:
            if holder.client is not None and holder.client.find(waiter) is not None:
                holder.client.abandon(waiter, error)
                return
        # Not in a line either: it may have been answered in this very turn.
        waits = self.withdraw(waiter)
        annotate(error, phase="query", bytes_sent=not waits, outcome="not_sent" if waits else "unknown")

    cdef object start(self, object query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout):
        if (not self.direct or type(query) is not str or get_running_loop() is not self.loop
                or not self.connection_class._direct):
            return None
        return self.place(query, args, sink, shape, limit, timeout)

    cdef object place(self, str query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout):
        """Put a call on a connection, or into a line; the Future of its result, or None as of value()."""
        cdef Holder holder = self.pick()
        cdef StatementPlan plan = None
        cdef double seconds
        if holder is None:
            if self.may_connect():
                return None
            return self.wait(self.waiters, query, args, sink, shape, limit, timeout)
        seconds = limit_of(holder.client, timeout)
        if holder.usable() and seconds != LONG_WAY:
            plan = holder.client.ready_plan(query)
        if plan is None or not self.is_direct(query, plan):
            self.connected.append(holder)
            return None
        waiter = holder.client.new_future()
        try:
            holder.renew()
            self.begin(PoolCall.__new__(PoolCall), holder, plan, args, sink, shape, limit, seconds, waiter)
        except BaseException:
            self.put(holder)
            raise
        holder.client.flush()
        return waiter

    cdef object wait(self, object line, str query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout):
        cdef Request request = Request.__new__(Request)
        request.query = query
        request.args = args
        request.sink = sink
        request.shape = shape
        request.limit = limit
        request.timeout = timeout
        waiter = request.waiter = self.create_future()
        line.append(request)
        self.waits(line)
        return waiter

    cdef int begin(self, PoolCall call, Holder holder, StatementPlan plan, tuple args, RowSink sink, int shape,
                   uint32_t limit, double seconds, object waiter) except -1:
        """Put a call into the session's FIFO. What raises has left nothing of it there."""
        cdef Client client = holder.client
        call.query = plan.query
        call.statement = plan
        call.args = args
        call.sink = sink_of(holder.con._rows) if sink is None else sink
        call.shape = shape
        call.limit = limit
        call.waiter = waiter
        holder.in_use = True
        client.session.enqueue(call)
        call.holder = holder
        if call.phase == PHASE_DONE:
            # An encoder of the user's has closed the connection. Not now: who begins a call still counts it.
            self.loop.call_soon(call.left)
        elif seconds >= 0:
            call.deadline = self.loop.time() + seconds
            client.arm(call.deadline)
        client.queries_count += 1
        return 0

    cdef bint begin_request(self, Holder holder, Request request) except -1:
        # A call that has waited, on a holder that nobody has; False: not in one step.
        cdef StatementPlan plan = self.plan_of(holder, request)
        if plan is None:
            return False
        holder.renew()
        self.begin(PoolCall.__new__(PoolCall), holder, plan, request.args, request.sink, request.shape, request.limit,
                   limit_of(holder.client, request.timeout), request.waiter)
        self.later(holder)
        return True

    cdef StatementPlan plan_of(self, Holder holder, Request request):
        """The plan for a call of one step; None when it takes more."""
        cdef StatementPlan plan
        if not self.direct or holder.client is None or not holder.usable():
            return None
        plan = holder.client.ready_plan(request.query)
        if (plan is None or limit_of(holder.client, request.timeout) == LONG_WAY
                or not self.is_direct(request.query, plan)):
            return None
        return plan

    cdef bint is_direct(self, str query, StatementPlan plan) except -1:
        """Whether the result of a statement can be read without asking the server anything."""
        direct = self.direct_queries.get(query)
        if direct is None:
            if len(self.direct_queries) >= STATEMENTS:
                self.direct_queries.clear()
            oids = [column[3] for column in plan.plan.columns] if plan.plan is not None else []
            direct = self.direct_queries[query] = OPEN_TYPES.isdisjoint(oids)
        return direct

    cdef int forget(self, str query) except -1:
        """What was known of a statement is out of date."""
        self.direct_queries.pop(query, None)
        return 0

    cdef int done(self, Holder holder, PoolCall call) except -1:
        """A call has ended. Inside the session's parser, most often."""
        cdef bint odd = self.is_odd_after(holder, call)
        if not odd:
            try:
                holder.soil()
            except BaseException:
                odd = True          # a get_reset_query() of the user's; the long way meets it again and reports it
        if odd:
            self.give_back(holder)
        else:
            self.put(holder)
        return 0

    cdef bint is_odd_after(self, Holder holder, PoolCall call) except -1:
        """Learn from the error of a call; whether its holder has to go the long way back."""
        if call.error is not None and holder.con is not None:
            if isinstance(call.error, (PostgresError, OutdatedSchemaCacheError)):
                if holder.con._on_call_error(call.error):
                    self.forget(call.query)
        return holder.con is None or holder.is_odd()

    cdef int later(self, Holder holder) except -1:
        """What has been put into its outgoing buffer is written at the end of this turn, if not before."""
        if holder.waiting_to_flush or holder.client is not None and holder.client.feeding and not holder.dirty:
            return 0
        holder.waiting_to_flush = True
        self.unflushed.append(holder)
        if not self.turn_scheduled:
            self.turn_scheduled = True
            self.loop.call_soon(self.on_turn)
        return 0

    def on_turn(self) -> None:
        """The end of a turn of the loop."""
        cdef Holder holder
        self.turn_scheduled = False
        unflushed, self.unflushed = self.unflushed, []
        for holder in unflushed:
            if holder.client is not None and holder.client.transport is not None and not holder.client.forked():
                try:
                    holder.clean()
                    holder.client.flush()
                except Exception as error:
                    holder.client.abort(error)
            holder.waiting_to_flush = False
