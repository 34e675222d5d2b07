# SPDX-License-Identifier: MIT
# Arrays of any element (manual, "Arrays"; wire form in array_send): binary when the element is binary, else the text
# form. anyarray goes by the element type that the datum names. Lower bounds are dropped, or by option kept. May import:
# wire, codec, user, number_array, types.

import re
from collections.abc import Iterable, Mapping, Sized

from libc.stdint cimport int32_t, uint32_t

from fastpg.codecs.codec cimport (
    CODEC_BOUNDED, CODEC_LISTS, CODEC_ZERO_BASED, FORMAT_BINARY, KIND_ARRAY, KIND_COMPOSITE, KIND_MULTIRANGE,
    KIND_PATH, KIND_POLYGON, KIND_RECORD, Codec, CodecHandle, decode_value, encode_value, malformed,
)
from fastpg.codecs.number_array cimport decode_numbers, encode_buffer
from fastpg.codecs.user cimport decode_as_text
from fastpg.wire cimport Out, load_i32, load_u32, out_begin_value, out_end_value, out_i32, out_value

from fastpg.codecs._unknown import UnknownTypeError
from fastpg.exceptions import UnsupportedClientFeatureError
from fastpg.types import Array, BitString, Range

cdef enum:
    MAX_DIMENSIONS = 6          # the server's MAXDIM


cdef CodecHandle array_of(uint32_t oid, str name, CodecHandle element, str delimiter, bint bounds=False):
    cdef CodecHandle handle = CodecHandle.derive(
        oid, name, KIND_ARRAY, element.codec.format, -1, CODEC_BOUNDED if bounds else 0,
        array_decode if element.codec.format == FORMAT_BINARY else text_array_decode,
        array_encode if element.codec.format == FORMAT_BINARY else text_array_encode,
        element, None, ())
    handle.codec.delimiter = <char>ord(delimiter)
    if bounds:
        handle.codec.decode = bounded_decode if element.codec.format == FORMAT_BINARY else bounded_text_decode
    return handle


# ---------------------------------------------------------------------- binary

cdef object array_decode(const Codec *self, const char *p, Py_ssize_t n):
    return decode_elements(self, self.element, p, n)


cdef object bounded_decode(const Codec *self, const char *p, Py_ssize_t n):
    return with_bounds(decode_elements(self, self.element, p, n), p)


cdef object with_bounds(list values, const char *p):
    # p: the binary form, which has been decoded and so has its header.
    cdef int32_t i
    if not values:
        return Array()
    return Array(values, tuple([load_i32(p + 16 + 8 * i) for i in range(load_i32(p))]))


cdef object decode_elements(const Codec *self, const Codec *element, const char *p, Py_ssize_t n):
    cdef const char *end = p + n
    cdef int32_t ndim, i, size
    cdef int32_t dims[MAX_DIMENSIONS]
    cdef Py_ssize_t total = 1
    if n < 12:
        return malformed(self, "truncated array header")
    ndim = load_i32(p)
    if ndim < 0 or ndim > MAX_DIMENSIONS:
        return malformed(self, f"{ndim} dimensions")
    p += 12
    if ndim == 0:
        if p != end:
            return malformed(self, "trailing bytes")
        return []
    if end - p < 8 * ndim:
        return malformed(self, "truncated array header")
    for i in range(ndim):
        size = load_i32(p)
        p += 8
        # An element takes four bytes at the least, so the bytes at hand bound every product.
        if size < 0 or total and size > (end - p) // 4 // total + 1:
            return malformed(self, f"impossible dimension {size}")
        dims[i] = size
        total *= size
    if total == 0:
        return [] if p == end else malformed(self, "trailing bytes")
    if total > (end - p) // 4:
        return malformed(self, f"{total} elements in {end - p} bytes")
    if ndim == 1:
        result = decode_numbers(element, p, end, dims[0])
        if result is not None:
            return result
    result = decode_dimension(self, element, dims, ndim, &p, end)
    if p != end:
        return malformed(self, "trailing bytes")
    return result


