# SPDX-License-Identifier: MIT
# Operations: the scripts of requests. The session writes them in order (fill) and feeds each the messages that
# answer it; the six messages that belong to everyone never come here. An operation that meets a message it does not
# expect raises ProtocolError and the connection is closed. May import: wire, codec, frontend, backend, row, exceptions.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.sequence cimport PySequence_Check
from libc.string cimport memcmp, memcpy

from fastpg.codecs.codec cimport Codec, CodecHandle
from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty, tag_name
from fastpg.protocol.frontend cimport (
    write_close, write_copy_fail, write_describe, write_execute, write_flush, write_parse, write_query, write_sync,
)
from fastpg.protocol.row cimport format_section
from fastpg.protocol.status cimport command_status
from fastpg.wire cimport (
    FASTPG_MAX_MESSAGE, Out, out_begin_message, out_bytes, out_cstring, out_end_message, out_i32, store_u16,
)

from fastpg.exceptions import DataError, InterfaceError, InternalClientError, ProtocolError, annotate

cdef enum:
    MAX_PARAMETERS = 65535
    HIGH_WATER = 256 * 1024         # bytes written before the session hands them over
    REPR_LENGTH = 40


cdef class Operation:
    """One request. Subclasses write themselves in fill() and read their answer in on_message()."""

    cdef int fill(self, Out *out) except -1:
        raise NotImplementedError

    cdef bytes spliced(self):
        raise NotImplementedError

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        return self.unexpected(tag)

    cdef Py_ssize_t eat(self, const char *p, const char *end) except -1:
        return 0

    cdef int on_rows(self, const char *p, const char *end) except -1:
        return self.unexpected(backend.DATA_ROW)

    cdef int on_error(self, object error) except -1:
        if self.error is None:
            self.error = error
        return 0

    cdef int on_ready(self) except -1:
        return self.deliver()

    cdef int on_lost(self, object error) except -1:
        self.error = error
        return self.deliver()

    cdef int refuse_copy(self, Out *out) except -1:
        # Called after CopyInResponse: an operation that has no data to give ends the COPY. In the extended
        # protocol the server has thrown our Sync away while it read the copy stream: another one.
        write_copy_fail(out, b"COPY FROM STDIN is not possible here")
        return write_sync(out)

    cdef int resync(self, Out *out) except -1:
        # Called when the server throws away all of it, up to a Sync: one is written unless it has one itself.
        return 0

    cdef bytes in_encoding(self, str sql):
        return sql.encode() if self.encoding is None else sql.encode(self.encoding)

    cdef int unexpected(self, uint8_t tag) except -1:
        raise ProtocolError(f"unexpected {tag_name(tag)} message in the answer to {type(self).__name__}")

    cdef int deliver(self) except -1:
        # Exactly once; a waiter that was cancelled meanwhile gets nothing.
        waiter, self.waiter = self.waiter, None
        self.phase = PHASE_DONE
        if waiter is None or waiter.done():
            return 0
        if self.discard:
            waiter.set_result(None)
        elif self.error is not None:
            if getattr(self.error, "fastpg", None) is None:
                # The server has done its part, reading the answer failed.
                annotate(self.error, phase="query", bytes_sent=True, outcome="unknown")
            waiter.set_exception(self.error)
        else:
            waiter.set_result(self.result)
        return 0

    def abandon(self, finished=None) -> None:
        """Nobody waits for the answer any longer: it is read and thrown away; `finished` then gets None."""
        self.discard = True
        self.waiter = finished

    @property
    def done(self) -> bool:
        return self.phase == PHASE_DONE

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.serial} phase={self.phase} syncs={self.syncs}>"


