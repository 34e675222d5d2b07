# SPDX-License-Identifier: MIT
# Ranges and multiranges over any bound type (wire form in range_send and multirange_send); in their text form
# (range_out, multirange_out) where the bound's codec is a text codec. May import: wire, codec, types.

from collections.abc import Sequence

from fastpg.types import Range

from libc.stdint cimport int32_t, uint32_t

from fastpg.codecs.codec cimport (
    FORMAT_BINARY, FORMAT_TEXT, KIND_MULTIRANGE, KIND_RANGE, Codec, CodecHandle, decode_value, encode_value, malformed,
)
from fastpg.wire cimport Out, load_i32, out_begin_value, out_end_value, out_i32, out_u8, out_value

cdef enum:
    EMPTY = 0x01
    LOWER_INCLUSIVE = 0x02
    UPPER_INCLUSIVE = 0x04
    LOWER_INFINITE = 0x08
    UPPER_INFINITE = 0x10


cdef CodecHandle range_of(uint32_t oid, str name, CodecHandle bound):
    if bound.codec.format == FORMAT_TEXT:
        return CodecHandle.derive(oid, name, KIND_RANGE, FORMAT_TEXT, -1, 0, text_range_decode, text_range_encode,
                                  bound, None, ())
    return CodecHandle.derive(oid, name, KIND_RANGE, FORMAT_BINARY, -1, 0, range_decode, range_encode, bound, None, ())


cdef CodecHandle multirange_of(uint32_t oid, str name, CodecHandle range):
    if range.codec.format == FORMAT_TEXT:
        return CodecHandle.derive(oid, name, KIND_MULTIRANGE, FORMAT_TEXT, -1, 0, text_multirange_decode,
                                  text_multirange_encode, range, None, ())
    return CodecHandle.derive(oid, name, KIND_MULTIRANGE, FORMAT_BINARY, -1, 0, multirange_decode, multirange_encode,
                              range, None, ())


cdef object take_bound(const Codec *self, const char **p, const char *end):
    cdef int32_t n
    if end - p[0] < 4:
        return malformed(self, "truncated bound")
    n = load_i32(p[0])
    p[0] += 4
    if n < 0 or n > end - p[0]:
        return malformed(self, f"bound of {n} bytes")
    p[0] += n
    return decode_value(self.element, p[0] - n, n)


cdef object range_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef const char *end = p + n
    cdef unsigned char flags
    cdef object lower = None
    cdef object upper = None
    if n < 1:
        return malformed(self, "no flags")
    flags = <unsigned char>p[0]
    p += 1
    if flags & ~0x1f:
        return malformed(self, f"flags 0x{flags:02x}")
    if flags & EMPTY:
        if p != end:
            return malformed(self, "trailing bytes")
        return Range(empty=True)
    if not flags & LOWER_INFINITE:
        lower = take_bound(self, &p, end)
    if not flags & UPPER_INFINITE:
        upper = take_bound(self, &p, end)
    if p != end:
        return malformed(self, "trailing bytes")
    return Range(lower, upper, lower_inc=bool(flags & LOWER_INCLUSIVE), upper_inc=bool(flags & UPPER_INCLUSIVE))


cdef tuple parts_of(object value):
    # (flags, lower, upper) of what a user gives for a range.
    cdef int flags = 0
    cdef object lower = None
    cdef object upper = None
    if isinstance(value, Range):
        if value.isempty:
            flags = EMPTY
        else:
            lower, upper = value.lower, value.upper
            flags = (LOWER_INCLUSIVE if value.lower_inc else 0) | (UPPER_INCLUSIVE if value.upper_inc else 0)
    elif isinstance(value, (tuple, list)):
        if len(value) > 2:
            raise ValueError(f"expected 0, 1 or 2 elements in range (got {len(value)})")
        if len(value) == 0:
            flags = EMPTY
        else:
            lower = value[0]
            upper = value[1] if len(value) == 2 else None
            # Both bounds belong to it: a Range says otherwise where that is meant.
            flags = LOWER_INCLUSIVE | UPPER_INCLUSIVE
    else:
        raise TypeError(f"list, tuple or Range object expected (got type {type(value)})")
    if not flags & EMPTY:
        if lower is None:
            flags = (flags | LOWER_INFINITE) & ~LOWER_INCLUSIVE
        if upper is None:
            flags = (flags | UPPER_INFINITE) & ~UPPER_INCLUSIVE
    return flags, lower, upper


cdef int range_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at
    cdef int flags
    flags, lower, upper = parts_of(value)
    at = out_begin_value(out)
    out_u8(out, <unsigned char>flags)
    if lower is not None:
        self.element.encode(self.element, out, lower)
    if upper is not None:
        self.element.encode(self.element, out, upper)
    return out_end_value(out, at)


