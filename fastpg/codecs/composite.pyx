# SPDX-License-Identifier: MIT
# Composite types and anonymous records (wire form in record_send). Members are decoded by the codec of the OID that
# the wire names. A composite with a member that has only a text form travels as text itself (record_out): all its
# members are text codecs then. May import: wire, codec, user, exceptions.

from collections.abc import Mapping

from libc.stdint cimport int32_t, uint32_t

from fastpg.codecs.codec cimport (
    FORMAT_BINARY, FORMAT_TEXT, KIND_COMPOSITE, KIND_RECORD, Codec, CodecHandle, builtin, decode_value, encode_value,
    malformed, out_of_range,
)
from fastpg.codecs.user cimport decode_as_text
from fastpg.wire cimport Out, load_i32, load_u32, out_begin_value, out_end_value, out_i32, out_value

from fastpg.codecs._unknown import UnknownTypeError
from fastpg.exceptions import OutdatedSchemaCacheError, UnsupportedClientFeatureError


cdef CodecHandle composite_of(uint32_t oid, str name, tuple names, tuple members, object make, str schema):
    cdef Members info = Members.__new__(Members)
    cdef CodecHandle handle
    cdef bint text = False
    for handle in members:
        text = text or handle.codec.format == FORMAT_TEXT
    info.names = names
    info.handles = members
    info.make = make
    info.schema = schema
    if text:
        return CodecHandle.derive(oid, name, KIND_COMPOSITE, FORMAT_TEXT, -1, 0, text_decode, text_encode, None, info,
                                  members)
    return CodecHandle.derive(oid, name, KIND_COMPOSITE, FORMAT_BINARY, -1, 0, composite_decode, composite_encode,
                              None, info, members)