cdef class StatementPlan:
    """What is known of one prepared statement.

    name: b"" is the unnamed statement. It belongs to nobody: whoever executes the plan has it parsed again.
    """

    def __cinit__(self, str query, bytes name, tuple parameter_oids, tuple parameters, RowPlan plan):
        cdef Py_ssize_t i
        cdef CodecHandle handle
        self.query = query
        self.name = name
        self.unnamed = not name
        self.parameter_oids = parameter_oids
        self.parameters = parameters
        self.plan = plan
        self.parameter_count = len(parameters)
        if self.parameter_count > MAX_PARAMETERS:
            raise too_many_parameters()
        self.codecs = <const Codec **>PyMem_Malloc((self.parameter_count or 1) * sizeof(Codec *))
        if self.codecs == NULL:
            raise MemoryError
        for i in range(self.parameter_count):
            handle = parameters[i]
            if handle is None:
                raise TypeError("no codec for a parameter")
            self.codecs[i] = handle.codec
        self.prefix = self.bind_prefix()
        results = plan.formats if plan is not None else b"\0\0"
        self.suffix = results + b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\4"
        self.suffix_first = results + b"E\0\0\0\x09\0\0\0\0\1S\0\0\0\4"

    def __dealloc__(self):
        PyMem_Free(self.codecs)

    cdef bytes bind_prefix(self):
        # What stands between the portal's name and the values.
        cdef Py_ssize_t length = len(self.name) + 1
        cdef bytes formats = format_section(self.codecs, self.parameter_count)
        cdef bytes prefix = PyBytes_FromStringAndSize(NULL, length + len(formats) + 2)
        cdef char *p = prefix
        memcpy(p, <const char *>self.name, length)
        memcpy(p + length, <const char *>formats, len(formats))
        store_u16(p + length + len(formats), self.parameter_count)
        return prefix

    cdef int write_bind(self, Out *out, bytes portal, object args, Py_ssize_t element) except -1:
        cdef bytes results = self.plan.formats if self.plan is not None else b"\0\0"
        cdef const char *p = results
        cdef Py_ssize_t at = out_begin_message(out, b"B")
        out_cstring(out, portal, len(portal))
        p = self.prefix
        out_bytes(out, p, len(self.prefix))
        write_arguments(self, out, args, element)
        p = results
        out_bytes(out, p, len(results))
        return out_end_message(out, at, FASTPG_MAX_MESSAGE)

    cdef bytes ended(self, const char *p, Py_ssize_t n):
        # CommandComplete. Most executions of a statement end with the tag of the last one.
        cdef bytes last = self.last_status
        if last is None or len(last) != n - 1 or p[n - 1] != 0 or memcmp(<const char *>last, p, n - 1) != 0:
            last = self.last_status = backend.parse_command_complete(p, n)
        return last

    cdef int write_query(self, Out *out, object args, uint32_t limit, bint sync) except -1:  # no-cython-lint
        # Bind, Execute, Sync with the bytes built once; the length word of Bind covers what stands before 'E'.
        cdef bytes suffix = self.suffix_first if limit == 1 else self.suffix
        cdef const char *p
        cdef Py_ssize_t at
        if limit > 1:
            self.write_bind(out, b"", args, -1)
            write_execute(out, b"", limit)
            return write_sync(out) if sync else 0
        at = out_begin_message(out, b"B")
        out_bytes(out, b"", 1)
        p = self.prefix
        out_bytes(out, p, len(self.prefix))
        write_arguments(self, out, args, -1)
        p = suffix
        out_bytes(out, p, len(suffix) - 15)
        out_end_message(out, at, FASTPG_MAX_MESSAGE)
        return out_bytes(out, p + len(suffix) - 15, 15 if sync else 10)


cdef int write_arguments(StatementPlan statement, Out *out, object args, Py_ssize_t element) except -1:
    cdef Py_ssize_t i = 0, n = statement.parameter_count, taken = -1
    cdef const Codec *codec
    cdef bint is_tuple = type(args) is tuple
    value = None
    if (PyTuple_GET_SIZE(args) if is_tuple else len(args)) != n:
        raise_wrong_count(n, len(args))
    try:
        for i in range(n):
            value = <object>PyTuple_GET_ITEM(args, i) if is_tuple else args[i]
            taken = i
            if value is None:
                out_i32(out, -1)
            else:
                codec = statement.codecs[i]
                codec.encode(codec, out, value)
    except (InternalClientError, MemoryError):
        raise
    except Exception as error:
        # Not args[i] once more: an encoder calls the value's methods, which may have changed a list of arguments.
        raise_bad_argument(i, element, value if taken == i else None, error)
    return 0


cdef object too_many_parameters():
    return InterfaceError(f"the number of query arguments cannot exceed {MAX_PARAMETERS}")


cdef int raise_wrong_count(Py_ssize_t expected, Py_ssize_t given) except -1:
    if given > MAX_PARAMETERS:
        raise too_many_parameters()
    hint = "Check the query against the passed list of arguments."
    if expected == 0:
        hint += (" Note that parameters are supported only in SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES"
                 " statements, and will *not* work in statements like CREATE VIEW or DECLARE CURSOR.")
    raise InterfaceError(
        f"the server expects {expected} argument{'s' if expected != 1 else ''} for this query, "
        f"{given} {'were' if given != 1 else 'was'} passed", hint=hint)


