# SPDX-License-Identifier: MIT
# Parsers of backend message bodies. Each gets a complete body [p, p + n), checks every length and count in it,
# and raises ProtocolError; none reads beyond the body. May import: wire, exceptions.

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcmp

from fastpg.wire cimport FASTPG_MAX_MESSAGE, cstring_len, load_i16, load_i32, load_u16, load_u32

from fastpg.exceptions import ProtocolError

cdef enum:
    MAX_RUN = 4096      # bytes of ParameterStatus messages that are worth remembering

cdef Py_ssize_t _limits[256]

cdef dict _names = {
    AUTHENTICATION: "Authentication", BACKEND_KEY_DATA: "BackendKeyData", BIND_COMPLETE: "BindComplete",
    CLOSE_COMPLETE: "CloseComplete", COMMAND_COMPLETE: "CommandComplete", COPY_BOTH_RESPONSE: "CopyBothResponse",
    COPY_DATA: "CopyData", COPY_DONE: "CopyDone", COPY_IN_RESPONSE: "CopyInResponse",
    COPY_OUT_RESPONSE: "CopyOutResponse", DATA_ROW: "DataRow", EMPTY_QUERY_RESPONSE: "EmptyQueryResponse",
    ERROR_RESPONSE: "ErrorResponse", FUNCTION_CALL_RESPONSE: "FunctionCallResponse",
    NEGOTIATE_PROTOCOL_VERSION: "NegotiateProtocolVersion", NO_DATA: "NoData", NOTICE_RESPONSE: "NoticeResponse",
    NOTIFICATION_RESPONSE: "NotificationResponse", PARAMETER_DESCRIPTION: "ParameterDescription",
    PARAMETER_STATUS: "ParameterStatus", PARSE_COMPLETE: "ParseComplete", PORTAL_SUSPENDED: "PortalSuspended",
    READY_FOR_QUERY: "ReadyForQuery", ROW_DESCRIPTION: "RowDescription",
}


cdef int _fill_limits() except -1:
    # Data-bearing messages may be as long as the server can send; the others are short by nature. A row
    # description of 1,664 columns, the server's limit, takes about 140 kB; parameter descriptions 4 bytes each.
    cdef int tag
    for tag in range(256):
        _limits[tag] = 0
    for tag in _names:
        _limits[tag] = 30000
    for tag in (DATA_ROW, COPY_DATA, FUNCTION_CALL_RESPONSE, ROW_DESCRIPTION):
        _limits[tag] = FASTPG_MAX_MESSAGE
    for tag in (ERROR_RESPONSE, NOTICE_RESPONSE, NOTIFICATION_RESPONSE):
        _limits[tag] = 1 << 20
    _limits[PARAMETER_DESCRIPTION] = 6 + 4 * 1000000     # more than Bind takes: the server describes them all the same
    _limits[COPY_IN_RESPONSE] = _limits[COPY_OUT_RESPONSE] = _limits[COPY_BOTH_RESPONSE] = 7 + 2 * 65535
    return 0


_fill_limits()


cdef Py_ssize_t length_limit(uint8_t tag) noexcept nogil:
    return _limits[tag]


cdef str tag_name(uint8_t tag):
    return _names.get(tag) or f"message of unknown type 0x{tag:02x}"


cdef object bad(str what):
    raise ProtocolError(f"malformed {what} message from the server")


cdef int expect_empty(uint8_t tag, Py_ssize_t n) except -1:
    if n != 0:
        bad(tag_name(tag))
    return 0


cdef bytes take_cstring(const char **p, const char *end, str what):
    cdef Py_ssize_t n = cstring_len(p[0], end)
    if n < 0:
        bad(what)
    result = p[0][:n]
    p[0] += n + 1
    return result


cdef tuple parse_row_description(const char *p, Py_ssize_t n):
    # -> ((name: bytes, table OID, attribute number, type OID, typlen, typmod, format), ...)
    cdef const char *end = p + n
    cdef int i, count
    if n < 2:
        bad("RowDescription")
    count = load_u16(p)
    p += 2
    # 19 bytes a column at the least: the count has the bytes to back it.
    if count * 19 > end - p:
        bad("RowDescription")
    columns = []
    for i in range(count):  # no-cython-lint
        name = take_cstring(&p, end, "RowDescription")
        if end - p < 18:
            bad("RowDescription")
        columns.append((name, load_u32(p), load_i16(p + 4), load_u32(p + 6), load_i16(p + 10), load_i32(p + 12),
                        load_u16(p + 16)))
        if load_u16(p + 16) > 1:
            bad("RowDescription")
        p += 18
    if p != end:
        bad("RowDescription")
    return tuple(columns)


