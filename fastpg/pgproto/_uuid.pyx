# SPDX-License-Identifier: MIT
# UUID: a subclass of uuid.UUID that keeps the 16 bytes of the wire and computes the integer only when asked.
#
# uuid.UUID stores its value in the slot `int`. This class leaves that slot empty, shadows it by a property and keeps
# a bytes object in a slot of its own, so every inherited method works unchanged. It is an ordinary Python class with
# __slots__ (an extension type cannot inherit from one); only its construction goes through the C API.
#
# May import: nothing of fastpg.

import uuid

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject_GenericSetAttr

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(void *op)
    object PyType_GenericAlloc(void *cls, Py_ssize_t items)
    # Of every release so far; Cython's own conversions of large integers go by it as well.
    object _PyLong_FromByteArray(const unsigned char *p, size_t n, int little_endian, int is_signed)


cdef str BYTES_SLOT = "_bytes"
cdef str INT_SLOT = "int"
cdef str SAFE_SLOT = "is_safe"
cdef object PLAIN = uuid.UUID
cdef object UNKNOWN = uuid.SafeUUID.unknown


class UUID(uuid.UUID):
    """A uuid.UUID made from text, or from 16 bytes in network order.

    Equal to and hashed like any other uuid.UUID of the same value. Raises ValueError for text that is no UUID or for
    a wrong number of bytes, TypeError for anything else.
    """

    __slots__ = ("_bytes",)
    __module__ = "fastpg.pgproto.pgproto"

    def __init__(self, inp):
        if isinstance(inp, (bytes, bytearray, memoryview)):
            raw = bytes(inp)
            if len(raw) != 16:
                raise ValueError(f"16 bytes were expected, got {len(raw)}")
        elif isinstance(inp, str):
            raw = parse_text(inp)
        else:
            raise TypeError(f"a bytes or str object expected, got {inp!r}")
        PyObject_GenericSetAttr(self, BYTES_SLOT, raw)

    @property
    def bytes(self):
        return self._bytes

    @property
    def int(self):
        return int.from_bytes(self._bytes, "big")

    @property
    def hex(self):
        return self._bytes.hex()

    @property
    def is_safe(self):
        return UNKNOWN

    def __hash__(self):
        return hash(int.from_bytes(self._bytes, "big"))

    def __str__(self):
        h = self._bytes.hex()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    def __eq__(self, other):
        if type(other) is UUID:
            return self._bytes == other._bytes
        if isinstance(other, uuid.UUID):
            return int.from_bytes(self._bytes, "big") == other.int
        return NotImplemented

    def __reduce__(self):
        return type(self), (self._bytes,)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


cdef bytes parse_text(str text):
    cdef Py_ssize_t n = len(text)
    # Everything from 32 digits to 36 characters with hyphens; hyphens may be anywhere.
    if n < 32 or n > 36:
        raise ValueError(f"invalid UUID {text!r}: length must be between 32..36 characters, got {n}")
    digits = text.replace("-", "")
    try:
        # fromhex() would skip blanks.
        if digits.isalnum() and digits.isascii() and len(digits) == 32:
            return bytes.fromhex(digits)
    except ValueError:
        pass
    raise ValueError(f"invalid UUID {text!r}: not 32 hexadecimal digits")


cdef object CLASS = UUID


cdef object uuid_from_bytes(const char *p):
    cdef object raw = PyBytes_FromStringAndSize(p, 16)
    cdef object self = PyType_GenericAlloc(<void *> CLASS, 0)
    PyObject_GenericSetAttr(self, BYTES_SLOT, raw)
    # It refers to bytes only, so it is in no cycle.
    PyObject_GC_UnTrack(<void *> self)
    return self


cdef object plain_uuid_from_bytes(const char *p):
    # What uuid.UUID(bytes=...) does, without its __init__ in Python.
    cdef object value = _PyLong_FromByteArray(<const unsigned char *>p, 16, 0, 0)
    cdef object self = PyType_GenericAlloc(<void *> PLAIN, 0)
    PyObject_GenericSetAttr(self, INT_SLOT, value)
    PyObject_GenericSetAttr(self, SAFE_SLOT, UNKNOWN)
    PyObject_GC_UnTrack(<void *> self)
    return self


def _make(bytes raw not None):
    """A UUID through uuid_from_bytes(), for tests."""
    if len(raw) != 16:
        raise ValueError("need 16 bytes")
    return uuid_from_bytes(raw)
