# SPDX-License-Identifier: MIT
# Operations around the opening of transactions. May import: opening, frontend, operation, exceptions.

from fastpg.protocol.frontend cimport write_execute, write_sync
from fastpg.protocol.opening cimport Opening
from fastpg.protocol.operation cimport FILL_DONE, Operation
from fastpg.wire cimport Out

from fastpg.exceptions import ProtocolError


cdef class Synchronize(Operation):
    """Sync alone: what was written before it is answered. The result is None."""

    def __init__(self, waiter=None):
        self.waiter = waiter

    cdef int fill(self, Out *out) except -1:
        write_sync(out)
        self.syncs = 1
        return FILL_DONE


cdef class FailedTransaction(Operation):
    """Begin a transaction and make it fail.

    What follows a BEGIN that the server has refused is to be refused too, up to the end of the transaction, as after
    any other statement that fails in it. The server sees to that, once there is a failed transaction.
    """

    def __cinit__(self):
        self.opening = Opening("BEGIN")
        self.riders = True

    cdef int fill(self, Out *out) except -1:
        # The portal does not exist.
        write_execute(out, b"fastpg: BEGIN has failed before", 0)
        write_sync(out)
        self.syncs = 1
        return FILL_DONE

    cdef int on_ready(self) except -1:
        if self.error is None:
            raise ProtocolError("the server executed a portal that does not exist")
        return self.deliver()
