# SPDX-License-Identifier: MIT
# The codec table. Codec modules register static structs at import; the table is frozen afterwards.
# Knows nothing of messages, connections or asyncio. May import: wire, exceptions.

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport PyObject
from libc.string cimport memset

from fastpg.wire cimport Out, load_i32, out_free

from fastpg.exceptions import ProtocolError, UnrepresentableValueError

cdef enum:
    DENSE = 8192            # every built-in type OID of PostgreSQL 14 to 19 lies below

cdef Codec *_table[DENSE]
memset(_table, 0, sizeof(_table))
cdef bint _frozen = False


cdef int register(Codec *codec) except -1:
    if _frozen:
        raise RuntimeError("the table of built-in codecs is frozen")
    if codec.oid == 0 or codec.oid >= DENSE:
        raise ValueError(f"built-in codec with OID {codec.oid}")
    if _table[codec.oid] != NULL:
        raise ValueError(f"two codecs for OID {codec.oid}")
    if codec.delimiter == 0:
        codec.delimiter = b","
    _table[codec.oid] = codec
    return 0


cdef const Codec *builtin(uint32_t oid) noexcept:
    return _table[oid] if oid < DENSE else NULL


def freeze() -> None:
    """No built-in codec can be registered from here on."""
    global _frozen
    _frozen = True


cdef extern from *:
    """
    static const char *fastpg_type_name(PyObject *value) { return Py_TYPE(value)->tp_name; }
    """
    const char *fastpg_type_name(object value)


cdef str type_name(object value):
    return fastpg_type_name(value).decode()


cdef object malformed(const Codec *codec, str reason):
    raise ProtocolError(f"malformed value of type {codec.name.decode()}: {reason}")


cdef object out_of_range(const Codec *codec, str value):
    error = UnrepresentableValueError(f"value of type {codec.name.decode()} cannot be represented in Python: {value}")
    error.value = value
    raise error


cdef class CodecHandle:
    """Owns a Codec (static or allocated) and whatever its pointers point to."""

    def __dealloc__(self):
        if self.owned:
            PyMem_Free(self.codec)

    @staticmethod
    cdef CodecHandle borrow(Codec *codec):
        cdef CodecHandle self = CodecHandle.__new__(CodecHandle)
        self.codec = codec
        self.name = codec.name.decode()
        return self

    @staticmethod
    cdef CodecHandle derive(uint32_t oid, str name, Kind kind, int format, int size, int flags,
                            decode_fn decode, encode_fn encode, CodecHandle element, object extra, tuple children):
        cdef CodecHandle self = CodecHandle.__new__(CodecHandle)
        cdef Codec *codec = <Codec *>PyMem_Malloc(sizeof(Codec))
        if codec == NULL:
            raise MemoryError
        encoded = name.encode()
        self.codec = codec
        self.owned = True
        self.name = name
        self.extra = extra
        self.children = (encoded, element, children)
        codec.oid = oid
        codec.size = <int16_t>size
        codec.kind = <uint8_t>kind
        codec.format = <uint8_t>format
        codec.flags = <uint8_t>flags
        codec.delimiter = b","
        codec.decode = decode
        codec.encode = encode
        codec.element = element.codec if element is not None else NULL
        codec.extra = <void *><PyObject *>extra
        codec.name = encoded
        return self

    @property
    def oid(self) -> int:
        return self.codec.oid

    @property
    def kind(self) -> int:
        return self.codec.kind

    @property
    def format(self) -> int:
        return self.codec.format

    def decode(self, bytes data not None):
        """Decode the payload of one non-NULL value."""
        cdef const char *p = data
        return decode_value(self.codec, p, len(data))

    def encode(self, value) -> bytes:
        """Encode one non-NULL value; the payload without its length."""
        return encode_value(self.codec, value)

    def __repr__(self) -> str:
        return f"<CodecHandle {self.name} oid={self.codec.oid} kind={self.codec.kind}>"


cdef object decode_value(const Codec *codec, const char *p, Py_ssize_t n):
    # The checks that the row loop makes, for tests and cold paths.
    if codec.size >= 0 and n != codec.size:
        return malformed(codec, f"{n} bytes, expected {codec.size}")
    return codec.decode(codec, p, n)


cdef bytes encode_value(const Codec *codec, object value):
    cdef Out out
    memset(&out, 0, sizeof(out))
    try:
        codec.encode(codec, &out, value)
        if out.len < 4 or load_i32(out.buf) != out.len - 4:
            raise SystemError(f"codec {codec.name.decode()} wrote a wrong length")
        return out.buf[4:out.len]
    finally:
        out_free(&out)


def decode(oid: int, data: bytes):
    """Decode the payload of one non-NULL value of a built-in type."""
    cdef const Codec *codec = builtin(oid)
    if codec == NULL:
        raise LookupError(f"no built-in codec for OID {oid}")
    cdef const char *p = data
    return decode_value(codec, p, len(data))


def encode(oid: int, value) -> bytes:
    """Encode one non-NULL value of a built-in type; the payload without its length."""
    cdef const Codec *codec = builtin(oid)
    if codec == NULL:
        raise LookupError(f"no built-in codec for OID {oid}")
    return encode_value(codec, value)


def builtin_handle(oid: int):
    """The handle of a built-in codec, or None."""
    cdef const Codec *codec = builtin(oid)
    return CodecHandle.borrow(<Codec *>codec) if codec != NULL else None


def registered() -> dict:
    """OID -> (name, kind, format) of every built-in codec."""
    return {oid: (_table[oid].name.decode(), _table[oid].kind, _table[oid].format)
            for oid in range(DENSE) if _table[oid] != NULL}
