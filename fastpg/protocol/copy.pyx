# SPDX-License-Identifier: MIT
# COPY FROM STDIN and TO STDOUT by the simple protocol, with back-pressure both ways.
# May import: wire, frontend, backend, operation, exceptions.

from collections import deque

from libc.string cimport memcpy

from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty
from fastpg.protocol.frontend cimport (
    begin_copy_data, write_copy_data, write_copy_done, write_copy_fail, write_query, write_sync,
)
from fastpg.protocol.operation cimport FILL_DONE, FILL_MORE, FILL_SPLICE, FILL_WAIT, Operation
from fastpg.protocol.status cimport command_status
from fastpg.wire cimport Out, load_i32, out_bytes, out_free, out_need

from fastpg.exceptions import InterfaceError

cdef enum:
    HIGH_WATER = 256 * 1024
    LOW_WATER = 64 * 1024
    CHUNK = 512 * 1024              # a larger buffer goes out as several CopyData messages
    SPLICED = 16 * 1024             # bytes of a chunk that is rather sent by itself than copied


cdef class RowSource:
    """Base of the sources. See copy.pxd for the contract."""

    def __cinit__(self):
        self.high_water = HIGH_WATER
        self.low_water = LOW_WATER

    cdef int begin(self, Py_ssize_t columns) except -1:
        return 0

    cdef int fill(self, Out *out) except -1:
        return FILL_DONE

    cdef int abort(self, object error) except -1:
        return 0


cdef object as_bytes(object chunk):
    # What bytes() takes but is no data (an int would be so many zeros) is refused.
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        raise TypeError("a bytes-like object is required, not 'str': encode the text, or open the file in binary mode")
    try:
        view = memoryview(chunk)
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not {type(chunk).__name__!r}") from None
    return view.cast("B") if view.c_contiguous else view.tobytes()


cdef int write_chunk(RowSource source, Out *out, object chunk) except -1:
    # Whether it is to be sent from where it is, FILL_SPLICE: only the head of its message has been written.
    cdef const unsigned char[::1] view
    cdef Py_ssize_t at = 0, n
    if type(chunk) is bytes and SPLICED <= len(<bytes>chunk) <= CHUNK:
        begin_copy_data(out, len(<bytes>chunk))
        source.splice = chunk
        return FILL_SPLICE
    view = as_bytes(chunk)
    while at < view.shape[0]:
        n = min(<Py_ssize_t>CHUNK, view.shape[0] - at)
        write_copy_data(out, <const char *>&view[at], n)
        at += n
    return FILL_MORE


cdef class IteratorSource(RowSource):
    """Chunks from any iterable of bytes-like objects."""

    def __init__(self, chunks):
        self.chunks = iter(chunks)

    cdef int fill(self, Out *out) except -1:
        while out.len < self.high_water:
            chunk = next(self.chunks, self)
            if chunk is self:
                self.chunks = None
                return FILL_DONE
            if write_chunk(self, out, chunk) == FILL_SPLICE:
                return FILL_SPLICE
        return FILL_MORE

    cdef int abort(self, object error) except -1:
        self.chunks = None          # the last reference to a generator closes it
        return 0


cdef class PushSource(RowSource):
    """Chunks from a producer that pushes. It stops pushing when `is_full`, until drained() calls back.

    drained() is called too when the server asks for the first data, and when nobody wants more.
    """

    def __init__(self, drained=None):
        self.chunks = deque()
        self.drained = drained

    def push(self, chunk) -> int:
        """Take a chunk (copied at once, dropped when `is_aborted`); its size. See `is_full` for when to stop."""
        data = bytes(as_bytes(chunk))
        if self.aborted:
            return len(data)
        if self.ended:
            raise InterfaceError("the source has ended")
        self.chunks.append(data)
        self.size += len(data)
        return len(data)

    @property
    def is_full(self) -> bool:
        """The producer is to wait."""
        return self.size >= self.low_water and not self.ended

    @property
    def is_aborted(self) -> bool:
        """Nobody wants more."""
        return self.aborted

    cdef int begin(self, Py_ssize_t columns) except -1:
        if self.drained is not None:
            self.drained()
        return 0

    def end(self, error=None) -> None:
        """No more chunks; with an error the COPY is undone."""
        self.ended = True
        self.failure = error
        if error is not None:
            self.chunks.clear()
            self.size = 0

    cdef int fill(self, Out *out) except -1:
        cdef bint full = self.size >= self.low_water
        cdef int state = FILL_MORE
        while self.chunks and out.len < self.high_water and state == FILL_MORE:
            chunk = self.chunks.popleft()
            self.size -= len(chunk)
            state = write_chunk(self, out, chunk)
        if full and self.size < self.low_water and self.drained is not None:
            self.drained()
        if state == FILL_SPLICE:
            return FILL_SPLICE
        if self.chunks:
            return FILL_MORE
        if self.failure is not None:
            raise self.failure
        return FILL_DONE if self.ended else FILL_WAIT

    cdef int abort(self, object error) except -1:
        self.ended = self.aborted = True
        self.chunks.clear()
        self.size = 0
        if self.drained is not None:
            self.drained()
        return 0