cdef int raise_bad_argument(Py_ssize_t i, Py_ssize_t element, object value, object error) except -1:
    where = f"${i + 1}" if element < 0 else f"${i + 1} in element #{element} of executemany() sequence"
    if isinstance(error, InterfaceError):
        raise error.with_msg(f"query argument {where}: {error.args[0] if error.args else ''}") from None
    try:
        shown = repr(value)
    except Exception:
        shown = f"<{type(value).__name__} whose repr() failed>"
    if len(shown) > REPR_LENGTH:
        shown = shown[:REPR_LENGTH] + "..."
    raise DataError(f"invalid input for query argument {where}: {shown} ({error})") from error


cdef class SimpleQuery(Operation):
    """A script by the simple protocol; the result is the status of its last statement ('' when it has none).

    A COPY in it is refused: its data has nowhere to go. The rest of the answer is read, the connection lives.
    """

    def __init__(self, str sql, waiter=None):
        self.query = sql
        self.waiter = waiter

    cdef int fill(self, Out *out) except -1:
        write_query(out, self.in_encoding(self.query))
        self.syncs = 1
        return FILL_DONE

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.COMMAND_COMPLETE:
            self.status = backend.parse_command_complete(p, n)
            self.answered = True
        elif tag == backend.EMPTY_QUERY_RESPONSE:
            self.answered = True
        elif tag == backend.ROW_DESCRIPTION:
            pass
        elif tag == backend.COPY_IN_RESPONSE or tag == backend.COPY_OUT_RESPONSE:
            backend.parse_copy_response(p, n)
            self.copy_refused = True
            self.on_error(copy_refusal(tag))
        elif (tag == backend.COPY_DATA or tag == backend.COPY_DONE) and self.copy_refused:
            pass
        else:
            return self.unexpected(tag)
        return 0

    cdef int on_rows(self, const char *p, const char *end) except -1:
        return 0

    cdef int refuse_copy(self, Out *out) except -1:
        return write_copy_fail(out, b"COPY FROM STDIN is not possible here")

    cdef int resync(self, Out *out) except -1:
        return write_sync(out)

    cdef int on_ready(self) except -1:
        if self.error is None and not self.answered:
            return raise_unanswered(self)
        self.result = command_status(self.status)
        return self.deliver()


cdef int raise_unanswered(Operation operation) except -1:
    # ReadyForQuery, and not a word on what became of the request: an empty result would be a lie.
    raise ProtocolError(f"the server did not answer {type(operation).__name__}")


cdef object copy_refusal(uint8_t tag):
    if tag == backend.COPY_IN_RESPONSE:
        return InterfaceError("COPY ... FROM STDIN cannot be run as a query: use copy_to_table() or "
                              "copy_records_to_table()")
    return InterfaceError("COPY ... TO STDOUT cannot be run as a query: use copy_from_table() or copy_from_query()")


cdef class Prepare(Operation):
    """Parse, Describe, Sync. The result is (parameter OIDs, RowDescription's columns or None)."""

    def __init__(self, bytes name, str sql, waiter=None, tuple oids=()):
        self.query = sql
        self.name = name
        self.oids = oids
        self.waiter = waiter

    cdef int fill(self, Out *out) except -1:
        write_parse(out, self.name, self.in_encoding(self.query), self.oids)
        write_describe(out, b"S", self.name)
        write_sync(out)
        self.syncs = 1
        return FILL_DONE

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.PARSE_COMPLETE and not self.parsed:
            self.parsed = True
            expect_empty(tag, n)
        elif tag == backend.PARAMETER_DESCRIPTION and self.parsed and self.parameters is None:
            self.parameters = backend.parse_parameter_description(p, n)
            if len(self.parameters) > MAX_PARAMETERS:
                self.on_error(too_many_parameters())
        elif tag == backend.ROW_DESCRIPTION and self.parameters is not None and not self.described:
            self.described = True
            self.columns = backend.parse_row_description(p, n)
        elif tag == backend.NO_DATA and self.parameters is not None and not self.described:
            self.described = True
            expect_empty(tag, n)
        else:
            return self.unexpected(tag)
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None and not self.described:
            raise ProtocolError("the server did not describe the statement")
        self.result = (self.parameters, self.columns)
        return self.deliver()