cdef object multirange_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef const char *end = p + n
    cdef int32_t _, count
    cdef list result = []
    if n < 4:
        return malformed(self, "no count")
    count = load_i32(p)
    p += 4
    # A range takes five bytes at the least.
    if count < 0 or count > (end - p) // 5:
        return malformed(self, f"{count} ranges in {end - p} bytes")
    for _ in range(count):
        result.append(take_bound(self, &p, end))
    if p != end:
        return malformed(self, "trailing bytes")
    return result


cdef list ranges_of(object value):
    if not isinstance(value, Sequence):
        raise TypeError(f"expected a sequence (got type {type(value).__name__!r})")
    return list(value)


cdef int multirange_encode(const Codec *self, Out *out, object value) except -1:
    cdef list items = ranges_of(value)
    cdef Py_ssize_t at = out_begin_value(out)
    out_i32(out, <int32_t>len(items))
    for item in items:
        self.element.encode(self.element, out, item)
    return out_end_value(out, at)


# ------------------------------------------------------------------------- text

cdef class TextRange:
    """A parser of the text form: 'empty', '[a,"b ""c")'."""
    cdef const Codec *codec         # of the range
    cdef bytes data
    cdef Py_ssize_t at

    cdef object fail(self, str reason):
        return malformed(self.codec, reason)

    cdef object range(self):
        cdef bytes opening = self.data[self.at:self.at + 1]
        if self.data[self.at:self.at + 5].lower() == b"empty":
            self.at += 5
            return Range(empty=True)
        if opening not in (b"[", b"("):
            return self.fail("no opening bracket")
        lower = self.bound()
        if self.data[self.at:self.at + 1] != b",":
            return self.fail("no comma between the bounds")
        upper = self.bound()
        closing = self.data[self.at:self.at + 1]
        if closing not in (b"]", b")"):
            return self.fail("no closing bracket")
        self.at += 1
        return Range(lower, upper, lower_inc=opening == b"[", upper_inc=closing == b"]")

    cdef object bound(self):
        # From behind a bracket or comma to the next one; empty without quotes is infinite.
        cdef bytearray text = bytearray()
        cdef bint quoted = False
        cdef bint any_quotes = False
        cdef bytes data = self.data
        cdef const Codec *element = self.codec.element
        self.at += 1
        while self.at < len(data):
            char = data[self.at:self.at + 1]
            if char == b"\\":
                self.at += 1
                text += data[self.at:self.at + 1]
            elif char == b'"':
                if quoted and data[self.at + 1:self.at + 2] == b'"':
                    self.at += 1
                    text += char
                else:
                    quoted = not quoted
                    any_quotes = True
            elif not quoted and char in b",])":
                break
            else:
                text += char
            self.at += 1
        if quoted:
            return self.fail("unterminated quotes")
        if not text and not any_quotes:
            return None
        content = bytes(text)
        return decode_value(element, content, len(content))


cdef TextRange parser(const Codec *range, const char *p, Py_ssize_t n):
    cdef TextRange self = TextRange.__new__(TextRange)
    self.codec = range
    self.data = p[:n]
    return self


cdef object text_range_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef TextRange text = parser(self, p, n)
    result = text.range()
    return result if text.at == n else malformed(self, "text after the range")


cdef bytes bound_text(const Codec *element, object value):
    if value is None:
        return b""
    return b'"' + encode_value(element, value).replace(b"\\", b"\\\\").replace(b'"', b'""') + b'"'


cdef bytes range_text(const Codec *self, object value):
    cdef int flags
    flags, lower, upper = parts_of(value)
    if flags & EMPTY:
        return b"empty"
    return b"%b%b,%b%b" % (b"[" if flags & LOWER_INCLUSIVE else b"(", bound_text(self.element, lower),
                           bound_text(self.element, upper), b"]" if flags & UPPER_INCLUSIVE else b")")


cdef int text_range_encode(const Codec *self, Out *out, object value) except -1:
    cdef bytes text = range_text(self, value)
    cdef const char *p = text
    return out_value(out, p, len(text))


cdef object text_multirange_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef TextRange text = parser(self.element, p, n)
    cdef list result = []
    if text.data == b"{}":
        return result
    while text.data[text.at:text.at + 1] == (b"," if text.at else b"{"):
        text.at += 1
        result.append(text.range())
    if text.at != n - 1 or text.data[text.at:] != b"}":
        return malformed(self, "no list of ranges in braces")
    return result


cdef int text_multirange_encode(const Codec *self, Out *out, object value) except -1:
    cdef bytes text = b"{" + b",".join([range_text(self.element, item) for item in ranges_of(value)]) + b"}"
    cdef const char *p = text
    return out_value(out, p, len(text))