cdef class CopyIn(Operation):
    """COPY ... FROM STDIN fed by a source; the result is the command's status."""

    def __init__(self, str sql, RowSource source not None, waiter=None):
        self.query = sql
        self.source = source
        self.waiter = waiter

    cdef int fill(self, Out *out) except -1:
        if not self.asked:
            write_query(out, self.in_encoding(self.query))
            self.syncs = 1
            self.asked = True
        if self.finished:
            return FILL_DONE
        if not self.started:
            return FILL_WAIT
        if self.discard and self.error is None:
            self.error = InterfaceError("COPY was abandoned")
        if self.error is None:
            mark = out.len
            try:
                state = self.source.fill(out)
                if state == FILL_DONE:
                    write_copy_done(out)
                    self.finished = True
                return state
            except StopIteration as error:
                out.len = mark
                self.error = RuntimeError("the source of a COPY raised StopIteration")  # no Future takes one
                self.error.__cause__ = error
            except BaseException as error:
                out.len = mark
                self.error = error
        # The text is fixed and short: the server drops the connection on a long one (10,000 bytes).
        write_copy_fail(out, b"COPY aborted due to an exception in input generator")
        self.end(self.error)
        return FILL_DONE

    cdef bytes spliced(self):
        cdef bytes chunk = self.source.splice
        self.source.splice = None
        return chunk

    cdef int end(self, object error) except -1:
        # Nothing more is written; the source hears of it once, unless it has said itself that it has ended.
        if not self.finished:
            self.finished = True
            self.source.abort(error)
        return 0

    cdef int refuse_copy(self, Out *out) except -1:
        if self.finished:
            return write_copy_fail(out, b"COPY FROM STDIN is not possible here")
        return 0            # it is what we asked for

    cdef int resync(self, Out *out) except -1:
        return write_sync(out)

    cdef int on_rows(self, const char *p, const char *end) except -1:
        return self.unexpected(backend.DATA_ROW) if self.started and not self.finished else 0

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.COPY_IN_RESPONSE and not self.finished and not self.started:
            self.columns = len(backend.parse_copy_response(p, n)[1])
            self.started = True
            self.status = None      # of what stood before it in the script
            self.source.begin(self.columns)
        elif tag == backend.COMMAND_COMPLETE:
            if self.started and not self.finished:
                return self.unexpected(tag)     # part of the data would be missing
            if self.status is None:
                self.status = backend.parse_command_complete(p, n)
        elif tag == backend.COPY_IN_RESPONSE and self.finished:
            self.on_error(InterfaceError("the statement has more than one COPY"))
        elif tag == backend.ROW_DESCRIPTION or tag == backend.EMPTY_QUERY_RESPONSE:
            pass            # of another statement of the same script
        else:
            return self.unexpected(tag)
        return 0

    cdef int on_error(self, object error) except -1:
        # Our own error is the cause of the server's 57014 "COPY from stdin failed".
        if self.error is None:
            self.error = error
        self.end(error)
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None and self.started and (not self.finished or self.status is None):
            return self.unexpected(backend.READY_FOR_QUERY)
        self.end(self.error)
        if self.error is None and not self.started:
            self.error = InterfaceError("the statement is not a COPY ... FROM STDIN")
        self.result = command_status(self.status)
        return self.deliver()

    cdef int on_lost(self, object error) except -1:
        self.end(error)
        return Operation.on_lost(self, error)


cdef class CopySink:
    """Base of the sinks. See copy.pxd for the contract."""

    cdef int data(self, const char *p, Py_ssize_t n) except -1:
        return 0

    cdef Py_ssize_t run(self, const char *p, const char *end) except -1:
        return 0


