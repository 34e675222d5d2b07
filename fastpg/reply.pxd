# SPDX-License-Identifier: MIT
# What a pipeline's methods return.

cdef enum:
    REPLY_PENDING = 0
    REPLY_RESULT = 1
    REPLY_ERROR = 2
    REPLY_CANCELLED = 3


cdef class Reply:
    """A result that will come; it has a Future's methods and is awaited like one."""
    cdef object __weakref__
    cdef readonly object loop
    cdef int state                  # REPLY_*
    cdef bint looked                # somebody has seen the error
    cdef object outcome             # the result or the exception
    cdef object waiters             # the Futures of tasks that await it: None, one, or a list
    cdef object callbacks           # list of (function, context), or None
    cdef public bint _asyncio_future_blocking
    cdef readonly object _cancel_message    # gather() looks at it

    cdef int settle(self, int state, object outcome) except -1