cdef CodecHandle record_of(object lookup):
    cdef Members info = Members.__new__(Members)
    info.lookup = lookup
    return CodecHandle.derive(2249, "record", KIND_RECORD, FORMAT_BINARY, -1, 0, nested_record_decode, record_encode,
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
        return decode_as_text(codec, p[0] - n, n, self.name.decode())
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
        return outdated_count(self, count)
    for i in range(count):
        if end - p < 8:
            return malformed(self, "truncated element")
        handle = info.handles[i]
        if load_u32(p) != handle.codec.oid:
            raise OutdatedSchemaCacheError(
                f"unexpected data type of composite type attribute {i}: {type_name(load_u32(p))}, "
                f"expected {handle.name!r}", schema=info.schema, data_type=self.name.decode(), position=i)
        p += 4
        values.append(member(self, handle.codec, &p, end))
    if p != end:
        return malformed(self, "trailing bytes")
    result = tuple(values)
    return result if info.make is None else info.make(result)


cdef object outdated_count(const Codec *self, Py_ssize_t count):
    cdef Members info = <Members>self.extra
    raise OutdatedSchemaCacheError(
        f"unexpected number of attributes of composite type: {count}, expected {len(info.handles)}",
        schema=info.schema, data_type=self.name.decode())


cdef str type_name(uint32_t oid):
    cdef const Codec *codec = builtin(oid)
    return f"type with OID {oid}" if codec == NULL else repr(codec.name.decode())


cdef tuple members_of(const Codec *self, object value):
    # The members of what a user gives for a composite: a sequence in order, or a mapping whose missing keys are NULL.
    cdef Members info = <Members>self.extra
    cdef tuple items
    if isinstance(value, Mapping):
        for key in value:
            if key not in info.names:
                raise ValueError(f"{key!r} is not a valid element of composite type {self.name.decode()}")
        items = tuple([value.get(name) for name in info.names])
    elif isinstance(value, (str, bytes)):
        raise TypeError(f"a sequence or mapping expected (got type {type(value).__name__!r})")
    else:
        len(value)                  # a generator might never end
        items = tuple(value)
    if len(items) != len(info.handles):
        raise ValueError(f"expected {len(info.handles)} elements in the composite value, got {len(items)}")
    return items


cdef int composite_encode(const Codec *self, Out *out, object value) except -1:
    cdef Members info = <Members>self.extra
    cdef tuple items = members_of(self, value)
    cdef CodecHandle handle
    cdef Py_ssize_t i, at = out_begin_value(out)
    out_i32(out, <int32_t>len(items))
    for i in range(len(items)):
        handle = info.handles[i]
        out_i32(out, <int32_t>handle.codec.oid)
        if items[i] is None:
            out_i32(out, -1)
        else:
            handle.codec.encode(handle.codec, out, items[i])
    return out_end_value(out, at)


# ------------------------------------------------------------------------- text

cdef list fields_of(const Codec *self, bytes data):
    # '(a,"b ""c",)': an empty field without quotes is NULL; quotes and backslashes are doubled or escaped.
    cdef list result = []
    cdef bytearray field
    cdef Py_ssize_t at = 1, end = len(data) - 1
    cdef bint quoted, any_quotes
    if end < 1 or data[:1] != b"(" or data[end:] != b")":
        malformed(self, "no parentheses")
    while True:
        field = bytearray()
        quoted = any_quotes = False
        while at < end:
            char = data[at:at + 1]
            if char == b"\\" and at + 1 < end:
                at += 1
                field += data[at:at + 1]
            elif char == b'"':
                if quoted and data[at + 1:at + 2] == b'"' and at + 1 < end:
                    at += 1
                    field += char
                else:
                    quoted = not quoted
                    any_quotes = True
            elif char == b"," and not quoted:
                break
            else:
                field += char
            at += 1
        if quoted:
            malformed(self, "unterminated quotes")
        result.append(bytes(field) if field or any_quotes else None)
        if at >= end:
            return result
        at += 1


cdef object text_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Members info = <Members>self.extra
    cdef list fields = fields_of(self, p[:n])
    cdef list values = []
    cdef CodecHandle handle
    cdef Py_ssize_t i
    cdef bytes field
    if len(fields) != len(info.handles):
        return outdated_count(self, len(fields))
    for i in range(len(fields)):
        handle = info.handles[i]
        field = fields[i]
        values.append(None if field is None else decode_value(handle.codec, field, len(field)))
    result = tuple(values)
    return result if info.make is None else info.make(result)


cdef int text_encode(const Codec *self, Out *out, object value) except -1:
    cdef Members info = <Members>self.extra
    cdef tuple items = members_of(self, value)
    cdef list fields = []
    cdef CodecHandle handle
    cdef Py_ssize_t i
    cdef bytes text
    cdef const char *p
    for i in range(len(items)):
        if items[i] is None:
            fields.append(b"")
            continue
        handle = info.handles[i]
        text = encode_value(handle.codec, items[i])
        fields.append(b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'""') + b'"')
    text = b"(" + b",".join(fields) + b")"
    p = text
    return out_value(out, p, len(text))


# ------------------------------------------------------------- anonymous records

cdef object record_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Members info = <Members>self.extra
    cdef const char *end = p + n
    cdef int32_t _, count = member_count(self, p, n)
    cdef const Codec *codec
    cdef CodecHandle handle
    cdef uint32_t oid
    cdef list values = []
    p += 4
    for _ in range(count):
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


cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) int fastpg_record_depth = 0;
    #else
    static _Thread_local int fastpg_record_depth = 0;
    #endif
    """
    int fastpg_record_depth

cdef enum:
    MAX_RECORD_DEPTH = 200


cdef object nested_record_decode(const Codec *self, const char *p, Py_ssize_t n):
    # A level takes twelve bytes of the message and some hundred of the C stack: a hostile server would exhaust it.
    global fastpg_record_depth
    if fastpg_record_depth >= MAX_RECORD_DEPTH:
        return out_of_range(self, f"nested more than {MAX_RECORD_DEPTH} levels deep")
    fastpg_record_depth += 1
    try:
        return record_decode(self, p, n)
    finally:
        fastpg_record_depth -= 1


cdef int record_encode(const Codec *self, Out *out, object value) except -1:
    raise UnsupportedClientFeatureError(
        "input of anonymous composite types is not supported",
        hint=("Consider declaring an explicit composite type and using it to cast the argument."),
        detail="PostgreSQL does not implement anonymous composite type input.")
