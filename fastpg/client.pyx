# SPDX-License-Identifier: MIT
# The only module that knows asyncio and C: an asyncio.BufferedProtocol around a Session. It moves bytes, keeps
# deadlines on one timer, and sees to cancelled operations. Everything here runs on the thread of its loop.
# May import: session, operation, row, exceptions, asyncio.

import asyncio
import os
import weakref
from asyncio import Future
from asyncio import _get_running_loop as get_running_loop

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident

from fastpg.protocol.operation cimport (
    PHASE_DONE,
    PHASE_QUEUED,
    PORTAL_BIND,
    Execute,
    Operation,
    Prepare,
    SimpleQuery,
    StatementPlan,
)
from fastpg.protocol.row cimport RowSink
from fastpg.protocol.session cimport Session

from fastpg.exceptions import ConnectionDoesNotExistError, InterfaceError, NotExecutedError, annotate

cdef unsigned long _forks = 0

cdef enum:
    CHUNKS_PER_TURN = 8         # of a long write, before the loop gets a turn

# Of these loops create_future() is Future(loop=self), which Future() is quicker at while they run.
PLAIN = [asyncio.BaseEventLoop.create_future]
try:
    from uvloop import Loop as _uvloop
except ImportError:
    pass
else:
    PLAIN.append(_uvloop.create_future)

cdef double FIRST_RETRY = 0.5   # seconds from one CancelRequest to the next for the same query, doubled each time


def _count_fork():
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


