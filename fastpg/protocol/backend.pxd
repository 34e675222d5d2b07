# SPDX-License-Identifier: MIT
# Backend messages: tags, limits, and parsers of the message bodies [p, p + n).

from libc.stdint cimport uint8_t

cdef enum:
    AUTHENTICATION = 82             # 'R'
    BACKEND_KEY_DATA = 75           # 'K'
    BIND_COMPLETE = 50              # '2'
    CLOSE_COMPLETE = 51             # '3'
    COMMAND_COMPLETE = 67           # 'C'
    COPY_BOTH_RESPONSE = 87         # 'W'
    COPY_DATA = 100                 # 'd'
    COPY_DONE = 99                  # 'c'
    COPY_IN_RESPONSE = 71           # 'G'
    COPY_OUT_RESPONSE = 72          # 'H'
    DATA_ROW = 68                   # 'D'
    EMPTY_QUERY_RESPONSE = 73       # 'I'
    ERROR_RESPONSE = 69             # 'E'
    FUNCTION_CALL_RESPONSE = 86     # 'V'
    NEGOTIATE_PROTOCOL_VERSION = 118  # 'v'
    NO_DATA = 110                   # 'n'
    NOTICE_RESPONSE = 78            # 'N'
    NOTIFICATION_RESPONSE = 65      # 'A'
    PARAMETER_DESCRIPTION = 116     # 't'
    PARAMETER_STATUS = 83           # 'S'
    PARSE_COMPLETE = 49             # '1'
    PORTAL_SUSPENDED = 115          # 's'
    READY_FOR_QUERY = 90            # 'Z'
    ROW_DESCRIPTION = 84            # 'T'

# The largest length word that a message of this type may carry, or 0 for a type that does not exist.
cdef Py_ssize_t length_limit(uint8_t tag) noexcept nogil

cdef str tag_name(uint8_t tag)
cdef tuple parse_row_description(const char *p, Py_ssize_t n)
cdef tuple parse_parameter_description(const char *p, Py_ssize_t n)
cdef dict parse_fields(const char *p, Py_ssize_t n, str encoding)
cdef tuple parse_parameter_status(const char *p, Py_ssize_t n, str encoding)
cdef tuple parse_notification(const char *p, Py_ssize_t n)
cdef bytes parse_command_complete(const char *p, Py_ssize_t n)
cdef int parse_ready_for_query(const char *p, Py_ssize_t n) except -1
cdef tuple parse_copy_response(const char *p, Py_ssize_t n)
cpdef Py_ssize_t read_parameters(bytes data, Py_ssize_t pos, dict parameters) except -1
cdef int expect_empty(uint8_t tag, Py_ssize_t n) except -1
