# SPDX-License-Identifier: MIT
# Many statements in few writes. Each has a Sync of its own, and so errors of its own; or all have one, and stand or
# fall together. A statement that is new to the connection is described first, and what was called behind it waits:
# the server gets the statements in the order in which they were called. May import: client, batch, operation,
# session, sinks, exceptions.

import asyncio
import re
from collections import deque
from types import GenericAlias

from libc.stdint cimport uint32_t

from fastpg.batch cimport Batch, Item, Piped
from fastpg.client cimport Client
from fastpg.protocol.operation cimport (
    SHAPE_FIRST, SHAPE_SINK, SHAPE_STATUS, SHAPE_VALUE, ExecuteMany, Operation, StatementPlan,
)
from fastpg.protocol.row cimport RowSink
from fastpg.reply cimport REPLY_ERROR, REPLY_PENDING, Reply
from fastpg.sinks.record cimport ValueSink

from fastpg.codecs._unknown import UnknownTypeError
from fastpg.exceptions import (
    InterfaceError, NotExecutedError, PostgresError, UnsupportedClientFeatureError, annotate,
)

cdef RowSink NOTHING = RowSink()

cdef enum:
    NEW = 0
    OPEN = 1
    LEAVING = 2
    OVER = 3
    AHEAD = 100         # statements that are described before their turn
    MAX_COLUMNS = 1664  # of a result (the server's MaxTupleAttributeNumber)

BEFORE_COPY = re.compile(r"(?:[\s;(]|--[^\n]*|/\*.*?\*/)*copy\b", re.IGNORECASE | re.DOTALL)


cdef class Call:
    """A statement that waits for its turn."""
    cdef str query
    cdef object args
    cdef object elements
    cdef RowSink sink
    cdef int shape              # SHAPE_*
    cdef uint32_t limit
    cdef double deadline        # loop time, 0 for none
    cdef Reply reply


