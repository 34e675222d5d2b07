# SPDX-License-Identifier: MIT
# The start-up dialogue.

from libc.stdint cimport uint8_t


cdef class Handshake:
    cdef readonly bint asked            # whether the server has said anything about authentication
    cdef readonly bint authenticated
    cdef readonly bint done
    cdef readonly int backend_pid
    cdef readonly bytes secret_key
    cdef readonly dict parameters
    cdef readonly int tx_status
    cdef readonly int protocol_version
    cdef readonly list notices
    cdef readonly object _scram         # ScramClient
    cdef object params
    cdef object security
    cdef object password               # str or None
    cdef bint tls
    cdef bint local
    cdef bint negotiated
    cdef bint bound
    cdef bytes end_point
    cdef object nonce
    cdef bytes buffer
    cdef Py_ssize_t total               # bytes of the messages that have been read
    cdef Py_ssize_t allowed             # bytes of all messages that may come
    cdef object gss                     # makes the security context: for SSPI when its argument is true
    cdef object context
    cdef object token
    cdef bytes held                     # to be sent before the result of a Deferred
    cdef str step
    cdef str completed

    cpdef object receive(self, bytes data)
    cdef object pump(self, bytes out)
    cdef Py_ssize_t longest(self, uint8_t tag) except -1
    cdef object message(self, uint8_t tag, bytes body)
    cdef int negotiate(self, bytes body) except -1
    cdef int backend_key(self, bytes body) except -1
    cdef object authentication(self, bytes body)
    cdef int require(self, str method) except -1
    cdef object secret(self)
    cdef bytes cleartext(self)
    cdef bytes md5(self, bytes salt)
    cdef bytes sasl(self, bytes data)
    cdef object sasl_step(self, int code, bytes data)
    cdef int accepted(self) except -1