cdef object decode_dimension(const Codec *self, const Codec *element, const int32_t *dims, int32_t ndim,
                             const char **p, const char *end):
    cdef Py_ssize_t _
    cdef int32_t length
    cdef object item
    cdef list result = []
    for _ in range(dims[0]):
        if ndim > 1:
            item = decode_dimension(self, element, dims + 1, ndim - 1, p, end)
        else:
            if end - p[0] < 4:
                return malformed(self, "truncated element")
            length = load_i32(p[0])
            p[0] += 4
            if length == -1:
                item = None
            elif length < 0 or length > end - p[0]:
                return malformed(self, f"element of {length} bytes")
            elif element.size >= 0 and length != element.size:
                return malformed(self, f"element of {length} bytes, expected {element.size}")
            else:
                item = element.decode(element, p[0], length)
                p[0] += length
        result.append(item)
    return result


cdef bint is_array(object value) except -1:
    if isinstance(value, (list, tuple)):
        return True
    if isinstance(value, (str, bytes, bytearray, memoryview, Mapping, BitString)):
        return False
    return isinstance(value, Sized) and isinstance(value, Iterable)


cdef bint is_subarray(const Codec *element, object value) except -1:
    # Tuples are records. Where the element's own values are containers, only lists nest. A list of ranges is a
    # multirange. Arrays of a domain over arrays have one dimension: what is in a list is the domain's. So have arrays
    # of JSON as Python objects, whose lists are JSON's.
    if element.kind == KIND_ARRAY or element.flags & CODEC_LISTS:
        return False
    if isinstance(value, list):
        return element.kind != KIND_MULTIRANGE or not all([isinstance(item, Range) for item in value])
    if isinstance(value, tuple) or element.kind in (KIND_COMPOSITE, KIND_RECORD, KIND_PATH, KIND_POLYGON,
                                                    KIND_MULTIRANGE):
        return False
    return hasattr(value, "__len__") and is_array(value)


cdef int require_array(object value) except -1:
    if not is_array(value):
        raise TypeError(f"a sized iterable container expected (got type {type(value).__name__!r})")
    return 0


cdef list shape_of(const Codec *element, object value):
    # The lengths along the first elements; the writers check that all others agree, require_shape() where none write.
    cdef list dims = []
    while True:
        dims.append(len(value))
        if len(dims) > MAX_DIMENSIONS:
            raise ValueError(f"number of array dimensions ({len(dims)}) exceed the maximum expected "
                             f"({MAX_DIMENSIONS})")
        if len(value) == 0:
            return dims
        first = next(iter(value))
        if first is None or not is_subarray(element, first):
            return dims
        value = first


cdef int require_shape(const Codec *element, object value, list dims, Py_ssize_t depth) except -1:
    # An array whose first elements are empty is the empty array only if all the others are as empty.
    if len(value) != <Py_ssize_t>dims[depth]:
        raise ValueError("non-homogeneous array")
    if depth + 1 < len(dims):
        for item in value:
            if item is None or not is_subarray(element, item):
                raise ValueError("non-homogeneous array")
            require_shape(element, item, dims, depth + 1)
    return 0


cdef tuple bounds_of(object value, list dims):
    # The lower bounds that a value brings along; None for the usual ones.
    if type(value) is list or not isinstance(value, Array):
        return None
    bounds = value.lower_bounds
    if not bounds or not dims:
        return None
    if len(bounds) != len(dims):
        raise ValueError(f"{len(bounds)} lower bounds for an array of {len(dims)} dimensions")
    return bounds


