# SPDX-License-Identifier: MIT
# Composite types and anonymous records (wire form in record_send). Members are decoded by the codec of the OID that
# the wire names. May import: wire, codec, exceptions.

from collections.abc import Mapping

from libc.stdint cimport int32_t, uint32_t

from fastpg.codecs.codec cimport (
    FORMAT_BINARY, KIND_COMPOSITE, KIND_RECORD, Codec, CodecHandle, builtin, decode_value, malformed,
)
from fastpg.wire cimport Out, load_i32, load_u32, out_begin_value, out_end_value, out_i32

from fastpg.exceptions import InternalClientError, OutdatedSchemaCacheError, UnsupportedClientFeatureError


class UnknownTypeError(InternalClientError):
    """An anonymous record holds types that nobody has looked up yet: `oids`."""

    def __init__(self, *oids: int) -> None:
        super().__init__(f"no codec for the types {', '.join(map(str, oids))}")
        self.oids = oids


cdef class Members:
    cdef tuple names
    cdef tuple handles
    cdef object make            # tuple of values -> the composite value; None: the tuple itself
    cdef object lookup          # records: OID -> CodecHandle or None


cdef CodecHandle composite_of(uint32_t oid, str name, tuple names, tuple members, object make):
    cdef Members info = Members.__new__(Members)
    info.names = names
    info.handles = members
    info.make = make
    return CodecHandle.derive(oid, name, KIND_COMPOSITE, FORMAT_BINARY, -1, 0, composite_decode, composite_encode,
                              None, info, members)


cdef CodecHandle record_of(object lookup):
    cdef Members info = Members.__new__(Members)
    info.lookup = lookup
    return CodecHandle.derive(2249, "record", KIND_RECORD, FORMAT_BINARY, -1, 0, record_decode, record_encode,
                              None, info, ())


cdef object member(const Codec *self, const Codec *codec, const char **p, const char *end):
    cdef int32_t n = load_i32(p[0])
    p[0] += 4
    if n == -1:
        return None
    if n < 0 or n > end - p[0]:
        return malformed(self, f"element of {n} bytes")
    p[0] += n
    if codec.format != FORMAT_BINARY:
        raise UnsupportedClientFeatureError(
            f"cannot decode type {codec.name.decode()!r} inside {self.name.decode()!r}: its binary form is not known")
    return decode_value(codec, p[0] - n, n)


cdef int32_t member_count(const Codec *self, const char *p, Py_ssize_t n) except -1:
    cdef int32_t count
    if n < 4:
        malformed(self, "no count")
    count = load_i32(p)
    # A member takes eight bytes at the least.
    if count < 0 or count > (n - 4) // 8:
        malformed(self, f"{count} elements in {n} bytes")
    return count


cdef object composite_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Members info = <Members>self.extra
    cdef const char *end = p + n
    cdef int32_t i, count = member_count(self, p, n)
    cdef CodecHandle handle
    cdef list values = []
    p += 4
    if count != len(info.handles):
        raise OutdatedSchemaCacheError(
            f"unexpected number of attributes of composite type: {count}, expected {len(info.handles)}")
    for i in range(count):
        if end - p < 8:
            return malformed(self, "truncated element")
        handle = info.handles[i]
        if load_u32(p) != handle.codec.oid:
            raise OutdatedSchemaCacheError(
                f"unexpected data type of composite type attribute {i}: {load_u32(p)}, expected {handle.codec.oid}")
        p += 4
        values.append(member(self, handle.codec, &p, end))
    if p != end:
        return malformed(self, "trailing bytes")
    result = tuple(values)
    return result if info.make is None else info.make(result)


cdef int composite_encode(const Codec *self, Out *out, object value) except -1:
    cdef Members info = <Members>self.extra
    cdef CodecHandle handle
    cdef Py_ssize_t at
    cdef Py_ssize_t i
    if isinstance(value, Mapping):
        for key in value:
            if key not in info.names:
                raise ValueError(f"{key!r} is not a valid element of composite type {self.name.decode()}")
        value = tuple([value.get(name) for name in info.names])
    elif isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise TypeError(f"a sequence or mapping expected (got type {type(value).__name__!r})")
    else:
        value = tuple(value)
    if len(value) != len(info.handles):
        raise ValueError(f"expected {len(info.handles)} elements in the composite value, got {len(value)}")
    at = out_begin_value(out)
    out_i32(out, <int32_t>len(info.handles))
    for i in range(len(info.handles)):
        handle = info.handles[i]
        if handle.codec.format != FORMAT_BINARY:
            raise UnsupportedClientFeatureError(
                f"cannot encode type {handle.name!r} inside {self.name.decode()!r}: its binary form is not known")
        out_i32(out, <int32_t>handle.codec.oid)
        if value[i] is None:
            out_i32(out, -1)
        else:
            handle.codec.encode(handle.codec, out, value[i])
    return out_end_value(out, at)


cdef object record_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Members info = <Members>self.extra
    cdef const char *end = p + n
    cdef int32_t i, count = member_count(self, p, n)
    cdef const Codec *codec
    cdef CodecHandle handle
    cdef uint32_t oid
    cdef list values = []
    p += 4
    for i in range(count):
        if end - p < 8:
            return malformed(self, "truncated element")
        oid = load_u32(p)
        p += 4
        if info.lookup is None:
            codec = builtin(oid)
        else:
            handle = info.lookup(oid)
            codec = handle.codec if handle is not None else NULL
        if codec == NULL:
            if load_i32(p) != -1:
                raise UnknownTypeError(oid)
            values.append(None)
            p += 4
            continue
        values.append(member(self, codec, &p, end))
    if p != end:
        return malformed(self, "trailing bytes")
    return tuple(values)


cdef int record_encode(const Codec *self, Out *out, object value) except -1:
    raise UnsupportedClientFeatureError("input of anonymous composite types is not supported")