cdef class Pipeline:
    """``async with connection.pipeline() as p:`` - the methods send at once and return a Reply.

    See :meth:`fastpg.Connection.pipeline`; for the arguments, the methods of Connection.
    """

    cdef Client client
    cdef object connection
    cdef object create_future
    cdef readonly bint atomic
    cdef object timeout
    cdef bint timed             # there is a limit even for calls without a timeout
    cdef int state
    cdef dict plans             # query -> StatementPlan, of what has been used here
    cdef dict names             # query -> name, of what was described inside a batch
    cdef list early             # Items of a batch that is not open yet
    cdef str last_query         # what known() was asked last, and what it gave
    cdef StatementPlan last_plan
    cdef list results           # the Reply to each call
    cdef object waiting         # Calls
    cdef object driver          # the task that describes new statements, or None
    cdef object tasks           # those that introspect types of records
    cdef object mend
    cdef Batch batch
    cdef object batch_done
    cdef bint turn_scheduled
    cdef object __weakref__

    def __init__(self, connection, client, atomic=False, timeout=None):
        self.connection = connection
        self.client = client
        self.create_future = self.client.loop.create_future
        self.atomic = atomic
        self.timeout = timeout
        self.plans = {}
        self.names = {}
        self.results = []
        self.waiting = deque()
        self.early = []
        self.tasks = set()
        self.mend = self.take_over

    async def __aenter__(self):
        if self.state != NEW:
            raise InterfaceError("cannot enter a pipeline twice")
        deadline = await self.connection._ready(self.timeout)
        if not self.atomic:
            # An error of BEGIN stops only the statement that it goes along with: here others stand behind that.
            await self.connection._begin_now(deadline)
        self.timed = self.timeout is not None or self.connection._config.command_timeout is not None
        self.client.section = self
        self.state = OPEN
        return self

    # ------------------------------------------------------------------- methods

    def execute(self, str query not None, *args, timeout=None):
        """Run one statement: the Reply with its status."""
        return self.add(query, args, None, None, SHAPE_STATUS, 0, timeout)

    def fetch(self, str query not None, *args, timeout=None, record_class=None, row_factory=None):
        """The Reply with all rows."""
        return self.add(query, args, None, self.sink(record_class, row_factory), SHAPE_SINK, 0, timeout)

    def fetchrow(self, str query not None, *args, timeout=None, record_class=None, row_factory=None):
        """The Reply with the first row, or of None."""
        return self.add(query, args, None, self.sink(record_class, row_factory), SHAPE_FIRST, 1, timeout)

    def fetchval(self, str query not None, *args, column=0, timeout=None):
        """The Reply with one value of the first row, or of None."""
        if self.atomic and timeout is None and type(column) is int and 0 <= column < MAX_COLUMNS:
            return self.add_item(query, args, None, None, SHAPE_VALUE, 1, column)
        return self.add(query, args, None, ValueSink.make(column), SHAPE_SINK, 1, timeout)

    def executemany(self, str command not None, args, *, timeout=None):
        """Run a command once for each element of args: the Reply with None."""
        return self.add(command, None, args, RowSink(), SHAPE_SINK, 0, timeout)

    def fetchmany(self, str query not None, args, *, timeout=None, record_class=None, row_factory=None):
        """Run a query once for each element of args: the Reply with all rows."""
        return self.add(query, None, args, self.sink(record_class, row_factory), SHAPE_SINK, 0, timeout)

    def __class_getitem__(cls, item):
        """Pipeline[Row] in annotations, which may be evaluated."""
        return GenericAlias(cls, item)

    # Explicit ones: with a __getattr__() every call of the methods above would make a bound method first.

    def cursor(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("cursor")

    def transaction(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("transaction")

    def prepare(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("prepare")

    def pipeline(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("pipeline")

    def copy_from_table(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("copy_from_table")

    def copy_from_query(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("copy_from_query")

    def copy_to_table(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("copy_to_table")

    def copy_records_to_table(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("copy_records_to_table")

    def add_listener(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("add_listener")

    def remove_listener(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("remove_listener")

    def reset(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("reset")

    def close(self, *args, **named):
        """Not in a pipeline: InterfaceError."""
        return self.not_here("close")

    cdef object not_here(self, str name):
        raise InterfaceError(f"{name}() is not possible in a pipeline: it needs the connection for itself")

    def __repr__(self):
        state = {NEW: "new", OPEN: "open", LEAVING: "leaving", OVER: "over"}[self.state]
        return f"<Pipeline {state}{' atomic' if self.atomic else ''}, {len(self.results)} statements>"

    cdef RowSink sink(self, record_class, row_factory):
        return self.connection._sink(record_class, row_factory)

    # ------------------------------------------------------------------- calling

    cdef Reply add(self, str query, object args, object elements, RowSink sink, int shape, uint32_t limit,
                   object timeout):
        cdef StatementPlan plan
        cdef Reply reply
        cdef double left = -1
        if self.state != OPEN:
            raise InterfaceError("the pipeline is not open: use it inside its async with block")
        self.client.check()
        if timeout is not None or self.timed:
            left = self.limit(timeout)
        if elements is not None:
            elements = iter(elements)
        if self.atomic:
            return self.add_item(query, args, elements, sink, shape, limit, 0)
        else:
            reply = Reply.__new__(Reply)
            reply.loop = self.client.loop
            plan = None
            if self.driver is None and self.client.cancelling is None:
                plan = self.known(query)
            if plan is not None:
                self.send(plan, args, elements, sink, shape, limit, left, reply)
            else:
                self.later(query, args, elements, sink, shape, limit, left, reply)
        self.results.append(reply)
        return reply

    cdef double limit(self, object timeout) except? -2:
        # Seconds for one statement. In an atomic pipeline there is one limit, that of the whole.
        if self.atomic:
            if timeout is not None:
                raise InterfaceError("a statement of an atomic pipeline has no timeout of its own: "
                                     "give one to pipeline()")
            return -1
        deadline = self.connection._deadline(self.timeout if timeout is None else timeout)
        return self.connection._left(deadline)

    cdef StatementPlan known(self, str query):
        cdef StatementPlan plan
        if query is self.last_query:
            return self.last_plan
        plan = self.plans.get(query)
        if plan is None:
            plan = self.connection._cache.get(query)
            if plan is not None:
                if is_copy(plan):
                    return None     # refused in its turn, like one that is new
                self.plans[query] = plan
        if plan is not None:
            self.last_query = query
            self.last_plan = plan
        return plan

    cdef int send(self, StatementPlan plan, object args, object elements, RowSink sink, int shape, uint32_t limit,
                  double left, Reply reply) except -1:
        cdef Operation op
        cdef Piped piped
        if elements is None:
            op = piped = Piped.__new__(Piped)
            piped.statement = plan
            piped.query = plan.query
            piped.args = args
            piped.sink = NOTHING if sink is None else sink
            piped.shape = shape
            piped.limit = limit
            piped.waiter = reply
            piped.mend = self.mend
        else:
            op = ExecuteMany(plan, elements, sink, reply)
        try:
            self.client.queue(op, left)
        except Exception as error:
            if reply.state == REPLY_PENDING:
                reply.settle(REPLY_ERROR, error)
            return 0
        self.client.queries_count += 1
        return 0

    cdef int later(self, str query, object args, object elements, RowSink sink, int shape, uint32_t limit, double left,
                   Reply reply) except -1:
        cdef Call call = Call.__new__(Call)
        call.query = query
        call.args = args
        call.elements = elements
        call.sink = sink
        call.shape = shape
        call.limit = limit
        call.deadline = self.client.loop.time() + left if left >= 0 else 0
        call.reply = reply
        self.waiting.append(call)
        if self.driver is None:
            self.start_driver()
        return 0

    cdef int start_driver(self) except -1:
        self.driver = self.client.loop.create_task(self.drive())
        self.driver.add_done_callback(self.on_driver_done)
        return 0

    def on_driver_done(self, task):
        self.driver = None
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            # It has done its part; calls may have come since its last look.
            if self.waiting:
                self.start_driver()
            return
        if error is None:
            error = InterfaceError("the pipeline was interrupted")
        while self.waiting:
            self.refuse((<Call>self.waiting.popleft()).reply, error)

    cdef int refuse(self, Reply reply, object error) except -1:
        # Of what was never sent.
        if reply.state == REPLY_PENDING:
            refused = NotExecutedError(f"not executed: {error}")
            refused.__cause__ = error
            reply.settle(REPLY_ERROR, annotate(refused, phase="query", bytes_sent=False, outcome="not_sent",
                                               backend_pid=self.client.session.backend_pid))
        return 0

    # ------------------------------------------------------------- new statements

    async def drive(self):
        # Until nothing waits. Statements are described before their turn, all that are new in one round trip; when
        # that fails, once more in their turn: what goes before may make the table.
        cdef Call call
        ahead = {}
        try:
            while self.waiting:
                if self.client.cancelling is not None:
                    await self.connection._settle()
                for call in list(self.waiting)[:AHEAD]:
                    self.ask(call.query, ahead, call is self.waiting[0])
                call = self.waiting[0]
                try:
                    plan = self.known(call.query)
                    if plan is None:
                        plan = await self.describe(call.query, ahead)
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    if call.reply.state == REPLY_PENDING:
                        call.reply.settle(REPLY_ERROR, error)
                    self.waiting.popleft()
                    continue
                self.waiting.popleft()
                if call.reply.state != REPLY_PENDING:
                    continue        # its task was cancelled, or it was given up
                left = -1.0
                if call.deadline:
                    left = call.deadline - self.client.loop.time()
                    if left <= 0:
                        call.reply.settle(REPLY_ERROR, self.connection._not_sent(asyncio.TimeoutError()))
                        continue
                self.send(plan, call.args, call.elements, call.sink, call.shape, call.limit, left, call.reply)
        finally:
            for name, asked, _ in ahead.values():
                self.connection._forget_statement(name.encode())
                asked.add_done_callback(retrieve)       # nobody wants it any more

    cdef int ask(self, str query, dict ahead, bint in_turn) except -1:
        # Have a new statement described; `ahead` keeps (name, Future of the answer, in_turn).
        config = self.connection._config
        size = config.max_cacheable_statement_size
        if query in ahead or not config.statement_cache_size or size and len(query) > size:
            return 0
        if self.known(query) is None:
            name = self.connection._get_unique_id("stmt")
            ahead[query] = name, self.connection._ask_for_plan(name, query, None), in_turn
        return 0

    async def describe(self, query, ahead):
        # What ask() asked for, or, when that failed before its turn, once more.
        plan = None
        if query in ahead:
            name, asked, in_turn = ahead.pop(query)
            try:
                plan = await self.connection._described(name, query, asked, None)
            except PostgresError:
                if in_turn:
                    raise
            else:
                self.connection._cache.put(query, plan)
        if plan is None:
            plan = await self.connection._statement(query, None)
        refuse_copy(plan)
        if plan.name:
            self.plans[query] = plan
        return plan

    # --------------------------------------------------------------------- atomic

    cdef Item add_item(self, str query, object args, object elements, RowSink sink, int shape, uint32_t limit,
                       Py_ssize_t column):
        cdef Item item
        cdef Client client = self.client
        if self.state != OPEN or client.transport is None or not client.at_home():
            self.refuse_call()
        item = Item.__new__(Item)
        item.loop = client.loop
        item.query = query
        item.statement = self.last_plan if query is self.last_query else self.known(query)
        item.args = args
        item.elements = elements
        item.sink = sink
        item.shape = shape
        item.column = column
        item.limit = limit
        if self.batch is not None:
            self.batch.append(item)
        else:
            self.early.append(item)
        if not self.turn_scheduled:
            self.turn_scheduled = True
            client.schedule(self.on_turn)
        self.results.append(item)
        return item

    cdef int refuse_call(self) except -1:
        if self.state != OPEN:
            raise InterfaceError("the pipeline is not open: use it inside its async with block")
        self.client.check()
        return 0

    def on_turn(self):
        # Somebody awaits inside the block: what there is goes to the server, and its results are wanted.
        self.turn_scheduled = False
        if self.state != OPEN:
            return
        if self.batch is not None:
            self.batch.flush()
            self.client.wake()
        elif self.driver is None and self.early:
            self.driver = self.client.loop.create_task(self.open_batch())
            self.driver.add_done_callback(self.on_opened)

    def on_opened(self, task):
        self.driver = None
        error = None if task.cancelled() else task.exception()
        if error is not None or task.cancelled():
            early, self.early = self.early, []
            for item in early:
                self.refuse(item, error or InterfaceError("interrupted"))

    async def open_batch(self):
        cdef Item item
        cdef Batch batch
        cdef double left
        ahead = {}
        for item in self.early[:AHEAD]:
            if item.statement is None:
                if self.client.session.opening is not None:
                    await self.connection._begin_now(None)
                self.ask(item.query, ahead, False)
        try:
            for query, (name, asked, _) in ahead.items():
                try:
                    plan = await self.connection._described(name, query, asked, None)
                except PostgresError:
                    continue            # once more in its turn, inside the batch
                self.connection._cache.put(query, plan)
        finally:
            for _, asked, _ in ahead.values():
                asked.add_done_callback(retrieve)       # the pipeline may have been given up meanwhile
        done = self.create_future()
        batch = Batch(self.plan_of, self.name_of, self.mend, done)
        batch.items = self.early
        for item in batch.items:
            if item.statement is None:
                item.statement = self.known(item.query)
        if self.state == OPEN:
            batch.flush()
        else:
            batch.close()
        left = self.connection._left(self.connection._deadline(self.timeout)) if self.timed else -1
        self.client.queries_count += len(batch.items)
        # When the connection has been lost by now it raises, and who opens the batch refuses what is early.
        self.client.queue(batch, left)
        self.batch, self.batch_done, self.early = batch, done, []

    def name_of(self, query):
        name = self.names.get(query)
        if name is None:
            name = self.names[query] = self.connection._get_unique_id("stmt").encode()
        return name

    def plan_of(self, query, oids, columns):
        missing = self.connection._registry.missing([*oids, *[column[3] for column in columns or ()]])
        if missing:
            raise UnsupportedClientFeatureError(
                f"the types with the OIDs {missing} are not known yet, and nothing can be asked inside an atomic "
                "pipeline: prepare() the statement before")
        plan = self.connection._plan(self.name_of(query).decode(), query, oids, columns)
        refuse_copy(plan)
        return plan

    # --------------------------------------------------------------------- errors

    def take_over(self, Reply reply not None, error, first):
        """Whether the reply gets its result from here: the types of a record in it have to be found first."""
        if isinstance(error, UnknownTypeError):
            if reply.state != REPLY_PENDING:
                return False
            if self.atomic and self.state == OPEN:
                reply.settle(REPLY_ERROR, UnsupportedClientFeatureError(
                    "a record in the result has types that are not known yet, and nothing can be asked inside an "
                    "atomic pipeline: await it after the block"))
                return True
            task = self.client.loop.create_task(self.resume(reply, error, first))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return True
        if isinstance(error, PostgresError):
            self.connection._on_type_error(error)
            if self.connection._is_stale(error):
                self.forget_plans()
        return False

    cdef int forget_plans(self) except -1:
        self.plans.clear()
        self.last_query = None
        self.last_plan = None
        return 0

    async def resume(self, Reply reply, error, first):
        try:
            value = await self.connection._resume(error, None)
        except BaseException as failure:
            if reply.state == REPLY_PENDING:
                reply.settle(REPLY_ERROR, failure)
            if not isinstance(failure, Exception):
                raise
            return
        if reply.state == REPLY_PENDING:
            reply.set_result((value[0] if value else None) if first else value)

    # -------------------------------------------------------------------- leaving

    async def __aexit__(self, kind, error, trace):
        self.state = LEAVING
        try:
            if error is None:
                await self.finish()
            elif isinstance(error, Exception):
                self.give_up(error, False)
                if self.driver is not None:
                    await asyncio.wait([self.driver])
                await self.drain()
            else:
                # The task was cancelled: what runs is cancelled, and nobody waits for that here.
                self.give_up(error, True)
        except BaseException as interruption:
            self.give_up(interruption, True)
            raise
        finally:
            self.state = OVER
            if self.client.section is self:
                self.client.section = None
            for name in self.names.values():
                self.connection._forget_statement(name)
            failure = self.first_failure()
            # What is left would hold itself in cycles until the garbage collector comes.
            self.mend = self.batch = self.batch_done = None
            self.results = []
        if error is None and failure is not None:
            raise failure
        return False

    async def finish(self):
        if self.atomic:
            if self.driver is not None:
                await asyncio.wait([self.driver])
            if self.early:
                await self.open_batch()
            if self.batch is not None:
                self.batch.close()
                self.client.wake()
        else:
            while self.driver is not None:
                await asyncio.wait([self.driver])
                await asyncio.sleep(0)
        await self.drain()

    async def drain(self):
        # Answers come in order: the last one is the end. It has to be the operation's own end that is waited for, not
        # that of a Future that its user may have cancelled.
        cdef Operation op
        self.client.on_flush()
        while True:
            op = self.client.session.tail
            if op is None:
                break
            if op.waiter is None or op.waiter.done():
                op.abandon(self.create_future())
            await asyncio.wait([op.waiter])
            await asyncio.sleep(0)
        while self.tasks:
            await asyncio.wait(list(self.tasks))

    cdef int give_up(self, object error, bint running) except -1:
        # Nothing more is sent. running: and what is under way is cancelled.
        if self.driver is not None:
            self.driver.cancel()
        while self.waiting:
            self.refuse((<Call>self.waiting.popleft()).reply, error)
        early, self.early = self.early, []
        for item in early:
            self.refuse(item, error)
        if self.batch is not None:
            self.batch.give_up(NotExecutedError(f"not executed: {type(error).__name__} inside the pipeline"))
            if not running:
                self.client.wake()
        self.client.give_up(error, running)
        return 0

    cdef object first_failure(self):
        # Of those that nobody has looked at; the others are marked as looked at, too.
        cdef Reply reply
        first = None
        for result in self.results:
            reply = <Reply>result
            if reply.state == REPLY_PENDING:
                self.refuse(reply, InterfaceError("the pipeline has ended"))
                continue
            if reply.state == REPLY_ERROR and not reply.looked:
                error = reply.outcome
                if first is None or isinstance(first, NotExecutedError) and first.__cause__ is error:
                    first = error
        if self.batch_done is not None and self.batch_done.done() and not self.batch_done.cancelled():
            error = self.batch_done.exception()
            if error is not None and (self.batch.failed < 0 or isinstance(error, asyncio.TimeoutError)):
                first = error       # of the whole, at its commit for instance: no statement has told of it
        return first


cdef bint is_copy(StatementPlan plan) except -1:
    return plan.plan is None and plan.parameter_count == 0 and BEFORE_COPY.match(plan.query) is not None


cdef int refuse_copy(StatementPlan plan) except -1:
    if is_copy(plan):
        raise InterfaceError("COPY is not possible in a pipeline: it needs the connection for itself")
    return 0


def retrieve(asked):
    """Nobody wants its exception any more, when it comes to have one."""
    if not asked.cancelled():
        asked.exception()
