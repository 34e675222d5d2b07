# SPDX-License-Identifier: MIT
# A statement whose parameter and column types are known beforehand: parsed, run and closed in one go, under one Sync.
# So it needs one round trip, stays whole behind a pooler that hands out transactions, and leaves the unnamed statement
# alone, which may be a user's. May import: frontend, backend, operation, row.

from libc.stdint cimport uint8_t

from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty
from fastpg.protocol.frontend cimport write_close, write_execute, write_parse, write_sync
from fastpg.protocol.operation cimport FILL_DONE, Execute
from fastpg.wire cimport Out


cdef class OneShot(Execute):
    """Close, Parse, Bind, Execute, Close, Sync. The result is the sink's."""

    cdef int fill(self, Out *out) except -1:
        cdef bytes name = self.statement.name
        # One that an error left behind would be in the way.
        write_close(out, b"S", name)
        write_parse(out, name, self.statement.query.encode(), self.statement.parameter_oids)
        self.statement.write_bind(out, b"", self.args, -1)
        write_execute(out, b"", 0)
        write_close(out, b"S", name)
        write_sync(out)
        self.args = None
        self.syncs = 1
        self.sink.begin(self.statement.plan)
        return FILL_DONE

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.PARSE_COMPLETE or tag == backend.CLOSE_COMPLETE:
            return expect_empty(tag, n)
        return Execute.on_message(self, tag, p, n)