cdef tuple parse_parameter_description(const char *p, Py_ssize_t n):
    # The count has 16 bits, and the server writes what fits when there are more.
    cdef Py_ssize_t i, count = (n - 2) // 4
    if n < 2 or n != 2 + 4 * count or load_u16(p) != count % 65536:
        bad("ParameterDescription")
    return tuple([load_u32(p + 2 + 4 * i) for i in range(count)])


cdef dict parse_fields(const char *p, Py_ssize_t n, str encoding):
    # ErrorResponse and NoticeResponse: one-letter code -> text. Text in another encoding than the client's (an error
    # at start-up) keeps its bytes as escapes: the SQLSTATE must never be lost to it.
    cdef const char *end = p + n
    cdef dict fields = {}
    while True:
        if p >= end:
            bad("ErrorResponse")
        if p[0] == 0:
            break
        code = chr(<unsigned char>p[0])
        p += 1
        fields[code] = take_cstring(&p, end, "ErrorResponse").decode(encoding, "backslashreplace")
    if p + 1 != end:
        bad("ErrorResponse")
    return fields


cdef tuple parse_parameter_status(const char *p, Py_ssize_t n, str encoding):
    cdef const char *end = p + n
    name = take_cstring(&p, end, "ParameterStatus").decode(encoding, "backslashreplace")
    value = take_cstring(&p, end, "ParameterStatus").decode(encoding, "backslashreplace")
    if p != end:
        bad("ParameterStatus")
    return name, value


# The run of ParameterStatus messages that came last, and what it says: a server says the same to all connections.
# Threads may read it while another puts a new one there: no C variable, whose references nothing would guard.
_last_run = (b"", {})


cpdef Py_ssize_t read_parameters(bytes data, Py_ssize_t pos, dict parameters) except -1:
    """Put the complete ParameterStatus messages that stand at `pos`, one after the other, into `parameters`.

    The position behind them: that of the first byte of another message, or of one that is incomplete or too long.
    Raises ProtocolError for a malformed one.
    """
    global _last_run
    cdef const char *start = data
    cdef const char *end = start + len(data)
    cdef tuple last = _last_run
    cdef bytes run = <bytes>last[0]
    cdef bint first = not parameters
    cdef const char *p
    cdef const char *name
    cdef const char *value
    cdef Py_ssize_t length, size
    cdef bint known = True
    if pos < 0 or pos > len(data):
        raise ValueError(f"there are no bytes at {pos}")
    p = start + pos
    if run and len(run) <= end - p and memcmp(p, <const char *>run, len(run)) == 0:
        parameters.update(<dict>last[1])
        p += len(run)
    while end - p >= 5 and p[0] == PARAMETER_STATUS:
        length = load_i32(p + 1)
        if length < 4 or length > _limits[PARAMETER_STATUS] or length > end - p - 1:
            break
        name = p + 5
        p += length + 1
        size = cstring_len(name, p)
        value = name + size + 1
        if size < 0 or value == p or value + cstring_len(value, p) != p - 1:
            bad("ParameterStatus")
        known = False
        parameters[PyUnicode_DecodeUTF8(name, size, "backslashreplace")] = (
            PyUnicode_DecodeUTF8(value, p - value - 1, "backslashreplace"))
    if not known and first and p - start - pos <= MAX_RUN:
        _last_run = (data[pos:p - start], parameters.copy())
    return p - start


cdef tuple parse_notification(const char *p, Py_ssize_t n):
    # -> (backend pid, channel: bytes, payload: bytes)
    cdef const char *end = p + n
    if n < 6:
        bad("NotificationResponse")
    pid = load_i32(p)
    p += 4
    channel = take_cstring(&p, end, "NotificationResponse")
    payload = take_cstring(&p, end, "NotificationResponse")
    if p != end:
        bad("NotificationResponse")
    return pid, channel, payload


cdef bytes parse_command_complete(const char *p, Py_ssize_t n):
    # Tags are ASCII in every encoding: who reads one may decode it without a second thought.
    if n < 1 or cstring_len(p, p + n) != n - 1:
        bad("CommandComplete")
    tag = p[:n - 1]
    if not tag.isascii():
        bad("CommandComplete")
    return tag


cdef int parse_ready_for_query(const char *p, Py_ssize_t n) except -1:
    if n != 1 or (p[0] != b"I" and p[0] != b"T" and p[0] != b"E"):
        bad("ReadyForQuery")
    return p[0]


cdef tuple parse_copy_response(const char *p, Py_ssize_t n):
    # -> (overall format, (format of each column, ...))
    cdef int i, count
    if n < 3:
        bad("CopyResponse")
    count = load_u16(p + 1)
    if p[0] not in (0, 1) or n != 3 + 2 * count:
        bad("CopyResponse")
    return p[0], tuple([load_u16(p + 3 + 2 * i) for i in range(count)])
