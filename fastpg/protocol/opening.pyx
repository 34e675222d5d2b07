# SPDX-License-Identifier: MIT
# BEGIN and SAVEPOINT, written in front of the operation that comes next, in the extended protocol and without a Sync of
# their own. So they cost no round trip; and when one fails, the server throws away whatever follows up to the next
# Sync: the operation behind it cannot run outside of its transaction. Several stand in a chain, the outermost first.
# May import: frontend, backend, exceptions.

from libc.stdint cimport uint8_t

from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty, tag_name
from fastpg.protocol.frontend cimport write_parse
from fastpg.wire cimport Out, out_bytes

from fastpg.exceptions import ProtocolError

cdef enum:
    TO_PARSE = 0
    TO_BIND = 1
    TO_EXECUTE = 2

# The unnamed statement to the unnamed portal, which is executed.
cdef const char *BIND_EXECUTE = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0"


cdef class Opening:
    """A BEGIN or SAVEPOINT to be sent. savepoint: its name, None for BEGIN."""

    def __init__(self, str query not None, str savepoint=None):
        self.query = query
        self.begins = savepoint is None
        self.undo = "ROLLBACK" if savepoint is None else f"ROLLBACK TO {savepoint}; RELEASE {savepoint}"

    cdef int write(self, Out *out, str encoding) except -1:
        # It and the chain behind it.
        cdef Opening opening = self
        while opening is not None:
            opening.step = TO_PARSE
            opening.done = False
            write_parse(out, b"", opening.query.encode() if encoding is None else opening.query.encode(encoding), ())
            out_bytes(out, BIND_EXECUTE, 23)
            opening = opening.next
        return 0

    cdef bint on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        # True when that was the last message of its answer.
        if tag == backend.PARSE_COMPLETE and self.step == TO_PARSE:
            self.step = TO_BIND
            expect_empty(tag, n)
        elif tag == backend.BIND_COMPLETE and self.step == TO_BIND:
            self.step = TO_EXECUTE
            expect_empty(tag, n)
        elif tag == backend.COMMAND_COMPLETE and self.step == TO_EXECUTE:
            backend.parse_command_complete(p, n)
            self.done = True
        else:
            raise ProtocolError(f"unexpected {tag_name(tag)} message in the answer to {self.query!r}")
        return self.done

    def __repr__(self):
        return f"<Opening {self.query!r}{' done' if self.done else ''}>"
