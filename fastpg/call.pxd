# SPDX-License-Identifier: MIT
# The one-step way of a statement.

from libc.stdint cimport uint32_t

from fastpg.client cimport Client
from fastpg.protocol.operation cimport Execute
from fastpg.protocol.row cimport RowSink


cdef enum:
    NO_LIMIT = -1       # of limit_of()
    LONG_WAY = -2


cdef class Call(Execute):
    """An Execute that somebody awaits with an asyncio.Future."""


cdef double limit_of(Client client, object timeout) except? -3
cdef object start(Client client, str query, tuple args, RowSink sink, int shape, uint32_t limit, object timeout)
