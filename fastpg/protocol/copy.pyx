# SPDX-License-Identifier: MIT
# COPY FROM STDIN and TO STDOUT by the simple protocol, with back-pressure both ways.
# May import: wire, frontend, backend, operation, exceptions.

from collections import deque

from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty
from fastpg.protocol.frontend cimport write_copy_data, write_copy_done, write_copy_fail, write_query
from fastpg.protocol.operation cimport FILL_DONE, FILL_MORE, FILL_WAIT, Operation
from fastpg.wire cimport Out

from fastpg.exceptions import InterfaceError

cdef enum:
    HIGH_WATER = 256 * 1024
    LOW_WATER = 64 * 1024
    CHUNK = 512 * 1024              # a larger buffer goes out as several CopyData messages


cdef class RowSource:
    """Base of the sources. See copy.pxd for the contract."""

    def __cinit__(self):
        self.high_water = HIGH_WATER
        self.low_water = LOW_WATER

    cdef int fill(self, Out *out) except -1:
        return FILL_DONE

    cdef int abort(self, object error) except -1:
        return 0


cdef int write_chunk(Out *out, object chunk) except -1:
    cdef const unsigned char[::1] view
    cdef Py_ssize_t at = 0, n
    if isinstance(chunk, str):
        raise TypeError("a bytes-like object is required, not 'str'")
    view = chunk
    while at < view.shape[0]:
        n = min(<Py_ssize_t>CHUNK, view.shape[0] - at)
        write_copy_data(out, <const char *>&view[at], n)
        at += n
    return 0


cdef class IteratorSource(RowSource):
    """Chunks from any iterable of bytes-like objects."""

    def __init__(self, chunks):
        self.chunks = iter(chunks)

    cdef int fill(self, Out *out) except -1:
        while out.len < self.high_water:
            chunk = next(self.chunks, None)
            if chunk is None:
                self.chunks = None
                return FILL_DONE
            write_chunk(out, chunk)
        return FILL_MORE

    cdef int abort(self, object error) except -1:
        chunks, self.chunks = self.chunks, None
        if hasattr(chunks, "close"):
            chunks.close()
        return 0


cdef class PushSource(RowSource):
    """Chunks from a producer that pushes. It stops pushing when push() is false, until drained() calls back."""

    def __init__(self, drained=None):
        self.chunks = deque()
        self.drained = drained

    def push(self, chunk) -> bool:
        """Take a chunk (copied at once); False when the high-water mark is reached."""
        if self.ended:
            raise InterfaceError("the source has ended")
        data = bytes(chunk)
        self.chunks.append(data)
        self.size += len(data)
        return self.size < self.high_water

    def end(self, error=None) -> None:
        """No more chunks; with an error the COPY is undone."""
        self.ended = True
        self.failure = error

    cdef int fill(self, Out *out) except -1:
        cdef bint full = self.size >= self.low_water
        while self.chunks and out.len < self.high_water:
            chunk = self.chunks.popleft()
            self.size -= len(chunk)
            write_chunk(out, chunk)
        if full and self.size < self.low_water and self.drained is not None:
            self.drained()
        if self.chunks:
            return FILL_MORE
        if self.failure is not None:
            raise self.failure
        return FILL_DONE if self.ended else FILL_WAIT

    cdef int abort(self, object error) except -1:
        self.ended = True
        self.chunks.clear()
        self.size = 0
        if self.drained is not None:
            self.drained()
        return 0


cdef class CopyIn(Operation):
    """COPY ... FROM STDIN fed by a source; the result is the command's status."""

    def __init__(self, str sql, RowSource source not None, waiter=None):
        self.query = sql
        self.sql = sql.encode()
        self.source = source
        self.waiter = waiter

    cdef int fill(self, Out *out) except -1:
        if not self.asked:
            write_query(out, self.sql)
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
            except BaseException as error:
                out.len = mark
                self.error = error
        # The text is fixed and short: the server drops the connection on a long one (10,000 bytes).
        self.source.abort(self.error)
        write_copy_fail(out, b"COPY aborted due to an exception in input generator")
        self.finished = True
        return FILL_DONE

    cdef int refuse_copy(self, Out *out) except -1:
        return 0            # it is what we asked for

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.COPY_IN_RESPONSE and not self.started:
            backend.parse_copy_response(p, n)
            self.started = True
        elif tag == backend.COMMAND_COMPLETE:
            self.status = backend.parse_command_complete(p, n)
            self.finished = True
        else:
            return self.unexpected(tag)
        return 0

    cdef int on_error(self, object error) except -1:
        # Our own error is the cause of the server's 57014 "COPY from stdin failed".
        if self.error is None:
            self.error = error
            self.source.abort(error)
        self.finished = True
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None and self.status is None:
            self.error = InterfaceError("the statement is not a COPY ... FROM STDIN")
        self.result = self.status.decode() if self.status is not None else ""
        return self.deliver()

    cdef int on_lost(self, object error) except -1:
        self.source.abort(error)
        return Operation.on_lost(self, error)


cdef class CopyOut(Operation):
    """COPY ... TO STDOUT; each CopyData goes to sink(bytes), which returns true to pause. Result: the status."""

    def __init__(self, str sql, sink, waiter=None):
        self.query = sql
        self.sql = sql.encode()
        self.sink = sink
        self.waiter = waiter

    cdef int fill(self, Out *out) except -1:
        write_query(out, self.sql)
        self.syncs = 1
        return FILL_DONE

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.COPY_OUT_RESPONSE and not self.started:
            backend.parse_copy_response(p, n)
            self.started = True
        elif tag == backend.COPY_DATA and self.started and not self.ended:
            if not self.discard and self.error is None:
                try:
                    return 1 if self.sink(p[:n]) else 0
                except Exception as error:
                    self.error = error
        elif tag == backend.COPY_DONE and self.started and not self.ended:
            expect_empty(tag, n)
            self.ended = True
        elif tag == backend.COMMAND_COMPLETE:
            self.status = backend.parse_command_complete(p, n)
        else:
            return self.unexpected(tag)
        return 0

    cdef int on_ready(self) except -1:
        if self.error is None and not self.ended:
            self.error = InterfaceError("the statement is not a COPY ... TO STDOUT")
        self.result = self.status.decode() if self.status is not None else ""
        return self.deliver()