cdef class Execute(Operation):
    """Bind and Execute a prepared statement; rows go to the sink, whose finish() is the result.

    portal: None for the unnamed portal and one execution. With a name, step PORTAL_BIND makes it and
    PORTAL_FETCH reads `limit` rows of it; the portal lives until the transaction ends.
    """

    def __init__(self, StatementPlan statement, args, RowSink sink, waiter=None, limit=0, portal=None, step=0):
        self.statement = statement
        self.query = statement.query
        self.args = args
        self.sink = sink
        self.waiter = waiter
        self.limit = limit
        self.portal = portal
        self.portal_step = step

    @property
    def is_suspended(self) -> bool:
        """The portal may have more rows."""
        return self.suspended

    cdef int fill(self, Out *out) except -1:
        if self.statement.unnamed and self.portal_step != PORTAL_FETCH:
            write_parse(out, b"", self.in_encoding(self.statement.query), self.statement.parameter_oids)
        else:
            self.parsed = True
        if self.portal_step == PORTAL_UNNAMED:
            self.statement.write_query(out, self.args, self.limit, True)
        elif self.portal_step == PORTAL_BIND:
            self.statement.write_bind(out, self.portal, self.args, -1)
            write_sync(out)
        else:
            self.bound = True
            write_execute(out, self.portal, self.limit)
            write_sync(out)
        self.args = None
        self.syncs = 1
        if self.statement.plan is not None:
            self.sink.begin(self.statement.plan)
        return FILL_DONE

    cdef int on_rows(self, const char *p, const char *end) except -1:
        if self.statement.plan is None or not self.bound or self.answered:
            return self.unexpected(backend.DATA_ROW)
        if self.discard or self.error is not None:
            return 0
        return self.sink.rows(p, end)

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        # Each message once and in its turn: rows behind the end of the statement would be somebody else's.
        if self.answered:
            return self.unexpected(tag)
        if not self.bound:
            if tag == backend.BIND_COMPLETE and self.parsed:
                self.bound = True
                self.answered = self.portal_step == PORTAL_BIND
            elif tag == backend.PARSE_COMPLETE and not self.parsed:
                self.parsed = True
            else:
                return self.unexpected(tag)
            return expect_empty(tag, n)
        if tag == backend.COMMAND_COMPLETE:
            self.status = self.statement.ended(p, n)
            self.answered = True
        elif tag == backend.PORTAL_SUSPENDED and self.limit:
            expect_empty(tag, n)
            self.suspended = self.answered = True
        elif tag == backend.EMPTY_QUERY_RESPONSE:
            expect_empty(tag, n)
            self.status = self.statement.last_status = None
            self.answered = True
        elif tag == backend.COPY_IN_RESPONSE or tag == backend.COPY_OUT_RESPONSE:
            # CopyFail is the session's to send; it asks refuses_copy.
            backend.parse_copy_response(p, n)
            self.on_error(copy_refusal(tag))
        elif (tag == backend.COPY_DATA or tag == backend.COPY_DONE) and self.error is not None:
            pass
        else:
            return self.unexpected(tag)
        return 0

    cdef int on_error(self, object error) except -1:
        if getattr(error, "query", error) is None:      # not set by new(), which is for the hot path
            error.query = self.statement.query
        Operation.on_error(self, error)
        self.sink.abort(error)
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None:
            if not self.answered:
                return raise_unanswered(self)
            if not self.discard:
                self.conclude()
        return self.deliver()

    cdef int conclude(self) except -1:
        # What the sink has, in the shape that the caller wants.
        if self.shape == SHAPE_STATUS:
            self.result = command_status(self.status)
            return 0
        try:
            result = self.sink.finish()
        except Exception as error:
            self.error = error
            return 0
        if self.shape == SHAPE_FIRST:
            self.result = (<list>result)[0] if result else None
        else:
            self.result = result
        return 0