cdef int array_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at
    cdef list dims
    cdef tuple bounds
    cdef Py_ssize_t i
    if not isinstance(value, list) and encode_buffer(self, out, value):
        return 0
    require_array(value)
    dims = shape_of(self.element, value)
    at = out_begin_value(out)
    if 0 in dims:
        require_shape(self.element, value, dims, 0)
        dims = [0] if self.flags & CODEC_ZERO_BASED else []
    out_i32(out, <int32_t>len(dims))
    out_i32(out, 1 if dims and has_null(self.element, value, len(dims)) else 0)
    out_i32(out, <int32_t>self.element.oid)
    bounds = bounds_of(value, dims)
    for i in range(len(dims)):
        out_i32(out, <int32_t>dims[i])
        out_i32(out, 0 if self.flags & CODEC_ZERO_BASED else 1 if bounds is None else <int32_t>bounds[i])
    if dims:
        encode_dimension(self.element, out, value, dims, 0)
    return out_end_value(out, at)


cdef bint has_null(const Codec *element, object value, Py_ssize_t depth) except -1:
    for item in value:
        if item is None or depth > 1 and is_array(item) and has_null(element, item, depth - 1):
            return True
    return False


cdef int encode_dimension(const Codec *element, Out *out, object value, list dims, Py_ssize_t depth) except -1:
    cdef Py_ssize_t i = 0, expected = dims[depth]
    cdef bint last = depth + 1 == len(dims)
    for item in value:
        if i >= expected:
            raise ValueError("non-homogeneous array")
        if not last:
            if not is_subarray(element, item) or len(item) != <Py_ssize_t>dims[depth + 1]:
                raise ValueError("non-homogeneous array")
            encode_dimension(element, out, item, dims, depth + 1)
        elif item is None:
            out_i32(out, -1)
        else:
            try:
                element.encode(element, out, item)
            except (TypeError, ValueError, OverflowError) as error:
                if is_subarray(element, item):
                    raise ValueError("non-homogeneous array") from None
                raise ValueError(f"invalid array element at index {i}: {error}") from error
        i += 1
    if i != expected:
        raise ValueError("non-homogeneous array")
    return 0


# -------------------------------------------------------------------- anyarray

cdef CodecHandle any_array_of(object lookup, bint bounds=False):
    return CodecHandle.derive(2277, "anyarray", KIND_ARRAY, FORMAT_BINARY, -1, 0,
                              bounded_any_decode if bounds else any_array_decode, any_array_encode, None, lookup, ())


cdef object bounded_any_decode(const Codec *self, const char *p, Py_ssize_t n):
    return with_bounds(any_array_decode(self, p, n), p)


cdef object any_array_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef CodecHandle element
    cdef uint32_t oid
    if n < 12:
        return malformed(self, "truncated array header")
    oid = load_u32(p + 8)
    element = (<object>self.extra)(oid)
    if element is None:
        raise UnknownTypeError(oid)
    if element.codec.format == FORMAT_BINARY:
        return decode_elements(self, element.codec, p, n)
    # Its elements came in a binary form that only some text codecs can be given.
    return decode_elements(self, in_container(element).codec, p, n)


cdef CodecHandle in_container(CodecHandle element):
    return CodecHandle.derive(element.codec.oid, element.name, KIND_ARRAY, FORMAT_BINARY, -1, 0, contained_decode,
                              any_array_encode, element, None, ())


cdef object contained_decode(const Codec *self, const char *p, Py_ssize_t n):
    return decode_as_text(self.element, p, n, "anyarray")


cdef int any_array_encode(const Codec *self, Out *out, object value) except -1:
    raise UnsupportedClientFeatureError("input of anyarray is not supported",
                                        hint="Cast the parameter to an array type.")


# ------------------------------------------------------------------------ text

