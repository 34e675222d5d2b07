# SPDX-License-Identifier: MIT
# What pipelines are made of: statements under one Sync (Batch), and single ones. The server throws away what follows an
# error until Sync; nothing of a batch stays then. May import: reply, frontend, backend, operation, row, exceptions.

from libc.stdint cimport int32_t, uint8_t

from fastpg.codecs.codec cimport Codec
from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty, length_limit
from fastpg.protocol.frontend cimport write_describe, write_execute, write_flush, write_parse, write_sync
from fastpg.protocol.operation cimport (
    FILL_DONE, FILL_MORE, FILL_WAIT, PHASE_DONE, SHAPE_FIRST, SHAPE_SINK, SHAPE_VALUE, Execute,
)
from fastpg.protocol.row cimport RowPlan, raise_truncated, raise_wrong_size
from fastpg.protocol.status cimport command_status
from fastpg.reply cimport REPLY_ERROR, REPLY_PENDING, REPLY_RESULT, Reply
from fastpg.sinks.record cimport ValueSink
from fastpg.wire cimport Out, load_i32, load_u16

from fastpg.exceptions import DataError, NotExecutedError, ProtocolError, annotate

cdef enum:
    HIGH_WATER = 256 * 1024


cdef class Piped(Execute):
    """Bind, Execute, Sync."""

    cdef int deliver(self) except -1:
        # The waiter is a Reply, or the Future of a wait for the end of what nobody wants any more.
        cdef Reply reply
        if type(self.waiter) is not Reply:
            return Execute.deliver(self)
        reply = self.waiter
        self.waiter = None
        self.phase = PHASE_DONE
        if reply.state != REPLY_PENDING:
            return 0
        if self.error is None:
            return reply.settle(REPLY_RESULT, self.result)
        annotate_once(self.error)
        if not self.mend(reply, self.error, self.shape == SHAPE_FIRST):
            reply.settle(REPLY_ERROR, self.error)
        return 0


cdef int annotate_once(object error) except -1:
    if getattr(error, "fastpg", None) is None:
        # The server has done its part, reading the answer failed.
        annotate(error, phase="query", bytes_sent=True, outcome="unknown")
    return 0


cdef class Item(Reply):
    """`args` of one execution, or an iterable `elements` of many. sink None: the status."""

    cdef int give_sink(self) except -1:
        if self.shape == SHAPE_VALUE:
            self.shape = SHAPE_SINK
            self.sink = ValueSink.make(self.column)
            self.sink.begin(self.statement.plan)
        return 0

    cdef int read(self, const char *p, const char *end) except -1:
        """A whole DataRow message, for SHAPE_VALUE. The value goes to `outcome`, where it counts once told."""
        cdef RowPlan plan = self.statement.plan
        cdef const char *field = p + 7
        cdef const Codec *codec
        cdef Py_ssize_t i
        cdef int32_t n = -1
        if self.column >= plan.count or end - p < 7 or load_u16(p + 5) != plan.count:
            return self.read_again(p, end)
        for i in range(plan.count):
            if end - field < 4:
                raise_truncated("DataRow")
            n = load_i32(field)
            field += 4
            if n < -1 or n > end - field:
                raise_truncated("DataRow")
            if n < 0:
                continue
            if i == self.column:
                codec = plan.codecs[i]
                if codec.size >= 0 and n != codec.size:
                    raise_wrong_size(codec, n)
                try:
                    self.outcome = codec.decode(codec, field, n)
                except Exception:
                    return self.read_again(p, end)
            field += n
        if field != end:
            raise_truncated("DataRow")
        return 0

    cdef int read_again(self, const char *p, const char *end) except -1:
        # A sink knows what is to be told, or kept.
        self.give_sink()
        try:
            return self.sink.rows(p, end)
        except ProtocolError:
            raise
        except Exception as error:
            # The value of one item: the server knows nothing of it and goes on.
            self.error = annotate(error, phase="query", bytes_sent=True, outcome="unknown")
            return 0

    cdef int conclude(self) except -1:
        if self.shape == SHAPE_VALUE:
            return 0
        if self.error is None and self.sink is not None:
            try:
                value = self.sink.finish()
            except Exception as error:
                self.error = annotate(error, phase="query", bytes_sent=True, outcome="unknown")
            else:
                self.value = value if self.shape != SHAPE_FIRST else (value[0] if value else None)
        elif self.error is None and self.elements is None:
            self.value = command_status(self.status)
        return 0

    cdef int fail(self, object error) except -1:
        self.told = True
        if self.sink is not None:
            self.sink.abort(error)
        if self.state == REPLY_PENDING:
            self.settle(REPLY_ERROR, error)
        return 0


