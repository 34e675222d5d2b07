# SPDX-License-Identifier: MIT
# Operations around the opening of transactions.

from fastpg.protocol.operation cimport Operation


cdef class Synchronize(Operation):
    pass

cdef class FailedTransaction(Operation):
    pass