cdef class ExecuteMany(Operation):
    """One Bind and Execute for each element of the source, one Sync: all or nothing outside a transaction.

    Written piece by piece as the transport takes it, while answers are read. When the source or an encoder
    raises after something was sent, a message that must fail makes the server undo the part it has.
    """

    def __init__(self, StatementPlan statement, source, RowSink sink, waiter=None):
        self.statement = statement
        self.query = statement.query
        self.source = iter(source)
        self.sink = sink
        self.waiter = waiter
        self.element = 0
        # Whatever follows CopyInResponse but CopyFail would end the session: the first answer is waited for.
        self.careful = statement.parameter_count == 0 and statement.plan is None and "copy" in statement.query.lower()

    cdef int fill(self, Out *out) except -1:
        cdef Py_ssize_t mark
        if self.element == 0 and self.statement.plan is not None:
            self.sink.begin(self.statement.plan)
        if self.careful and self.element == 1 and not self.answered and not self.discard and self.error is None:
            return FILL_WAIT
        while not self.broken and not self.discard and self.error is None:
            mark = out.len
            try:
                args = next(self.source, self)
                if args is self:
                    break
                check_sequence(args, self.element)
                self.parsed = self.parsed or not self.statement.unnamed
                if self.element == 0 and self.statement.unnamed:
                    write_parse(out, b"", self.in_encoding(self.query), self.statement.parameter_oids)
                self.statement.write_bind(out, b"", args, self.element)
                write_execute(out, b"", 0)
            except Exception as error:
                out.len = mark
                if not self.written:
                    raise       # nothing of it has been handed over: the session takes it all back
                annotate(error, phase="query", bytes_sent=True, outcome="failed")
                self.on_error(error)
                break
            self.element += 1
            if self.careful and self.element == 1:
                write_flush(out)
                self.written = True
                return FILL_WAIT
            if out.len >= HIGH_WATER:
                self.written = True
                return FILL_MORE
        if self.error is not None or self.discard:
            # The portal does not exist: whatever was executed since the last Sync is rolled back.
            write_execute(out, b"fastpg: executemany() was aborted", 0)
            self.broken = True
        self.source = None
        write_sync(out)
        self.syncs = 1
        return FILL_DONE

    cdef int on_rows(self, const char *p, const char *end) except -1:
        if self.statement.plan is None or not self.bound:
            return self.unexpected(backend.DATA_ROW)
        if self.discard or self.error is not None:
            return 0
        return self.sink.rows(p, end)

    cdef int refuse_copy(self, Out *out) except -1:
        # The Sync that the server may have thrown away is to be written again, or it is still to be written.
        write_copy_fail(out, b"COPY FROM STDIN is not possible here")
        return write_sync(out) if self.source is None else 0

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if not self.bound:
            if tag == backend.BIND_COMPLETE and self.parsed:
                self.bound = True
            elif tag == backend.PARSE_COMPLETE and not self.parsed:
                self.parsed = True
            else:
                return self.unexpected(tag)
            return expect_empty(tag, n)
        if tag == backend.EMPTY_QUERY_RESPONSE:
            self.answered += 1
            self.bound = False
            return expect_empty(tag, n)
        if tag == backend.COMMAND_COMPLETE:
            self.status = self.statement.last_status = backend.parse_command_complete(p, n)
            self.answered += 1
            self.bound = False
            return 0
        if tag == backend.COPY_IN_RESPONSE or tag == backend.COPY_OUT_RESPONSE:
            return self.on_error(copy_refusal(tag))
        if (tag == backend.COPY_DATA or tag == backend.COPY_DONE) and self.error is not None:
            return 0
        return self.unexpected(tag)

    cdef int on_ready(self) except -1:
        if self.error is None and self.answered != self.element and not self.broken:
            return raise_unanswered(self)
        if self.error is None and not self.discard:
            try:
                self.result = self.sink.finish()
            except Exception as error:
                self.error = error
        return self.deliver()


cdef int check_sequence(object args, Py_ssize_t element) except -1:
    if not PySequence_Check(args):      # a dict or a set is none
        raise DataError(f"invalid input in executemany() argument sequence element #{element}: "
                        f"expected a sequence, got {type(args).__name__}")
    return 0


cdef class CloseStatements(Operation):
    """Close server-side statements (what 'S') or portals ('P'); nobody needs to wait."""

    def __init__(self, list names, waiter=None, str what="S"):
        self.names = names
        self.waiter = waiter
        self.what = <char>ord(what)

    cdef int fill(self, Out *out) except -1:
        for name in self.names:
            write_close(out, self.what, name)
        write_sync(out)
        self.syncs = 1
        return FILL_DONE

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.CLOSE_COMPLETE:
            return expect_empty(tag, n)
        return self.unexpected(tag)