cdef class Batch(Operation):
    """Items under one Sync, added while it runs. The result is None when all of it has been executed.

    plan_of(query, parameter OIDs, columns) gives the StatementPlan of a statement that is described inside the batch;
    name_of(query) names it.
    """

    def __init__(self, plan_of, name_of, mend, waiter=None):
        self.eats = True
        self.mend = mend
        self.items = []
        self.plans = {}
        self.plan_of = plan_of
        self.name_of = name_of
        self.waiter = waiter
        self.failed = -1

    # ---------------------------------------------------- from the pipeline

    cdef int append(self, Item item) except -1:
        """One more statement; it fails at once when the batch has failed already."""
        if self.error is not None or self.closing:
            item.fail(self.not_executed())
        else:
            self.items.append(item)
        return 0

    def flush(self) -> None:
        """The results of what has been added are wanted before the end."""
        self.flushing = True

    def close(self) -> None:
        """No more items will come."""
        self.closing = True

    def give_up(self, error) -> None:
        """Nothing of it is to stay. What was written fails, the rest is not sent."""
        if self.phase != PHASE_DONE and self.error is None:
            self.spoil(error)

    # ------------------------------------------------------------ to the server

    cdef int fill(self, Out *out) except -1:
        cdef Item item
        cdef Py_ssize_t mark
        while self.error is None and not self.discard and self.written < len(self.items):
            item = <Item>self.items[self.written]
            mark = out.len
            try:
                while out.len < HIGH_WATER and item.shape == SHAPE_VALUE and item.statement is not None:
                    # The ordinary case, without a second look.
                    mark = out.len
                    item.statement.write_query(out, item.args, 1, False)
                    item.args = None
                    item.sent = 1
                    item.complete = True
                    self.written += 1
                    if self.written == len(self.items):
                        break
                    item = <Item>self.items[self.written]
                if item.complete:
                    break
                if item.statement is None:
                    item.statement = self.plans.get(item.query)
                mark = out.len
                if item.statement is None:
                    if not self.describing:
                        self.describing = True
                        name = self.name_of(item.query)
                        write_parse(out, name, self.in_encoding(item.query), ())
                        write_describe(out, b"S", name)
                        write_flush(out)
                    return FILL_WAIT
                self.write_item(item, out)
            except Exception as error:
                out.len = mark
                self.failed = self.written
                self.spoil(error)
                break
            if not item.complete:
                return FILL_MORE
            self.written += 1
            if out.len >= HIGH_WATER and self.written < len(self.items):
                return FILL_MORE
        if self.discard and self.error is None:
            self.spoil(NotExecutedError("not executed: the pipeline was given up"))
        if self.spoilt:
            # The portal does not exist: whatever was executed since the last Sync is rolled back.
            write_execute(out, b"fastpg: the batch was aborted", 0)
        elif self.error is None and not self.closing:
            if self.flushing:
                self.flushing = False
                self.eager = True
                write_flush(out)
                self.tell()
            return FILL_WAIT
        self.closing = True
        write_sync(out)
        self.syncs = 1
        return FILL_DONE

    cdef int write_item(self, Item item, Out *out) except -1:
        if item.sent == 0 and item.sink is not None and item.statement.plan is not None and not item.complete:
            item.sink.begin(item.statement.plan)
        if item.elements is None:
            item.statement.write_query(out, item.args, item.limit, False)
            item.args = None
            item.sent = 1
            item.complete = True
            return 0
        while out.len < HIGH_WATER:
            args = next(item.elements, self)
            if args is self:
                item.complete = True
                if item.sent == 0:
                    self.pass_over()
                return 0
            if not isinstance(args, (tuple, list)):
                raise DataError(f"invalid input in executemany() argument sequence element #{item.sent}: "
                                f"expected a sequence, got {type(args).__name__}")
            item.statement.write_bind(out, b"", args, item.sent)
            write_execute(out, b"", 0)
            item.sent += 1
        return 0

    cdef int pass_over(self) except -1:
        # Nothing is sent for it, so nothing is answered: told when its turn comes.
        return self.advance()

    # ---------------------------------------------------------- from the server

    cdef Py_ssize_t eat(self, const char *p, const char *end) except -1:
        """BindComplete, DataRow, CommandComplete of one value each, as long as nothing else comes.

        Only what is there whole is read: whatever is out of the ordinary is left to the session and on_message().
        """
        cdef const char *begin = p
        cdef const char *q
        cdef const char *row
        cdef Item item
        cdef Py_ssize_t n
        if self.error is not None or self.discard or self.describing:
            return 0
        while self.current < self.written:
            item = <Item>self.items[self.current]
            if item.shape != SHAPE_VALUE or item.ended != 0 or item.answered or item.statement.plan is None:
                break
            if end - p < 10 or p[0] != b"2" or load_i32(p + 1) != 4:
                break
            q = row = p + 5
            if q[0] == b"D":
                n = load_i32(q + 1)
                if n < 6 or n > length_limit(b"D") or end - q < n + 6:
                    break
                q += n + 1
            n = load_i32(q + 1)
            if q[0] == b"C":
                if n < 5 or n > length_limit(b"C") or end - q < n + 1:
                    break
                item.statement.ended(q + 5, n - 4)
            elif q[0] != b"s" or n != 4 or item.limit == 0:
                break
            if q != row:
                item.read(row, q)
            p = q + n + 1
            item.ended = 1
            self.current += 1
            if item.shape != SHAPE_VALUE:
                item.conclude()
        if p != begin and self.eager:
            self.tell()
        return p - begin

    cdef int on_rows(self, const char *p, const char *end) except -1:
        cdef Item item
        if self.current >= len(self.items):
            return self.unexpected(backend.DATA_ROW)
        item = self.items[self.current]
        if item.sent == 0 or item.statement.plan is None or not item.bound:
            return self.unexpected(backend.DATA_ROW)
        item.answered = True
        item.give_sink()
        if item.sink is None or item.error is not None or self.discard or self.error is not None:
            return 0
        try:
            return item.sink.rows(p, end)
        except ProtocolError:
            raise
        except Exception as error:
            # The value of one item: the server knows nothing of it and goes on.
            item.error = annotate(error, phase="query", bytes_sent=True, outcome="unknown")
            return 0

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        cdef Item item
        if self.describing:
            if tag == backend.PARSE_COMPLETE:
                return expect_empty(tag, n)
            if tag == backend.PARAMETER_DESCRIPTION and self.oids is None and self.current == self.written:
                self.oids = backend.parse_parameter_description(p, n)
                return 0
            if self.oids is not None and (tag == backend.ROW_DESCRIPTION or tag == backend.NO_DATA):
                return self.described(backend.parse_row_description(p, n) if tag == backend.ROW_DESCRIPTION else None)
        if self.current >= len(self.items):
            return self.unexpected(tag)
        item = self.items[self.current]
        if item.ended >= item.sent:
            return self.unexpected(tag)
        item.answered = True
        if not item.bound:
            if tag != backend.BIND_COMPLETE:
                return self.unexpected(tag)
            item.bound = True
            return expect_empty(tag, n)
        if tag == backend.COMMAND_COMPLETE:
            item.status = item.statement.ended(p, n)
        elif tag == backend.EMPTY_QUERY_RESPONSE or tag == backend.PORTAL_SUSPENDED and item.limit:
            expect_empty(tag, n)
        elif tag == backend.COPY_OUT_RESPONSE or tag == backend.COPY_IN_RESPONSE:
            backend.parse_copy_response(p, n)
            raise ProtocolError("a COPY in a pipeline")
        else:
            return self.unexpected(tag)
        item.bound = False
        item.ended += 1
        return self.advance()

    cdef int advance(self) except -1:
        cdef Item item
        while self.current < len(self.items):
            item = self.items[self.current]
            if not item.complete or item.ended < item.sent:
                return 0
            self.current += 1
            item.conclude()
        return self.tell() if self.eager else 0

    cdef int described(self, object columns) except -1:
        cdef Item item = self.items[self.written]
        oids, self.oids = self.oids, None
        self.describing = False
        try:
            self.plans[item.query] = self.plan_of(item.query, oids, columns)
        except Exception as error:
            self.failed = self.written
            self.spoil(error)
        return 0

    cdef int tell(self) except -1:
        # What is complete, to who waits for it. Before that nobody can say that it stays.
        cdef Item item
        while self.told < self.current:
            item = <Item>self.items[self.told]
            self.told += 1
            if item.told or item.state != REPLY_PENDING:
                continue
            item.told = True
            if item.error is None:
                if item.shape == SHAPE_VALUE and item.waiters is None and item.callbacks is None:
                    item.state = REPLY_RESULT       # settle(), of which nothing else is left to do
                else:
                    item.settle(REPLY_RESULT, item.outcome if item.shape == SHAPE_VALUE else item.value)
            elif not self.mend(item, item.error, item.shape == SHAPE_FIRST):
                item.settle(REPLY_ERROR, item.error)
        return 0

    # --------------------------------------------------------------------- ends

    cdef int spoil(self, object error) except -1:
        # By our own doing: the server is made to undo what it has.
        if self.error is None:
            self.spoilt = True
            self.error = annotate(error, phase="query", bytes_sent=self.phase != 0,
                                  outcome="failed" if self.phase != 0 else "not_sent")
        return 0

    cdef int on_error(self, object error) except -1:
        if self.error is None and self.discard:
            # The end of a CancelRequest, most likely: no item has failed by itself.
            self.error = NotExecutedError("not executed: the pipeline was given up")
            self.error.__cause__ = error
            annotate(self.error, phase="query", bytes_sent=True, outcome="failed")
        elif self.error is None:
            if self.current < len(self.items):
                self.failed = self.current
            self.error = error
        return 0

    cdef object not_executed(self):
        cdef object error
        if self.error is None:
            text = "not executed: the pipeline has ended"
        elif self.failed >= 0:
            text = f"not executed: item #{self.failed} of the pipeline failed: {self.error}"
        else:
            text = f"not executed: the pipeline failed as a whole: {self.error}"
        error = NotExecutedError(text)
        error.__cause__ = self.error
        return annotate(error, phase="query", bytes_sent=self.phase != 0,
                        outcome="failed" if self.phase != 0 else "not_sent")

    cdef int deliver(self) except -1:
        cdef Py_ssize_t i
        cdef Item item
        if self.error is None:
            self.tell()
        else:
            if self.failed >= 0:
                try:
                    self.error.pipeline_item = self.failed
                except AttributeError:
                    pass
            for i in range(self.told, len(self.items)):
                item = self.items[i]
                item.fail(self.error if i == self.failed else self.not_executed())
        self.plans = {}
        return Operation.deliver(self)

    cdef int on_ready(self) except -1:
        if self.error is None and self.current != len(self.items):
            raise ProtocolError("the server did not answer every item of a Batch")
        return self.deliver()

    cdef int on_lost(self, object error) except -1:
        cdef Item item
        self.error = error
        self.failed = -1
        for item in self.items[self.told:]:
            item.fail(error)
        self.told = len(self.items)
        return Operation.deliver(self)
