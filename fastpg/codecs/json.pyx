# SPDX-License-Identifier: MIT
# Codecs of json, jsonb and jsonpath: str in, str out. The last two carry a version byte before the text.
# May import: codecs.codec, codecs.text, wire.

from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, FORMAT_BINARY, KIND_JSON, KIND_JSONB, Codec, Kind, decode_fn, encode_fn, malformed, register,
)
from fastpg.codecs.text cimport text_decode, text_encode, text_encode_versioned
from fastpg.wire cimport Out


cdef enum:
    VERSION = 1                 # the only one there is, of both


cdef object versioned_decode(const Codec *self, const char *p, Py_ssize_t n):
    if n < 1:
        return malformed(self, "no version byte")
    if p[0] != VERSION:
        return malformed(self, f"version {<unsigned char>p[0]}")
    return text_decode(self, p + 1, n - 1)


cdef int versioned_encode(const Codec *self, Out *out, object value) except -1:
    return text_encode_versioned(out, value, VERSION)


cdef enum:
    COUNT = 3

cdef Codec _codecs[COUNT]


cdef int _add(int i, uint32_t oid, Kind kind, decode_fn decode, encode_fn encode, const char *name) except -1:
    cdef Codec *codec = &_codecs[i]
    codec.oid = oid
    codec.size = -1
    codec.kind = kind
    codec.format = FORMAT_BINARY
    codec.flags = CODEC_ATOMIC
    codec.decode = decode
    codec.encode = encode
    codec.name = name
    return register(codec)


_add(0, 114, KIND_JSON, text_decode, text_encode, b"json")
_add(1, 3802, KIND_JSONB, versioned_decode, versioned_encode, b"jsonb")
_add(2, 4072, KIND_JSONB, versioned_decode, versioned_encode, b"jsonpath")