cdef class Client:
    """One connection on one event loop."""

    def __init__(self, loop, Session session, *, tls=False, cancel_timeout=5.0, schedule=None):
        self.loop = loop
        self.session = session
        session.listener = self
        self.closed = loop.create_future()
        self.create_future = loop.create_future
        self.plain_futures = getattr(type(loop), "create_future", None) in PLAIN
        self.plans = {}
        self.to_close = []
        self.query_loggers = {}
        self.command_timeout = -1
        self.schedule = loop.call_soon if schedule is None else schedule
        self.cancel_timeout = cancel_timeout
        self.tls = tls
        self.reuse_after_cancel = True
        self.tasks = set()
        self.thread = PyThread_get_thread_ident()
        self.fork_epoch = _forks
        self.whole = True

    # ------------------------------------------------------- protocol callbacks

    def connection_made(self, transport):
        self.transport = transport
        self.write = transport.write
        # asyncio's own joins what it gets, or (CVE-2024-12254, before Python 3.12.9 and 3.13.2) never says to wait.
        self.writelines = transport.writelines if type(transport).__module__.startswith("uvloop") else None

    def attach(self, transport, bytes leftover=b""):
        """Take over a transport whose start-up has been driven by somebody else."""
        self.connection_made(transport)
        if self.tls:
            # TLS transports slice what get_buffer() gives; a plain one only fills it.
            self.whole = False
        transport.set_protocol(self)
        if leftover:
            self.session.feed(leftover)
            self.after_feed()

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        cdef char *p
        cdef Py_ssize_t n
        self.session.space(&p, &n)
        PyBuffer_FillInfo(buffer, self, p, n, 0, flags)

    def __len__(self):
        cdef char *p
        cdef Py_ssize_t n
        self.session.space(&p, &n)
        return n

    def get_buffer(self, sizehint):
        return self if self.whole else memoryview(self)

    def buffer_updated(self, Py_ssize_t n):
        self.feeding = True
        self.session.received(n)
        self.feeding = False
        if self.session.failure is not None or self.session.paused or self.session.out.len:
            self.after_feed_slow()

    cdef int after_feed_slow(self) except -1:
        if self.session.failure is not None:
            self.abort(self.session.failure)
            return 0
        if self.session.paused and self.transport is not None:
            self.transport.pause_reading()
        return self.flush()

    def after_feed(self):
        if self.session.failure is not None or self.session.paused or self.session.out.len:
            self.after_feed_slow()

    def resume_reading(self) -> None:
        """A sink that had asked to pause goes on."""
        if not self.session.paused:
            return
        if self.transport is not None:
            self.transport.resume_reading()
        self.session.resume_parsing()
        self.after_feed()

    def eof_received(self):
        return False

    def pause_writing(self):
        self.session.writable = False

    def resume_writing(self):
        self.session.writable = True
        self.flush()

    def connection_lost(self, exc):
        transport, self.transport = self.transport, None
        self.write = self.writelines = None
        if transport is not None:
            transport.close()       # lost already, but a TLS transport of Python 3.10 warns unless it was told
        if self.farewell is not None and exc is None and self.session.head is None:
            self.end(ConnectionDoesNotExistError("connection was closed: close() was called"))
        else:
            self.end(lost_error(self, exc))

    cdef int end(self, object error) except -1:
        self.session.fail(error)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if not self.closed.done():
            owner = self.owner
            try:
                # First: its listeners are called while a pool still lends the connection.
                if owner is not None:
                    owner._on_connection_lost()
            finally:
                self.closed.set_result(None)
                if self.farewell is not None and not self.farewell.done():
                    self.farewell.set_result(None)
        if self.cancelling is not None:
            # Nobody need wait for the CancelRequest, which goes on: the server may still run the query.
            waiting, self.cancelling = self.cancelling, None
            if not waiting.done():
                waiting.set_result(None)
        # What refers to each other would wait for the garbage collector, with all its memory.
        self.session.listener = None
        return 0

    # ------------------------------------------------- the session's listener

    def on_parameter(self, name, value):
        owner = self.owner
        if owner is not None:
            owner._on_parameter(name, value)

    def on_notice(self, fields):
        owner = self.owner
        if owner is not None:
            owner._on_notice(fields)

    def on_notification(self, pid, channel, payload):
        owner = self.owner
        if owner is not None:
            owner._on_notification(pid, channel, payload)

    @property
    def owner(self):
        """The Connection that hears of notices and of the end; held weakly, so that it can be collected."""
        return self.owner_ref() if self.owner_ref is not None else None

    @owner.setter
    def owner(self, connection):
        self.owner_ref = weakref.ref(connection)

    # ---------------------------------------------------------------- operations

    cpdef int check(self) except -1:
        """The right process, thread and loop, and a live connection; before any byte is written."""
        if self.fork_epoch != _forks:
            raise self.refusal("cannot perform operation: the connection was made before a fork; it belongs to the "
                               "parent process")
        # A loop runs in one thread. trio-asyncio knows better than asyncio's own function.
        if get_running_loop() is not self.loop and asyncio._get_running_loop() is not self.loop:
            if self.thread != PyThread_get_thread_ident():
                raise self.refusal("cannot perform operation: the connection belongs to another thread")
            raise self.refusal("cannot perform operation: the connection belongs to another event loop")
        if self.transport is None or self.session.failure is not None:
            raise self.refusal("connection is closed")
        return 0

    cdef bint forked(self) noexcept:
        return self.fork_epoch != _forks

    cdef bint at_home(self) noexcept:
        """The process and thread are the right ones: what check() looks at and is cheap to look at."""
        return self.fork_epoch == _forks and self.thread == PyThread_get_thread_ident()

    def count_use(self, StatementPlan plan not None) -> None:
        """The plan has just been used: the statement cache forgets that first whose last use is longest ago."""
        self.uses += 1
        plan.used = self.uses

    def forget_statement(self, StatementPlan plan not None) -> None:
        """The plan has left the statement cache: its statement is closed in passing."""
        if plan.name:
            self.to_close.append(plan.name)

    cdef object new_future(self):
        return Future() if self.plain_futures else self.create_future()

    def refusal(self, text):
        return annotate(InterfaceError(text), phase="query", bytes_sent=False, outcome="not_sent",
                        backend_pid=self.session.backend_pid)

    cpdef int check_usable(self) except -1:
        """check(), and no other operation in progress."""
        cdef Operation op
        self.check()
        if self.section is not None:
            raise self.refusal("cannot perform operation: another operation is in progress")
        op = self.session.head
        while op is not None:
            if op.waiter is not None and not op.discard:
                raise self.refusal("cannot perform operation: another operation is in progress")
            op = op.next
        return 0

    cdef StatementPlan ready_plan(self, str query):
        """The plan of a statement that can be executed at once; None when something has to be seen to first."""
        cdef StatementPlan plan
        cdef PyObject *found = PyDict_GetItem(self.plans, query)
        if found == NULL or self.cancelling is not None or self.to_close or self.query_loggers:
            return None
        plan = <StatementPlan>found
        self.uses += 1
        plan.used = self.uses
        return plan

    cdef int submit(self, Operation op, double timeout) except -1:
        cdef bint idle = self.session.head is None
        if timeout >= 0:
            op.deadline = self.loop.time() + timeout
            self.arm(op.deadline)
        self.session.enqueue(op)
        if idle:
            self.flush()
        elif not self.flush_scheduled:
            self.flush_scheduled = True
            self.schedule(self.on_flush)
        return 0

    cdef int queue(self, Operation op, double timeout) except -1:
        # Of a pipeline: written with what follows, in the next turn of the loop.
        if timeout >= 0:
            op.deadline = self.loop.time() + timeout
            self.arm(op.deadline)
        self.session.enqueue(op)
        if not self.flush_scheduled:
            self.flush_scheduled = True
            self.schedule(self.on_flush)
        return 0

    def on_flush(self):
        self.flush_scheduled = False
        self.flush()

    cdef int flush(self) except -1:
        try:
            return self.write_out()
        except BaseException as error:
            # Any part of it may have been sent: nothing can follow.
            lost = ConnectionDoesNotExistError(f"connection was closed: it could not be written to: {error!r}")
            lost.__cause__ = error
            transport = self.transport
            self.abort(lost)
            forget_writer(self.loop, transport)
            if not isinstance(error, Exception):
                raise
        return 0

    cdef int write_out(self) except -1:
        cdef int chunk
        for chunk in range(CHUNKS_PER_TURN):  # no-cython-lint
            if self.transport is None:
                return 0
            data = self.session.take_output()
            if data is not None:
                self.write(data)
            if self.session.cursor is None or not self.session.writable:
                return 0
            if not self.pump() and self.session.out.len == 0:
                return 0
        if not self.flush_scheduled:
            self.flush_scheduled = True
            self.schedule(self.on_flush)
        return 0

    cdef bint pump(self) except -1:
        cdef bytes splice
        self.session.splicing = self.writelines is not None
        self.session.pump(None)
        splice, self.session.splice = self.session.splice, None
        if splice is None:
            return False
        if self.transport is not None:
            self.writelines((self.session.take_output(), splice))
        return True

    def run(self, Operation op, double timeout=-1):
        """Queue an operation; the Future of its result. timeout in seconds, negative for none."""
        self.check()
        op.waiter = self.create_future()
        waiter = op.waiter
        self.submit(op, timeout)
        if not (type(op) is Prepare or type(op) is Execute and (<Execute>op).portal_step == PORTAL_BIND):
            self.queries_count += 1
        return waiter

    def post(self, Operation op, bint fatal=False) -> None:
        """Queue an operation whose answer nobody waits for. fatal: its error closes the connection."""
        self.check()
        op.fatal = fatal
        self.submit(op, -1)
        if fatal:
            self.queries_count += 1

    def query(self, StatementPlan statement not None, args, RowSink sink not None, limit=0, double timeout=-1):
        """Execute a prepared statement: the Future of the sink's result."""
        self.check()
        waiter = self.new_future()
        self.submit(Execute(statement, args, sink, waiter, limit), timeout)
        self.queries_count += 1
        return waiter

    def wake(self) -> None:
        """A producer has something: write it."""
        self.flush()

    # ------------------------------------------------- deadlines and cancelling

    cdef int arm(self, double when) except -1:
        if self.timer is not None:
            if self.timer_at <= when:
                return 0
            self.timer.cancel()
        self.timer_at = when
        self.timer = self.loop.call_at(when, self.on_timer)
        return 0

    def on_timer(self):
        cdef Operation op = self.session.head
        cdef Operation following
        cdef double earliest = 0
        # uvloop's timers have millisecond resolution: half a millisecond early is due.
        cdef double now = self.loop.time() + 0.0005
        self.timer = None
        while op is not None:
            following = op.next
            if op.deadline and op.waiter is not None and not op.discard:
                if op.deadline <= now:
                    if not op.waiter.done():
                        error = asyncio.TimeoutError()
                        self.tell(error, op)
                        op.waiter.set_exception(error)
                    self.drop(op)
                elif earliest == 0 or op.deadline < earliest:
                    earliest = op.deadline
            op = following
        if earliest and self.transport is not None:
            self.arm(earliest)

    cdef Operation find(self, object waiter):
        cdef Operation op = self.session.head
        while op is not None and op.waiter is not waiter:
            op = op.next
        return op

    def tell(self, error, Operation op):
        """Annotate what interrupts this operation; None: it is not in the queue, its answer has been read."""
        sent = op is None or op.phase != PHASE_QUEUED
        annotate(error, phase="query", bytes_sent=sent, outcome="unknown" if sent else "not_sent",
                 backend_pid=self.session.backend_pid)

    def abandon(self, waiter, error=None) -> None:
        """The task that awaited this Future was cancelled: cancel the query, read its answer, tell nobody.

        error: the exception the task gets; annotated.
        """
        cdef Operation op = self.find(waiter)
        if error is not None:
            self.tell(error, op)
        if op is not None:
            self.drop(op)
        elif waiter.done() and not waiter.cancelled():
            waiter.exception()      # nobody else will retrieve it

    def interrupt(self) -> None:
        """Cancel all operations that somebody waits for: the connection is about to be closed."""
        cdef Operation op = self.session.head
        cdef Operation following
        while op is not None:
            following = op.next
            if op.waiter is not None and not op.discard:
                if not op.waiter.done():
                    error = ConnectionDoesNotExistError("connection was closed in the middle of operation: close() "
                                                        "was called")
                    self.tell(error, op)
                    op.waiter.set_exception(error)
                self.drop(op)
            op = following

    def give_up(self, reason, bint running) -> None:
        """End a pipeline early: nothing more of it is sent; running: what the server has of it is cancelled."""
        cdef Operation op = self.session.head
        cdef Operation following
        while op is not None:
            following = op.next
            if op.waiter is not None and not op.discard and (running or op.phase == PHASE_QUEUED):
                if not op.waiter.done():
                    error = NotExecutedError(f"not executed: {type(reason).__name__} inside the pipeline")
                    error.__cause__ = reason
                    self.tell(error, op)
                    op.waiter.set_exception(error)
                self.drop(op)
            op = following

    def roll_back(self) -> None:
        """A transaction was given up and nobody can wait: end it, if it is open, before any other operation."""
        if self.transport is None or self.session.failure is not None or self.fork_epoch != _forks:
            return
        self.session.withdraw(self.session.opening)
        self.undo = SimpleQuery("ROLLBACK")
        self.begin_cancel(None)

    def drop(self, Operation op):
        if op.phase == PHASE_QUEUED:
            # Nothing of it is written, so nothing ever is.
            if self.session.cursor is op:
                self.session.cursor = op.next
            self.session.unlink(op)
            op.abandon()
            if self.session.cursor is not None:
                self.session.pump(None)
                self.flush()
            return
        op.abandon(self.create_future())
        if op is self.session.cursor:
            self.session.pump(None)
            self.flush()
        self.resume_reading()       # nobody will, for a sink that had asked to pause
        if self.to_cancel() is not None:
            self.begin_cancel(op)

    cdef Operation to_cancel(self):
        # The first of those that were given up with nothing wanted behind them. What a pipeline still wants could be
        # what the server runs by the time a CancelRequest comes: then the answer is only thrown away.
        cdef Operation op = self.session.head
        cdef Operation first = None
        while op is not None and op.phase != PHASE_QUEUED:
            if not op.discard or op.waiter is None:
                first = None
            elif first is None and op.phase != PHASE_DONE:
                first = op
            op = op.next
        return first

    cdef int begin_cancel(self, Operation op) except -1:
        if self.cancelling is None:
            self.cancelling = self.create_future()
            self.watch(True)
            task = self.loop.create_task(self.cancel_running(op))
            self.tasks.add(task)
            # Not in the coroutine: a task cancelled before its first step never enters it.
            task.add_done_callback(self.cancel_done)
        return 0

    cdef int watch(self, bint on) except -1:
        # Whether the time for cancelling runs.
        if on and self.watchdog is None:
            self.watchdog = self.loop.call_later(self.cancel_timeout, self.give_up_cancel)
        elif not on and self.watchdog is not None:
            self.watchdog.cancel()
            self.watchdog = None
        return 0

    async def cancel_running(self, Operation op):
        # The next operation starts only after the CancelRequest's own socket is at its end and the cancelled
        # operation's ReadyForQuery has come: then a cancel can reach no other query. All within one deadline.
        cdef Operation ahead
        if op is not None:
            op = self.to_cancel()
        while op is not None:
            finished = op.waiter
            while self.session.head is not op and op.phase != PHASE_DONE:
                # A Close or the like goes before it: the request would hit that one.
                ahead = self.session.head
                # What somebody wants may take its time.
                self.watch(ahead.waiter is None or ahead.discard)
                if ahead.waiter is None:
                    ahead.abandon(self.create_future())
                await asyncio.wait([ahead.waiter])
                await asyncio.sleep(0)
            self.watch(True)
            wait = FIRST_RETRY
            while op.phase != PHASE_DONE and self.canceller is not None:
                await self.canceller(self.cancel_timeout)
                if op.phase != PHASE_DONE:
                    # A request that comes before the server has begun with the query has no effect: once more then.
                    await asyncio.wait([finished], timeout=wait)
                    wait *= 2
            if op.phase != PHASE_DONE:
                await finished
            # Others that were given up meanwhile.
            op = self.to_cancel()
        op, self.undo = self.undo, None
        if op is not None and self.session.in_transaction and self.session.failure is None:
            op.abandon(self.create_future())
            finished = op.waiter
            self.submit(op, -1)
            await finished

    def cancel_done(self, task):
        self.tasks.discard(task)
        self.watch(False)
        if task.cancelled():
            self.abort(ConnectionDoesNotExistError("connection was closed: cancelling a query was interrupted"))
        elif task.exception() is not None:
            self.abort(task.exception())
        elif not self.reuse_after_cancel:
            self.abort(ConnectionDoesNotExistError(
                "connection was closed: a query on it was cancelled (security profile: reuse_after_cancel=False)"))
        waiting, self.cancelling = self.cancelling, None
        if waiting is None:
            return                      # the connection has ended meanwhile
        if self.undo is not None and self.transport is not None and self.session.failure is None:
            self.begin_cancel(None)     # asked for between the task's last step and now
            self.cancelling.add_done_callback(lambda _: waiting.done() or waiting.set_result(None))
        elif not waiting.done():
            waiting.set_result(None)

    def give_up_cancel(self):
        self.watchdog = None
        self.abort(ConnectionDoesNotExistError(
            f"connection was closed: the server did not end a cancelled query within {self.cancel_timeout} s"))

    # ------------------------------------------------------------------- ending

    def abort(self, error=None) -> None:
        """Close at once; operations in flight fail."""
        transport, self.transport = self.transport, None
        self.write = self.writelines = None
        if self.fork_epoch != _forks:
            return
        if transport is not None:
            try:
                transport.abort()
            except RuntimeError:
                pass            # the loop is closed: the transport goes with it
        if error is None:
            error = lost_error(self, None)
        try:
            self.end(error)
        except RuntimeError:
            if not self.loop.is_closed():
                raise       # else nobody is left who could be told

    def terminate_politely(self):
        """Send Terminate and close the transport; a Future of its end, that is the caller's alone."""
        farewell = self.create_future()
        if self.closed.done():
            farewell.set_result(None)
            return farewell
        self.farewell = farewell
        if self.transport is not None and self.fork_epoch == _forks:
            self.transport.write(b"X\0\0\0\4")
            if self.patience > 0:
                limit = self.loop.call_later(self.patience, self.transport.close)
                farewell.add_done_callback(lambda _: limit.cancel())
            else:
                self.transport.close()
        return farewell

    @property
    def is_connected(self) -> bool:
        return self.transport is not None and self.session.failure is None

    @property
    def foreign_process(self) -> bool:
        """A fork has happened since the connection was made, and this is the child."""
        return self.fork_epoch != _forks


cdef int forget_writer(object loop, object transport) except -1:
    # asyncio's transports ask for the socket to become writable before they make room for what is left, and go on
    # asking when there is no room, in the name of whoever gets the closed socket's number next.
    try:
        loop.remove_writer(transport.get_extra_info("socket").fileno())
    except Exception:
        pass                # a loop of another kind, or no socket any more
    return 0


cdef object lost_error(Client client, object exc):
    # The server's own last word is the reason, when there was one.
    cdef Operation op = client.session.head
    reason = op.error if op is not None and op.error is not None else client.session.last_error
    text = "connection was closed in the middle of operation"
    if reason is not None:
        text = f"{text}: {reason}"
    error = ConnectionDoesNotExistError(text)
    error.__cause__ = reason if reason is not None else exc
    annotate(error, phase="query", bytes_sent=op is not None and op.phase != PHASE_QUEUED,
             outcome="unknown" if op is not None and op.phase != PHASE_QUEUED else "not_sent",
             backend_pid=client.session.backend_pid)
    return error


class ClientProtocol(Client, asyncio.BufferedProtocol):
    """The Client as transports want it: they look for the base class."""
