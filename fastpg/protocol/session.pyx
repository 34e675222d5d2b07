# SPDX-License-Identifier: MIT
# A session: bytes in, bytes out, a FIFO of operations between them. No asyncio, no sockets, no clock of its own.
# The state of the connection is the head of the queue. Any byte the peer should not have sent ends the session:
# there is no resynchronising. May import: wire, frontend, backend, operation, opening, begin,
# _encodings, exceptions.

from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memcpy, memmove

from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty, length_limit, tag_name
from fastpg.protocol.frontend cimport write_close
from fastpg.protocol.begin cimport FailedTransaction
from fastpg.protocol.opening cimport Opening
from fastpg.protocol.operation cimport (
    FILL_DONE, FILL_SPLICE, FILL_WAIT, PHASE_DONE, PHASE_QUEUED, PHASE_SENT, Operation,
)
from fastpg.wire cimport load_i32, out_bytes, out_free

from fastpg._encodings import python_encoding
from fastpg.exceptions import ConnectionDoesNotExistError, InterfaceError, ProtocolError, annotate, from_fields

cdef enum:
    SLAB_SIZE = 128 * 1024
    HIGH_WATER = 256 * 1024
    IDLE = 73               # b'I', the status outside of a transaction


cdef class Slab:
    """Receive memory of `cap` bytes."""

    def __cinit__(self, Py_ssize_t cap=SLAB_SIZE):
        self.buf = <char *>PyMem_Malloc(cap)
        if self.buf == NULL:
            raise MemoryError
        self.cap = cap

    def __dealloc__(self):
        PyMem_Free(self.buf)

    cdef int resize(self, Py_ssize_t cap) except -1:
        cdef char *buf = <char *>PyMem_Realloc(self.buf, cap)
        if buf == NULL:
            raise MemoryError
        self.buf = buf
        self.cap = cap
        return 0


cdef object another_loss(object error):
    # Each operation has an exception of its own: what one says of itself is not true of the next.
    if isinstance(error, ConnectionDoesNotExistError):
        lost = ConnectionDoesNotExistError(str(error))
        lost.__cause__ = error.__cause__
    else:
        lost = ConnectionDoesNotExistError("connection was closed in the middle of operation")
        lost.__cause__ = error
    return lost


