# SPDX-License-Identifier: MIT
# Codecs of functions that users give: with str (text), bytes (binary) or tuples (tuple). Whatever such a function
# raises is raised to whoever made the query; the rows behind it are read and the connection lives. Where one of the two
# is None, the type's own codec does its work, in the same format.
# May import: wire, codec, textform, exceptions.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, int32_t, int64_t, uint32_t

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, FORMAT_BINARY, FORMAT_TEXT, KIND_COMPOSITE, KIND_DATE, KIND_INTERVAL, KIND_JSON, KIND_PYTHON,
    KIND_TEXT, KIND_TIME, KIND_TIMESTAMP, KIND_TIMESTAMPTZ, KIND_TIMETZ, Codec, CodecHandle, decode_value,
    encode_value, type_name,
)
from fastpg.codecs.textform cimport resolve
from fastpg.wire cimport Out, load_i32, load_i64, out_begin_value, out_end_value, out_i32, out_i64, out_value

from fastpg.exceptions import (
    InterfaceError, ProtocolError, UnrepresentableValueError, UnsupportedClientFeatureError,
)


cdef class Functions:
    cdef object encoder
    cdef object decoder
    cdef str encoding               # Python's name of the client encoding
    cdef CodecHandle base           # the type's own codec, or None
    cdef CodecHandle own            # it in the format of the functions, for one that is None
    cdef object parse               # text form -> binary form, in user_in_text()
    cdef object render


cdef CodecHandle user_codec(uint32_t oid, str name, object encoder, object decoder, str format, CodecHandle base,
                            str encoding, CodecHandle own=None):
    cdef Functions functions = Functions.__new__(Functions)
    functions.encoder = encoder
    functions.decoder = decoder
    functions.encoding = "utf-8" if encoding is None else encoding
    functions.base = base
    functions.own = own
    if (encoder is None or decoder is None) and own is None:
        raise InterfaceError(
            f"type {name!r} has no codec of its own in {format} format: an encoder and a decoder are needed")
    if format == "text":
        return CodecHandle.derive(oid, name, KIND_PYTHON, FORMAT_TEXT, -1, 0, text_decode, text_encode, None,
                                  functions, (base,))
    if format == "binary":
        return CodecHandle.derive(oid, name, KIND_PYTHON, FORMAT_BINARY, -1, 0, binary_decode, binary_encode, None,
                                  functions, (base,))
    if base is not None and base.codec.kind == KIND_COMPOSITE:
        return CodecHandle.derive(oid, name, KIND_PYTHON, base.codec.format, -1, 0, composite_decode,
                                  composite_encode, None, functions, (base,))
    if base is None or not has_tuples(base.codec):
        raise InterfaceError(f"{name} type does not support the 'tuple' exchange format")
    return CodecHandle.derive(oid, name, KIND_PYTHON, FORMAT_BINARY, base.codec.size, 0, tuple_decode, tuple_encode,
                              None, functions, (base,))


cdef object call(const Codec *self, str what, object function, object value):
    try:
        return function(value)
    except (StopIteration, StopAsyncIteration, ProtocolError) as error:
        # The one cannot be set on a Future, the others would be taken for the end of a cursor and a broken stream.
        raise RuntimeError(f"the {what} of type {self.name.decode()!r} raised {error!r}") from error


# ------------------------------------------------------------------------- text

cdef object text_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Functions functions = <Functions>self.extra
    if functions.decoder is None:
        return decode_value(functions.own.codec, p, n)
    try:
        text = p[:n].decode(functions.encoding)
    except UnicodeDecodeError as error:
        raise UnrepresentableValueError(f"value of type {self.name.decode()!r}: {error}") from error
    return call(self, "decoder", functions.decoder, text)


cdef bytes encoded(const Codec *self, object value):
    cdef Functions functions = <Functions>self.extra
    text = call(self, "encoder", functions.encoder, value)
    if not isinstance(text, str):
        raise TypeError(f"expected str, got {type(text).__name__}")
    return text.encode(functions.encoding)


cdef int text_encode(const Codec *self, Out *out, object value) except -1:
    cdef Functions functions = <Functions>self.extra
    cdef bytes data
    cdef const char *p
    if functions.encoder is None:
        return functions.own.codec.encode(functions.own.codec, out, value)
    data = encoded(self, value)
    p = data
    return out_value(out, p, len(data))


# ----------------------------------------------------------------------- binary

