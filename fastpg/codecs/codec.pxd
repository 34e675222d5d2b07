# SPDX-License-Identifier: MIT
# A codec is a C struct of two functions. Reached through a pointer, it costs the same from any module.
#
#   decode   gets exactly the n payload bytes of one non-NULL value. When size >= 0 the caller has already
#            checked n == size, so a fixed-size decoder reads without checks. Malformed bytes: call
#            malformed(). A legal value that Python's type cannot hold: call out_of_range().
#   encode   writes the int32 length and then the payload. The caller writes NULLs. Wrong Python type or
#            value: TypeError, ValueError or OverflowError with the reason; the caller adds the parameter.

from libc.stdint cimport int16_t, uint8_t, uint32_t

from fastpg.wire cimport Out


# The physical kind is frozen: sinks index their own tables by it. New kinds go to the end.
cdef enum Kind:
    KIND_OPAQUE = 0
    KIND_TEXT = 1
    KIND_BOOL = 2
    KIND_INT2 = 3
    KIND_INT4 = 4
    KIND_INT8 = 5
    KIND_UINT4 = 6
    KIND_UINT8 = 7
    KIND_FLOAT4 = 8
    KIND_FLOAT8 = 9
    KIND_NUMERIC = 10
    KIND_BYTEA = 11
    KIND_CHAR = 12          # the internal type "char", one byte
    KIND_JSON = 13
    KIND_JSONB = 14         # one version byte, then JSON (also jsonpath)
    KIND_UUID = 15
    KIND_DATE = 16
    KIND_TIME = 17
    KIND_TIMETZ = 18
    KIND_TIMESTAMP = 19
    KIND_TIMESTAMPTZ = 20
    KIND_INTERVAL = 21
    KIND_INET = 22          # inet and cidr
    KIND_BIT = 23           # bit and varbit
    KIND_POINT = 24
    KIND_LINE = 25
    KIND_LSEG = 26
    KIND_BOX = 27
    KIND_PATH = 28
    KIND_POLYGON = 29
    KIND_CIRCLE = 30
    KIND_TID = 31
    KIND_SNAPSHOT = 32
    KIND_VOID = 33
    KIND_ARRAY = 34
    KIND_RANGE = 35
    KIND_MULTIRANGE = 36
    KIND_COMPOSITE = 37
    KIND_RECORD = 38
    KIND_PYTHON = 39        # a user's own encoder and decoder
    KIND_COUNT = 40


cdef enum:
    FORMAT_TEXT = 0
    FORMAT_BINARY = 1

cdef enum:
    # The decoded value can never be part of a reference cycle (int, str, Decimal, datetime ...).
    CODEC_ATOMIC = 1
    # An array that the server wants with lower bound 0 (int2vector, oidvector).
    CODEC_ZERO_BASED = 2
    # 4 is CODEC_ALIAS of textform.pxd.
    # An array whose values keep their lower bounds.
    CODEC_BOUNDED = 8
    # The value may itself be a list: in an array of them only the outermost list is the array.
    CODEC_LISTS = 16

cdef struct Codec

ctypedef object (*decode_fn)(const Codec *self, const char *p, Py_ssize_t n)
ctypedef int (*encode_fn)(const Codec *self, Out *out, object value) except -1

cdef struct Codec:
    uint32_t oid            # type OID, 0 for none
    int16_t size            # fixed payload length in bytes, or -1
    uint8_t kind            # Kind
    uint8_t format          # FORMAT_TEXT or FORMAT_BINARY, on the wire, both directions
    uint8_t flags           # CODEC_*
    char delimiter          # of the type's text array form, ',' for all but box
    decode_fn decode
    encode_fn encode
    const Codec *element    # array: element; range: bound; multirange: range; of a wrapper: what it wraps; else NULL
    void *extra             # borrowed PyObject kept alive by the handle (names, members, callables), or NULL
    const char *name        # type name, UTF-8, for messages


cdef class CodecHandle:
    """Owns a Codec (static or allocated) and whatever its pointers point to."""
    cdef Codec *codec
    cdef bint owned         # allocated by derive(): freed with the handle
    cdef readonly object name    # str
    cdef object extra       # keeps codec.extra alive
    cdef object children    # tuple of CodecHandle kept alive (element, members)

    @staticmethod
    cdef CodecHandle borrow(Codec *codec)
    @staticmethod
    cdef CodecHandle derive(uint32_t oid, str name, Kind kind, int format, int size, int flags,
                            decode_fn decode, encode_fn encode, CodecHandle element, object extra, tuple children)


# Called by codec modules at import; the table is frozen when fastpg.codecs has imported them all.
cdef int register(Codec *codec) except -1
# A built-in codec by OID, or NULL.
cdef const Codec *builtin(uint32_t oid) noexcept

# Raise and return NULL/-1; out of line so that decoders stay short.
cdef object malformed(const Codec *codec, str reason)        # always raises ProtocolError
cdef object out_of_range(const Codec *codec, str value)      # always raises UnrepresentableValueError

# The name of a value's type as CPython's own messages have it: with the module, for a type written in C.
cdef str type_name(object value)

# With the size check that the row loop makes; for containers, tests and cold paths.
cdef object decode_value(const Codec *codec, const char *p, Py_ssize_t n)
cdef bytes encode_value(const Codec *codec, object value)