cdef class TextArray:
    """A parser of the text form: '[1:2]={{1,"a b"},{NULL,x}}'."""
    cdef const Codec *codec
    cdef bytes data
    cdef Py_ssize_t at

    cdef object fail(self, str reason):
        return malformed(self.codec, reason)

    cdef tuple bounds(self):
        # The lower bounds: one for each dimension, which are as many as there are braces in a row.
        cdef bytes data = self.data
        cdef Py_ssize_t start = data.find(b"{")
        cdef Py_ssize_t depth = len(data) - start - len(data[start:].lstrip(b"{"))
        found = [int(low) for low in re.findall(rb"\[(-?\d+):", data[:start])]
        return tuple(found) if found else (1,) * depth

    cdef object parse(self):
        cdef bytes data = self.data
        if data[:1] == b"[":
            self.at = data.find(b"=") + 1
            if self.at == 0:
                return self.fail("bounds without an array")
        result = self.level(1)
        if self.at != len(data):
            return self.fail("text after the array")
        return result

    cdef object level(self, int depth):
        cdef bytes data = self.data
        cdef bytes delimiter = bytes([self.codec.delimiter])
        cdef list result = []
        if depth > MAX_DIMENSIONS:
            return self.fail("too many dimensions")
        if data[self.at:self.at + 1] != b"{":
            return self.fail("missing brace")
        self.at += 1
        if data[self.at:self.at + 1] == b"}":
            self.at += 1
            return result
        while True:
            first = data[self.at:self.at + 1]
            if first == b"{":
                result.append(self.level(depth + 1))
            else:
                result.append(self.element(first == b'"', delimiter))
            following = data[self.at:self.at + 1]
            self.at += 1
            if following == b"}":
                return result
            if following != delimiter:
                return self.fail("unterminated array")

    cdef object element(self, bint quoted, bytes delimiter):
        cdef bytes data = self.data
        cdef bytearray text = bytearray()
        if quoted:
            self.at += 1
        while self.at < len(data):
            char = data[self.at:self.at + 1]
            if quoted and char == b'"':
                self.at += 1
                break
            if not quoted and (char == delimiter or char == b"}"):
                break
            if char == b"\\":
                self.at += 1
                char = data[self.at:self.at + 1]
            text += char
            self.at += 1
        else:
            return self.fail("unterminated element")
        if not quoted and bytes(text).upper() == b"NULL":
            return None
        content = bytes(text)
        return decode_value(self.codec.element, content, len(content))


cdef object text_array_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef TextArray parser = TextArray.__new__(TextArray)
    parser.codec = self
    parser.data = p[:n]
    return parser.parse()


cdef object bounded_text_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef TextArray parser = TextArray.__new__(TextArray)
    parser.codec = self
    parser.data = p[:n]
    values = parser.parse()
    return Array(values, parser.bounds()) if values else Array()


cdef bytes text_of(const Codec *self, object value, list dims, Py_ssize_t depth):
    cdef bytes delimiter = bytes([self.delimiter])
    cdef list parts = []
    if len(value) != <Py_ssize_t>dims[depth]:
        raise ValueError("non-homogeneous array")
    for i, item in enumerate(value):
        if depth + 1 < len(dims):
            if not is_subarray(self.element, item):
                raise ValueError("non-homogeneous array")
            parts.append(text_of(self, item, dims, depth + 1))
        elif item is None:
            parts.append(b"NULL")
        else:
            try:
                content = encode_value(self.element, item)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"invalid array element at index {i}: {error}") from error
            parts.append(b'"' + content.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"')
    return b"{" + delimiter.join(parts) + b"}"


cdef int text_array_encode(const Codec *self, Out *out, object value) except -1:
    cdef list dims
    cdef tuple bounds
    cdef bytes text
    cdef const char *p
    require_array(value)
    dims = shape_of(self.element, value)
    if 0 in dims:
        require_shape(self.element, value, dims, 0)
        text = b"{}"
    else:
        text = text_of(self, value, dims, 0)
    bounds = bounds_of(value, dims) if text != b"{}" else None
    if bounds is not None:
        text = b"".join([b"[%d:%d]" % (low, low + size - 1) for low, size in zip(bounds, dims)]) + b"=" + text
    p = text
    return out_value(out, p, len(text))
