# SPDX-License-Identifier: MIT
# Whether everything arrives at the server: several statements with a Sync each, in one write. There are proxies that
# forward the first of them and lose the rest. May import: operation, frontend, backend.

from libc.stdint cimport uint8_t

from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty
from fastpg.protocol.frontend cimport write_parse, write_sync
from fastpg.protocol.operation cimport FILL_DONE, Operation
from fastpg.wire cimport Out, out_bytes

# The unnamed statement to the unnamed portal, which is executed.
cdef const char *BIND_EXECUTE = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0"


cdef class Probe(Operation):
    """Statements without rows, each with its own Sync. The result is how many of them the server has executed."""

    def __init__(self, int statements):
        self.statements = statements
        self.query = "SELECT WHERE false"

    cdef int fill(self, Out *out) except -1:
        cdef int i
        for i in range(self.statements):  # no-cython-lint
            write_parse(out, b"", self.in_encoding(self.query), ())
            out_bytes(out, BIND_EXECUTE, 23)
            write_sync(out)
        self.syncs = self.statements
        return FILL_DONE

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.PARSE_COMPLETE or tag == backend.BIND_COMPLETE:
            return expect_empty(tag, n)
        if tag != backend.COMMAND_COMPLETE:
            return self.unexpected(tag)
        backend.parse_command_complete(p, n)
        self.completed += 1
        return 0

    cdef int on_ready(self) except -1:
        self.result = self.completed
        return self.deliver()
