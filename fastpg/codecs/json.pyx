# SPDX-License-Identifier: MIT
# Codecs of json, jsonb and jsonpath: str in, str out. The last two carry a version byte before the text, unless the
# codec is one of their text form. And of json and jsonb as Python objects, by the functions of a JSON library that are
# given the bytes of the wire. May import: codecs.codec, codecs.text, wire, exceptions.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, CODEC_LISTS, FORMAT_BINARY, FORMAT_TEXT, KIND_JSON, KIND_JSONB, Codec, CodecHandle, Kind, builtin,
    decode_fn, encode_fn, malformed, register,
)
from fastpg.codecs.text cimport encoded_decode, encoded_encode, text_decode, text_encode, text_encode_versioned
from fastpg.wire cimport Out, out_begin_value, out_bytes, out_end_value, out_u8

from fastpg.exceptions import UnrepresentableValueError


cdef enum:
    VERSION = 1                 # the only one there is, of both


cdef Py_ssize_t text_at(const Codec *self, const char *p, Py_ssize_t n) except -1:
    # Where the JSON begins: behind the version byte of jsonb and jsonpath. JSON itself never begins with that byte.
    if self.kind == KIND_JSON or self.format == FORMAT_TEXT:
        return 0
    if n < 1:
        malformed(self, "no version byte")
    if p[0] != VERSION:
        malformed(self, f"version {<unsigned char>p[0]}")
    return 1


cdef object versioned_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Py_ssize_t at = text_at(self, p, n)
    return text_decode(self, p + at, n - at)


cdef int versioned_encode(const Codec *self, Out *out, object value) except -1:
    if self.format == FORMAT_TEXT:
        return text_encode(self, out, value)
    return text_encode_versioned(out, value, VERSION)


# ---------------------------------------------------------- another client_encoding

cdef object encoded_versioned_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Py_ssize_t at = text_at(self, p, n)
    return encoded_decode(self, p + at, n - at)


cdef int encoded_versioned_encode(const Codec *self, Out *out, object value) except -1:
    if self.format == FORMAT_TEXT:
        return encoded_encode(self, out, value)
    if not isinstance(value, str):
        raise TypeError(f"expected str, got {type(value).__name__}")
    return put_json(self, out, value.encode(<object>self.extra))


cdef CodecHandle json_text(const Codec *codec, str encoding):
    if codec.kind == KIND_JSON:
        return CodecHandle.derive(codec.oid, codec.name.decode(), KIND_JSON, FORMAT_BINARY, -1, CODEC_ATOMIC,
                                  encoded_decode, encoded_encode, None, encoding, ())
    return CodecHandle.derive(codec.oid, codec.name.decode(), KIND_JSONB, FORMAT_BINARY, -1, CODEC_ATOMIC,
                              encoded_versioned_decode, encoded_versioned_encode, None, encoding, ())


# --------------------------------------------------------------- as Python objects

cdef class Library:
    """The functions of a JSON library."""
    cdef object loads
    cdef object dumps
    cdef bint takes_text            # loads wants a str: what it would make of the bytes itself, and slower
    cdef str encoding               # Python's name of the client encoding; None is UTF-8


cdef CodecHandle json_objects(uint32_t oid, object loads, object dumps, bint takes_text, str encoding):
    cdef const Codec *codec = builtin(oid)
    cdef Library library = Library.__new__(Library)
    library.loads = loads
    library.dumps = dumps
    library.takes_text = takes_text
    library.encoding = encoding
    return CodecHandle.derive(oid, codec.name.decode(), <Kind>codec.kind, FORMAT_BINARY, -1, CODEC_LISTS,
                              objects_decode, objects_encode, None, library, ())


cdef object objects_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Library library = <Library>self.extra
    cdef Py_ssize_t at = text_at(self, p, n)
    cdef object data
    p += at
    n -= at
    if library.encoding is not None:
        data = decoded(self, p[:n], library.encoding)
        if not library.takes_text:
            data = data.encode()
    elif library.takes_text:
        data = text_decode(self, p, n)
    else:
        data = PyBytes_FromStringAndSize(p, n)
    try:
        return library.loads(data)
    except MemoryError:
        raise
    except Exception as error:
        raise UnrepresentableValueError(
            f"value of type {self.name.decode()}: {type(error).__name__}: {error}") from error


cdef object decoded(const Codec *self, bytes data, str encoding):
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnrepresentableValueError(f"value of type {self.name.decode()}: {error}") from error


cdef int objects_encode(const Codec *self, Out *out, object value) except -1:
    cdef Library library = <Library>self.extra
    cdef object data
    try:
        data = library.dumps(value)
    except MemoryError:
        raise
    except Exception as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"cannot be encoded as {self.name.decode()}: {type(error).__name__}: {error}") from error
    if isinstance(data, str):
        if library.encoding is None:
            if self.kind == KIND_JSON or self.format == FORMAT_TEXT:
                return text_encode(self, out, data)
            return text_encode_versioned(out, data, VERSION)
        data = data.encode(library.encoding)
    elif library.encoding is not None:
        data = bytes(data).decode().encode(library.encoding)
    return put_json(self, out, data)


cdef int put_json(const Codec *self, Out *out, object data) except -1:
    # The bytes of a JSON text as a value.
    cdef Py_buffer view
    cdef Py_ssize_t at
    try:
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    except (TypeError, BufferError):
        raise TypeError(f"what encodes {self.name.decode()} is expected to return str or bytes, "
                        f"got {type(data).__name__}") from None
    try:
        at = out_begin_value(out)
        if self.kind == KIND_JSONB and self.format == FORMAT_BINARY:
            out_u8(out, VERSION)
        out_bytes(out, view.buf, view.len)
        return out_end_value(out, at)
    finally:
        PyBuffer_Release(&view)


# ------------------------------------------------------------------------------ table


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
