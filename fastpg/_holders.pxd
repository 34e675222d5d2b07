# SPDX-License-Identifier: MIT
# The pool's queue.

cdef class HolderQueue:
    cdef object create_future
    cdef list connected         # the end is the last used
    cdef list disconnected
    cdef object waiters         # deque of Futures