cdef class Session:
    """A started session. parameters and tx_status are what the start-up ended with."""

    def __init__(self, dict parameters=None, int tx_status=73, listener=None):
        self.parameters = {} if parameters is None else parameters
        self.encoding = self.first_encoding = python_encoding(self.parameters.get("client_encoding", "UTF8"))
        self.tx_status = tx_status
        self.listener = listener
        self.slab = Slab()
        self.writable = True

    def __dealloc__(self):
        out_free(&self.out)

    cdef bint idle(self) noexcept:
        return self.head is None

    # ---------------------------------------------------------------- writing

    cdef int enqueue(self, Operation op) except -1:
        """Append; written at once when everything before it has been. What fill() raises leaves no byte behind."""
        if self.failure is not None:
            # An error of its own: what the failure tells is true of the operation that met it.
            error = InterfaceError("connection is closed")
            error.__cause__ = self.failure
            raise annotate(error, phase="query", bytes_sent=False, outcome="not_sent", backend_pid=self.backend_pid)
        self.serial += 1
        op.serial = self.serial
        op.encoding = self.encoding
        if op.waiter is not None and (self.opening is not None or self.closing is not None):
            op.opening, self.opening = self.opening, None
            op.closing, self.closing = self.closing, None
            op.riders = True
        if self.clock is not None:
            op.queued_at = self.clock()
        if self.head is None:
            self.head = self.tail = op
        else:
            self.tail.next = op
            self.tail = op
        if self.cursor is None:
            self.cursor = op
            self.pump(op)
            if op.error is not None and op.phase == PHASE_QUEUED:
                raise op.error
        return 0

    cdef int pump(self, Operation entering) except -1:
        cdef Operation op
        cdef Py_ssize_t mark
        cdef int state
        cdef bytes splice = None
        cdef bint splicing = self.splicing
        self.splicing = False       # not of a pump() that fill() leads to
        while self.cursor is not None and self.writable and self.out.len < HIGH_WATER:
            op = self.cursor
            mark = self.out.len
            try:
                if op.riders and op.phase == PHASE_QUEUED:
                    self.write_riders(op)
                state = op.fill(&self.out)
                if state == FILL_SPLICE:
                    splice = op.spliced()
                    if not splicing:
                        out_bytes(&self.out, <const char *>splice, len(splice))
            except BaseException as error:
                self.out.len = mark
                if op.phase != PHASE_QUEUED:
                    self.fail(error)
                    return 0
                self.explain(error, op, "not_sent")
                op.error = error
                self.cursor = op.next
                self.unlink(op)
                if op is not entering:
                    op.deliver()
                continue
            if self.failure is not None:
                # An encoder of the user's has closed the connection.
                self.out.len = 0
                self.cursor = None
                return 0
            if self.out.len > mark:
                op.phase = PHASE_SENT
            if state == FILL_DONE:
                self.cursor = op.next
            elif state == FILL_WAIT:
                break
            elif state == FILL_SPLICE and splicing:
                self.splice = splice
                break
        return 0

    def unlink(self, Operation op):
        """Take an operation of which nothing was sent out of the queue."""
        cdef Operation before
        if op.riders:
            # They go along with the next one, then.
            op.riders = False
            if op.opening is not None:
                opening, op.opening = op.opening, None
                self.open(opening)
            if op.closing is not None:
                closing, op.closing = op.closing, None
                self.close_statements(closing)
        if self.head is op:
            self.head = op.next
            if self.head is None:
                self.tail = None
        else:
            before = self.head
            while before is not None and before.next is not op:
                before = before.next
            if before is None:
                return
            before.next = op.next
            if self.tail is op:
                self.tail = before

    # ------------------------------------------------------------ transactions

    cpdef int open(self, Opening opening) except -1:
        """Send this BEGIN or SAVEPOINT, and the chain behind it, with the next operation that somebody waits for.

        When one fails the operation is not executed; its error is that of the BEGIN or SAVEPOINT, and the transaction
        is a failed one then.
        """
        cdef Opening last = self.opening
        if last is None:
            self.opening = opening
            return 0
        while last.next is not None:
            last = last.next
        last.next = opening
        return 0

    cpdef bint withdraw(self, Opening opening) except -1:
        """Do not send it, nor the chain behind it. False: it has been sent, or is none of those that wait."""
        cdef Opening before = self.opening
        if before is opening:
            self.opening = None
            return opening is not None
        while before is not None and before.next is not opening:
            before = before.next
        if before is None:
            return False
        before.next = None
        return True

    def undo(self):
        """The chain that began the transaction of which only the last operation, which failed, was a part; or None.

        Such a transaction can be begun again as if nothing had been: run the chain's `undo`, then open() it.
        """
        undone, self.undone = self.undone, None
        return undone if self.undone_at == self.serial and self.head is None and self.tx_status != IDLE else None

    @property
    def in_transaction(self) -> bool:
        """A transaction is open, a failed one perhaps; or begins with an operation that is under way, or the next."""
        cdef Operation op = self.head
        if (self.tx_status != IDLE or self.opening is not None
                or self.recovery is not None and self.recovery.phase != PHASE_DONE):
            return True
        while op is not None:
            if op.opening is not None or op.opened is not None:
                return True
            op = op.next
        return False

    def close_statements(self, list names not None) -> None:
        """Close these statements of the server in front of the next operation that somebody waits for."""
        self.closing = names if self.closing is None else self.closing + names

    cdef int write_riders(self, Operation op) except -1:
        if op.closing is not None:
            for name in op.closing:
                write_close(&self.out, b"S", name)
        if op.opening is not None:
            op.opening.write(&self.out, op.encoding)
        return 0

    cdef int on_rider(self, Operation op, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if op.closing is not None:
            if tag != backend.CLOSE_COMPLETE:
                raise ProtocolError(f"unexpected {tag_name(tag)} message in the answer to Close")
            expect_empty(tag, n)
            op.closed += 1
            if op.closed == len(op.closing):
                op.closing = None
        elif op.opening.on_message(tag, p, n):
            if op.opened is None:
                op.opened = op.opening
            op.opening = op.opening.next
        op.riders = op.closing is not None or op.opening is not None
        return 0

    cdef int refuse_riders(self, Operation op) except -1:
        # The server throws away what has been sent up to the next Sync, and so all of the operation.
        cdef Opening opening = op.opening
        op.riders = False
        op.opening = op.opened = None
        op.closing = None
        op.resync(&self.out)
        if opening is not None and opening.begins:
            if op.next is not None or type(op) is FailedTransaction:
                raise ProtocolError("connection was closed: a transaction could not be begun")
            self.recovery = FailedTransaction()
            self.enqueue(self.recovery)
        return 0

    def take_output(self) -> bytes | None:
        """The bytes to send, or None; the outgoing buffer is empty afterwards."""
        if self.out.len == 0:
            return None
        data = self.out.buf[:self.out.len]
        self.out.len = 0
        if self.out.cap > 4 * HIGH_WATER:
            out_free(&self.out)
        return data

    # ---------------------------------------------------------------- reading

    cdef int space(self, char **p, Py_ssize_t *n) except -1:
        """Where the next received bytes go: at least one byte of room."""
        if self.slab.cap - self.end < 4096:
            try:
                self.compact(0)
            except MemoryError as error:
                lost = ConnectionDoesNotExistError("connection was closed: no memory for a message from the server")
                lost.__cause__ = error
                self.fail(lost)
                if not self.slab.pins:
                    self.start = self.end = 0       # nobody reads it
        p[0] = self.slab.buf + self.end
        n[0] = self.slab.cap - self.end
        return 0

    cdef int compact(self, Py_ssize_t need) except -1:
        # The rest of an incomplete message moves to the front. A message longer than the slab makes it grow with
        # the bytes that have come (at most twofold), never to the length that the peer claims.
        cdef Py_ssize_t rest = self.end - self.start
        cdef Py_ssize_t cap = self.slab.cap
        cdef Slab slab
        if rest >= cap - 4096:
            cap += cap
        elif rest == 0 and cap > SLAB_SIZE:
            cap = SLAB_SIZE
        if self.slab.pins:
            slab = Slab(cap)
            memcpy(slab.buf, self.slab.buf + self.start, rest)
            self.slab = slab
        else:
            if rest and self.start:
                memmove(self.slab.buf, self.slab.buf + self.start, rest)
            if cap != self.slab.cap:
                self.slab.resize(cap)
        self.start = 0
        self.end = rest
        return 0

    cdef int received(self, Py_ssize_t n) except -1:
        """n bytes have been put where space() said. Never raises for what the peer did: see failure."""
        if self.failure is not None:
            return 0
        if n < 0 or n > self.slab.cap - self.end:
            raise ValueError("more bytes than there was room for")
        self.end += n
        if self.paused:
            return 0
        return self.resume_parsing()

    cpdef int resume_parsing(self) except -1:
        self.paused = False
        try:
            self.parse()
        except BaseException as error:
            self.fail(error)
        if self.start == self.end and not self.slab.pins:
            self.start = self.end = 0
        if self.cursor is not None:
            self.pump(None)
        return 0

    cdef int parse(self) except -1:
        cdef const char *p
        cdef const char *run
        cdef const char *end
        cdef Py_ssize_t length
        cdef uint8_t tag
        while self.failure is None:
            p = self.slab.buf + self.start
            end = self.slab.buf + self.end
            if end - p < 5:
                return 0
            if self.head is not None and self.head.eats and not self.max_result_bytes:
                length = self.head.eat(p, end)
                if length:
                    self.start += length
                    continue
            tag = <uint8_t>p[0]
            length = load_i32(p + 1)
            if length < 4 or length > length_limit(tag):
                raise_bad_length(tag, length)
            if end - p < length + 1:
                return 0
            if tag == backend.DATA_ROW:
                # All complete rows at hand go to the sink in one call.
                run = p
                p += length + 1
                while end - p >= 5 and p[0] == backend.DATA_ROW:
                    length = load_i32(p + 1)
                    if length < 4 or length > length_limit(tag):
                        raise_bad_length(tag, length)
                    if end - p < length + 1:
                        break
                    p += length + 1
                self.start = p - self.slab.buf
                if self.rows(run, p):
                    self.paused = True
                    return 0
                continue
            self.start += length + 1
            self.dispatch(tag, p + 5, length - 4)
            if self.paused:
                return 0
        return 0

    cdef int rows(self, const char *p, const char *end) except -1:
        cdef Operation op = self.head
        if op is None or op.phase == PHASE_QUEUED or op.syncs == 0 and op is not self.cursor:
            raise ProtocolError("unexpected DataRow message from the server")
        if self.max_result_bytes:
            self.result_bytes += end - p
            if self.result_bytes > self.max_result_bytes:
                raise ProtocolError(f"the result exceeds max_result_bytes={self.max_result_bytes}")
        try:
            return op.on_rows(p, end)
        except ProtocolError:
            raise
        except BaseException as error:
            op.on_error(error)
            return 0

    cdef int dispatch(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        cdef Operation op = self.head
        if tag == backend.READY_FOR_QUERY:
            self.tx_status = backend.parse_ready_for_query(p, n)
            if op is None or op.syncs == 0:
                raise ProtocolError("unexpected ReadyForQuery message from the server")
            op.syncs -= 1
            if op.syncs == 0 and op is self.cursor:
                # Only a COPY owes a ReadyForQuery and has more to write: the server wants none of it.
                self.cursor = op.next
            if op.syncs == 0:
                if op.riders:
                    raise ProtocolError("the server did not answer what went in front of an operation")
                if self.clock is not None:
                    op.finished_at = self.clock()
                # Still the head while it concludes: if that fails, fail() finds it.
                op.on_ready()
                self.head = op.next
                op.next = None
                if self.head is None:
                    self.tail = None
                self.result_bytes = 0
                if self.statistics is not None:
                    self.statistics(op)
                if op.fatal and op.error is not None:
                    lost = ConnectionDoesNotExistError(
                        f"connection was closed: the session could not be reset: {op.error}")
                    raise lost from op.error
        elif tag == backend.PARAMETER_STATUS:
            name, value = backend.parse_parameter_status(p, n, self.encoding or "utf-8")
            if len(self.parameters) >= 1000 and name not in self.parameters:
                raise ProtocolError("the server reports more than 1000 parameters")
            self.parameters[name] = value
            self.reports += 1
            if name == "client_encoding":
                self.encoding = python_encoding(value)
            if self.listener is not None:
                self.listener.on_parameter(name, value)
        elif tag == backend.NOTICE_RESPONSE:
            fields = backend.parse_fields(p, n, self.encoding or "utf-8")
            if self.listener is not None:
                self.listener.on_notice(fields)
        elif tag == backend.NOTIFICATION_RESPONSE:
            pid, channel, payload = backend.parse_notification(p, n)
            if self.listener is not None:
                self.listener.on_notification(pid, channel, payload)
        elif tag == backend.ERROR_RESPONSE:
            error = from_fields(backend.parse_fields(p, n, self.encoding or "utf-8"))
            if op is None or op.phase == PHASE_QUEUED:
                self.last_error = error
            else:
                error.query = op.query
                self.explain(error, op, "failed")
                if op.riders:
                    self.refuse_riders(op)
                elif op.opened is not None:
                    self.undone, self.undone_at = op.opened, op.serial
                op.on_error(error)
        elif op is None or op.phase == PHASE_QUEUED:
            raise ProtocolError(f"unexpected {tag_name(tag)} message from the server")
        elif op.riders:
            self.on_rider(op, tag, p, n)
        else:
            if op.on_message(tag, p, n) == 1:
                self.paused = True
            if tag == backend.COPY_IN_RESPONSE:
                op.refuse_copy(&self.out)
        return 0

    # ----------------------------------------------------------------- ending

    cdef int fail(self, object error) except -1:
        """End the session. The operation being answered gets the error, the others a lost connection."""
        cdef Operation op = self.head
        cdef Operation following
        cdef bint first = True
        if self.failure is not None:
            return 0
        self.failure = error
        self.head = self.tail = self.cursor = None
        self.opening = self.closing = None
        self.out.len = 0
        while op is not None:
            following = op.next
            op.next = None
            if first:
                self.explain(error, op, "unknown" if op.phase != PHASE_QUEUED else "not_sent")
                op.on_lost(error)
            else:
                lost = another_loss(error)
                self.explain(lost, op, "unknown" if op.phase != PHASE_QUEUED else "not_sent")
                op.on_lost(lost)
            first = False
            op = following
        return 0

    cdef int explain(self, object error, Operation op, str outcome) except -1:
        # What is known of the operation, unless somebody has told before.
        if getattr(error, "fastpg", None) is None:
            annotate(error, phase="query", bytes_sent=op.phase != PHASE_QUEUED, outcome=outcome,
                     backend_pid=self.backend_pid)
        return 0

    def abort(self, error) -> None:
        """End the session from outside."""
        self.fail(error)

    # ------------------------------------------- for tests and simple drivers

    def feed(self, data) -> None:
        """Receive these bytes, through the same window that a transport fills."""
        cdef const unsigned char[::1] view = data
        cdef Py_ssize_t done = 0, n
        cdef char *p
        cdef Py_ssize_t room
        while done < view.shape[0]:
            self.space(&p, &room)
            n = min(room, view.shape[0] - done)
            memcpy(p, &view[done], n)
            done += n
            self.received(n)

    def submit(self, Operation op) -> Operation:
        """Queue an operation."""
        self.enqueue(op)
        return op

    @property
    def pending(self) -> int:
        """Operations in the queue."""
        cdef Operation op = self.head
        cdef int n = 0
        while op is not None:
            n += 1
            op = op.next
        return n

    @property
    def owed(self) -> int:
        """ReadyForQuery messages that the server still owes for what has been written."""
        cdef Operation op = self.head
        cdef int n = 0
        while op is not None:
            n += op.syncs
            op = op.next
        return n


cdef int raise_bad_length(uint8_t tag, Py_ssize_t length) except -1:
    if length_limit(tag) == 0:
        raise ProtocolError(f"unexpected {tag_name(tag)} from the server")
    raise ProtocolError(f"{tag_name(tag)} message from the server with the impossible length {length}")
