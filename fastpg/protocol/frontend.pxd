# SPDX-License-Identifier: MIT
# Frontend messages (manual, "Message Formats"), written into one growing buffer.

from libc.stdint cimport uint32_t

from fastpg.wire cimport Out

cdef enum:
    # The server reads these message types into a small buffer and drops the connection beyond it (measured).
    MAX_SMALL_MESSAGE = 10000

cdef int write_query(Out *out, bytes sql) except -1
cdef int write_parse(Out *out, bytes name, bytes sql, tuple oids) except -1
cdef int write_describe(Out *out, char what, bytes name) except -1
cdef int write_execute(Out *out, bytes portal, uint32_t limit) except -1
cdef int write_close(Out *out, char what, bytes name) except -1
cdef int write_sync(Out *out) except -1
cdef int write_flush(Out *out) except -1
cdef int write_terminate(Out *out) except -1
cdef int begin_copy_data(Out *out, Py_ssize_t n) except -1          # n bytes have to follow
cdef int write_copy_data(Out *out, const char *p, Py_ssize_t n) except -1
cdef int write_copy_done(Out *out) except -1
cdef int write_copy_fail(Out *out, bytes reason) except -1
cdef int write_function_call(Out *out, uint32_t oid, tuple arguments) except -1