cdef class CallbackSink(CopySink):
    """Each CopyData goes to a callable(bytes), which returns true to pause."""

    def __init__(self, callback):
        self.callback = callback

    cdef int data(self, const char *p, Py_ssize_t n) except -1:
        return 1 if self.callback(p[:n]) else 0


cdef class BufferSink(CopySink):
    """Collects until somebody takes; arrived() is called with the first bytes. Pauses above its high-water mark."""

    def __init__(self, arrived):
        self.arrived = arrived
        self.high_water = HIGH_WATER

    def __dealloc__(self):
        out_free(&self.out)

    cdef int data(self, const char *p, Py_ssize_t n) except -1:
        cdef bint first = self.out.len == 0
        out_bytes(&self.out, p, n)
        if first:
            self.arrived()
        return 1 if self.out.len >= self.high_water else 0

    cdef Py_ssize_t run(self, const char *p, const char *end) except -1:
        cdef const char *at = p
        cdef char *to
        cdef Py_ssize_t n, left = self.high_water - self.out.len
        if self.out.len == 0 or left <= 0:
            return 0            # the first bytes are told of
        out_need(&self.out, min(left, end - p))
        to = self.out.buf + self.out.len
        while end - at >= 5 and at[0] == backend.COPY_DATA:
            n = load_i32(at + 1)
            n -= 4              # as Py_ssize_t: the length may be anything
            if n < 0 or n > end - at - 5 or n >= left:
                break           # malformed, in parts, or the last before a pause
            memcpy(to, at + 5, n)
            to += n
            left -= n
            at += n + 5
        self.out.len = to - self.out.buf
        return at - p

    @property
    def size(self) -> int:
        """Bytes collected."""
        return self.out.len

    def take(self) -> bytes:
        """All that has been collected."""
        data = self.out.buf[:self.out.len]
        self.out.len = 0
        if self.out.cap > 4 * HIGH_WATER:
            out_free(&self.out)
        return data


cdef class CopyOut(Operation):
    """COPY ... TO STDOUT into a sink, or a callable of one chunk of bytes. The result is the command's status."""

    def __init__(self, str sql, sink, waiter=None):
        self.query = sql
        self.sink = sink if isinstance(sink, CopySink) else CallbackSink(sink)
        self.waiter = waiter

    cdef int fill(self, Out *out) except -1:
        write_query(out, self.in_encoding(self.query))
        self.syncs = 1
        return FILL_DONE

    cdef int refuse_copy(self, Out *out) except -1:
        return write_copy_fail(out, b"COPY FROM STDIN is not possible here")

    cdef int resync(self, Out *out) except -1:
        return write_sync(out)

    cdef int on_rows(self, const char *p, const char *end) except -1:
        return self.unexpected(backend.DATA_ROW) if self.started and not self.ended else 0

    cdef Py_ssize_t eat(self, const char *p, const char *end) except -1:
        if self.discard or self.error is not None:
            return 0
        try:
            return self.sink.run(p, end)
        except Exception as error:
            self.error = error
            return 0

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.COPY_DATA and self.started and not self.ended:
            if not self.discard and self.error is None:
                try:
                    return self.sink.data(p, n)
                except Exception as error:
                    self.error = error
        elif tag == backend.COPY_OUT_RESPONSE and self.started == self.ended:
            backend.parse_copy_response(p, n)
            if self.started and self.error is None:
                self.error = InterfaceError("the statement has more than one COPY")
            self.started = self.eats = True
            self.ended = False
            self.status = None      # of what stood before it in the script
        elif tag == backend.COPY_DONE and self.started and not self.ended:
            expect_empty(tag, n)
            self.ended = True
            self.eats = False
        elif tag == backend.COMMAND_COMPLETE:
            if self.started and not self.ended:
                return self.unexpected(tag)     # part of the data would be missing
            if self.status is None:
                self.status = backend.parse_command_complete(p, n)
        elif tag == backend.COPY_IN_RESPONSE:
            self.on_error(InterfaceError("the statement is not a COPY ... TO STDOUT"))
        elif tag == backend.ROW_DESCRIPTION or tag == backend.EMPTY_QUERY_RESPONSE:
            pass            # of another statement of the same script
        else:
            return self.unexpected(tag)
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None and self.started and (not self.ended or self.status is None):
            return self.unexpected(backend.READY_FOR_QUERY)
        if self.error is None and not self.started:
            self.error = InterfaceError("the statement is not a COPY ... TO STDOUT")
        self.result = command_status(self.status)
        return self.deliver()