cdef object binary_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Functions functions = <Functions>self.extra
    if functions.decoder is None:
        return decode_value(functions.own.codec, p, n)
    return call(self, "decoder", functions.decoder, p[:n])


cdef int binary_encode(const Codec *self, Out *out, object value) except -1:
    cdef Functions functions = <Functions>self.extra
    cdef Py_buffer view
    if functions.encoder is None:
        return functions.own.codec.encode(functions.own.codec, out, value)
    data = call(self, "encoder", functions.encoder, value)
    try:
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    except (TypeError, BufferError):
        raise TypeError(f"a bytes-like object is required, not '{type_name(data)}'") from None
    try:
        return out_value(out, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


# ---------------------------------------------- tuples: the fields of the binary form

cdef bint has_tuples(const Codec *codec) noexcept:
    return codec.kind in (KIND_DATE, KIND_TIME, KIND_TIMETZ, KIND_TIMESTAMP, KIND_TIMESTAMPTZ, KIND_INTERVAL)


cdef object tuple_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Functions functions = <Functions>self.extra
    cdef int kind = functions.base.codec.kind
    if functions.decoder is None:
        return functions.own.codec.decode(functions.own.codec, p, n)
    if kind == KIND_DATE:
        fields = (load_i32(p),)
    elif kind == KIND_TIMETZ:
        fields = (load_i64(p), load_i32(p + 8))
    elif kind == KIND_INTERVAL:
        fields = (load_i32(p + 12), load_i32(p + 8), load_i64(p))
    else:
        fields = (load_i64(p),)
    return call(self, "decoder", functions.decoder, fields)


cdef int64_t integer(object value, int64_t low, int64_t high) except? -1:
    if not isinstance(value, int):
        if not hasattr(value, "__index__"):
            raise TypeError("an integer is required")
        value = value.__index__()
    if value < low or value > high:
        raise OverflowError(f"{value} is out of range")
    return value


cdef int tuple_encode(const Codec *self, Out *out, object value) except -1:
    cdef Functions functions = <Functions>self.extra
    cdef int kind = functions.base.codec.kind
    cdef Py_ssize_t at
    cdef Py_ssize_t expected = 3 if kind == KIND_INTERVAL else 2 if kind == KIND_TIMETZ else 1
    if functions.encoder is None:
        return functions.own.codec.encode(functions.own.codec, out, value)
    fields = call(self, "encoder", functions.encoder, value)
    if len(fields) != expected:
        name = ("date" if kind == KIND_DATE else "interval" if kind == KIND_INTERVAL
                else "time" if kind in (KIND_TIME, KIND_TIMETZ) else "timestamp")
        raise ValueError(f"{name} tuple encoder: expecting {expected} element{'s' if expected > 1 else ''} in tuple, "
                         f"got {len(fields)}")
    at = out_begin_value(out)
    if kind == KIND_DATE:
        out_i32(out, <int32_t>integer(fields[0], INT32_MIN, INT32_MAX))
    elif kind == KIND_TIMETZ:
        out_i64(out, integer(fields[0], INT64_MIN, INT64_MAX))
        out_i32(out, <int32_t>integer(fields[1], INT32_MIN, INT32_MAX))
    elif kind == KIND_INTERVAL:
        out_i64(out, integer(fields[2], INT64_MIN, INT64_MAX))
        out_i32(out, <int32_t>integer(fields[1], INT32_MIN, INT32_MAX))
        out_i32(out, <int32_t>integer(fields[0], INT32_MIN, INT32_MAX))
    else:
        out_i64(out, integer(fields[0], INT64_MIN, INT64_MAX))
    return out_end_value(out, at)


# ------------------------------------------------- composites: the tuple of their members

cdef object composite_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Functions functions = <Functions>self.extra
    value = decode_value(functions.base.codec, p, n)
    return value if functions.decoder is None else call(self, "decoder", functions.decoder, value)


cdef int composite_encode(const Codec *self, Out *out, object value) except -1:
    cdef Functions functions = <Functions>self.extra
    members = value if functions.encoder is None else call(self, "encoder", functions.encoder, value)
    return functions.base.codec.encode(functions.base.codec, out, members)


# ------------------------------------------------------- built-in codecs, by the user's word

cdef CodecHandle builtin_codec(uint32_t oid, str name, CodecHandle target):
    cdef Functions functions = Functions.__new__(Functions)
    cdef CodecHandle handle
    functions.encoding = "utf-8"
    functions.base = target
    handle = CodecHandle.derive(oid, name, KIND_PYTHON, target.codec.format, -1, target.codec.flags & CODEC_ATOMIC,
                                builtin_decode, builtin_encode, None, functions, (target,))
    handle.codec.element = target.codec
    return handle


cdef object builtin_decode(const Codec *self, const char *p, Py_ssize_t n):
    try:
        return decode_value(self.element, p, n)
    except ProtocolError as error:
        raise UnrepresentableValueError(
            f"value of type {self.name.decode()!r} is none of {self.element.name.decode()!r}, whose codec was set for "
            f"it: {error}") from error


cdef int builtin_encode(const Codec *self, Out *out, object value) except -1:
    return self.element.encode(self.element, out, value)


# ------------------------------------------------------------- the other form

cdef CodecHandle base_of(CodecHandle handle):
    return (<Functions>handle.codec.extra).base


cdef CodecHandle over_base(CodecHandle handle, CodecHandle base):
    cdef Functions functions = <Functions>handle.codec.extra
    return user_codec(handle.codec.oid, handle.name, functions.encoder, functions.decoder, "tuple", base,
                      functions.encoding, base)


# regproc, regprocedure, regoper, regoperator, regclass, regtype, regconfig, regdictionary, regnamespace, regrole,
# regcollation, regdatabase: src/include/catalog/pg_type.dat.
cdef frozenset REG_OIDS = frozenset((24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191, 6490))


cdef object decode_as_text(const Codec *codec, const char *p, Py_ssize_t n, str container):
    cdef Functions functions
    cdef CodecHandle base
    cdef bytes text = None
    cdef uint32_t number
    if codec.kind == KIND_PYTHON:
        functions = <Functions>codec.extra
        base = resolve(functions.base) if functions.base is not None else None
        if base is not None and base.codec.kind in (KIND_JSON, KIND_TEXT) and base.codec.format == FORMAT_BINARY:
            return codec.decode(codec, p, n)
        if base is not None:
            from fastpg.codecs._textform import RENDER
            render = RENDER.get(base.codec.oid)
            if render is not None:
                text = render(p[:n]).encode(functions.encoding)
    elif codec.kind == KIND_TEXT and n in (6, 8) and codec.oid in (829, 774):
        text = p[:n].hex(":").encode()
    elif codec.kind == KIND_TEXT and n == 4 and codec.oid in REG_OIDS:
        # The name of the object is not in the message: its OID, which the server's input takes as well.
        number = <uint32_t>load_i32(p)
        text = b"-" if number == 0 else b"%d" % number
    if text is None:
        raise UnsupportedClientFeatureError(
            f"cannot decode type {codec.name.decode()!r} inside {container!r}: its binary form is not known",
            hint="Cast it to text in the query.")
    p = text
    return codec.decode(codec, p, len(text))


cdef CodecHandle user_in_text(CodecHandle handle):
    cdef Functions functions = <Functions>handle.codec.extra
    cdef Functions mine
    cdef CodecHandle base = resolve(functions.base) if functions.base is not None else None
    cdef CodecHandle twin
    if base is None or base.codec.kind == KIND_COMPOSITE:
        return None
    from fastpg.codecs._textform import PARSE, RENDER
    mine = Functions.__new__(Functions)
    mine.encoding, mine.base = functions.encoding, functions.base
    if base.codec.oid in PARSE:
        mine.parse, mine.render = PARSE[base.codec.oid], RENDER[base.codec.oid]
    elif base.codec.kind in (KIND_JSON, KIND_TEXT) and base.codec.format == FORMAT_BINARY:
        mine.parse, mine.render = str.encode, bytes.decode
    else:
        return None
    # Keeps the handle, whose functions it calls.
    twin = CodecHandle.derive(handle.codec.oid, handle.name, KIND_PYTHON, FORMAT_TEXT, -1, 0, other_decode,
                              other_encode, None, mine, (handle,))
    twin.codec.element = handle.codec
    return twin


cdef object other_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Functions functions = <Functions>self.extra
    cdef bytes payload = functions.parse(p[:n].decode(functions.encoding))
    return decode_value(self.element, payload, len(payload))


cdef int other_encode(const Codec *self, Out *out, object value) except -1:
    cdef Functions functions = <Functions>self.extra
    cdef bytes text = functions.render(encode_value(self.element, value)).encode()
    cdef const char *p = text
    return out_value(out, p, len(text))
