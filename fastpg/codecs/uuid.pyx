# SPDX-License-Identifier: MIT
# Codec of uuid: str or any object with .bytes in; out comes a subclass of uuid.UUID, or by option uuid.UUID itself.
# May import: codecs.codec, pgproto._uuid, wire.

from cpython.unicode cimport PyUnicode_Check

from fastpg.codecs.codec cimport CODEC_ATOMIC, FORMAT_BINARY, KIND_UUID, Codec, register
from fastpg.pgproto._uuid cimport plain_uuid_from_bytes, uuid_from_bytes
from fastpg.wire cimport Out, out_value


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object value, Py_ssize_t *n) except NULL


cdef object uuid_decode(const Codec *self, const char *p, Py_ssize_t n):
    return uuid_from_bytes(p)


cdef object plain_decode(const Codec *self, const char *p, Py_ssize_t n):
    return plain_uuid_from_bytes(p)


cdef inline int _nibble(unsigned char c) noexcept nogil:
    if b"0" <= c <= b"9":
        return c - 48
    c |= 0x20
    if b"a" <= c <= b"f":
        return c - 87
    return -1


cdef object _invalid(str value, str reason):
    raise ValueError(f"invalid UUID {value!r}: {reason}")


cdef int _parse(str value, unsigned char *target) except -1:
    # 32 hexadecimal digits with up to four dashes wherever they stand.
    cdef Py_ssize_t n, i
    cdef int digits = 0, nibble
    cdef const char *p = PyUnicode_AsUTF8AndSize(value, &n)
    if n < 32 or n > 36:
        _invalid(value, f"length must be between 32..36 characters, got {n}")
    for i in range(n):
        if p[i] == b"-":
            continue
        nibble = _nibble(<unsigned char>p[i])
        if nibble < 0:
            _invalid(value, f"unexpected character {p[i:i + 1].decode('latin-1')!r}")
        if digits == 32:
            _invalid(value, "decodes to more than 16 bytes")
        if digits & 1:
            target[digits >> 1] |= <unsigned char>nibble
        else:
            target[digits >> 1] = <unsigned char>(nibble << 4)
        digits += 1
    if digits != 32:
        _invalid(value, "decodes to less than 16 bytes")
    return 0


cdef int uuid_encode(const Codec *self, Out *out, object value) except -1:
    cdef unsigned char target[16]
    cdef const char *p
    if PyUnicode_Check(value):
        _parse(str(value), target)
        return out_value(out, target, 16)
    data = value.bytes
    if type(data) is not bytes:
        data = bytes(memoryview(data))
    if len(<bytes>data) != 16:
        raise ValueError(f"invalid UUID: its .bytes must be 16 bytes long, got {len(<bytes>data)}")
    p = <bytes>data
    return out_value(out, p, 16)


cdef Codec uuid
uuid.oid = 2950
uuid.size = 16
uuid.kind = KIND_UUID
uuid.format = FORMAT_BINARY
uuid.flags = CODEC_ATOMIC
uuid.decode = uuid_decode
uuid.encode = uuid_encode
uuid.name = b"uuid"
register(&uuid)

cdef Codec _plain = uuid
_plain.decode = plain_decode


cdef const Codec *uuid_as_plain() noexcept:
    return &_plain
