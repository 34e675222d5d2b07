# SPDX-License-Identifier: MIT
# Statements with a Sync each, in one write.

from fastpg.protocol.operation cimport Operation


cdef class Probe(Operation):
    cdef int statements
    cdef int completed
