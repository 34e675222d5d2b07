# SPDX-License-Identifier: MIT
# Scalars in their text form: what a container needs that can only travel as text. The text is turned into the
# binary form and read by the type's own codec, so the values are the same. And aliases: one type's codec under
# another OID. May import: wire, codec, _textform, exceptions.

from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport (
    FORMAT_TEXT, KIND_JSON, KIND_JSONB, KIND_TEXT, Codec, CodecHandle, Kind, decode_value, encode_value,
)
from fastpg.wire cimport Out, out_value

from fastpg.exceptions import UnrepresentableValueError


cdef CodecHandle alias_of(CodecHandle handle, uint32_t oid, str name):
    cdef Codec *codec = handle.codec
    cdef CodecHandle alias = CodecHandle.derive(
        oid, name, <Kind>codec.kind, codec.format, codec.size, codec.flags | CODEC_ALIAS, codec.decode, codec.encode,
        None, None, (handle,))
    # Borrowed from the handle, which lives as long as its alias.
    alias.codec.element = codec.element
    alias.codec.extra = codec.extra
    alias.codec.delimiter = codec.delimiter
    return alias


cdef CodecHandle resolve(CodecHandle handle):
    while handle.codec.flags & CODEC_ALIAS:
        handle = <CodecHandle>(<tuple>handle.children)[2][0]
    return handle


cdef class TextForm:
    cdef CodecHandle binary         # the type's own codec
    cdef object parse
    cdef object render


cdef CodecHandle scalar_in_text(CodecHandle handle):
    cdef CodecHandle origin = resolve(handle)
    cdef CodecHandle twin
    cdef TextForm form
    if handle.codec.format == FORMAT_TEXT:
        return handle
    if origin.codec.kind in (KIND_TEXT, KIND_JSON, KIND_JSONB):
        # The binary form is the text, but for the version byte of jsonb, which its codec leaves out then.
        twin = alias_of(handle, handle.codec.oid, handle.name)
        twin.codec.format = FORMAT_TEXT
        return twin
    from fastpg.codecs import _textform     # it uses codecs itself
    if origin.codec.oid not in _textform.PARSE:
        return None
    form = TextForm.__new__(TextForm)
    form.binary = origin
    form.parse = _textform.PARSE[origin.codec.oid]
    form.render = _textform.RENDER[origin.codec.oid]
    return CodecHandle.derive(handle.codec.oid, handle.name, <Kind>origin.codec.kind, FORMAT_TEXT, -1,
                              origin.codec.flags & ~CODEC_ALIAS, form_decode, form_encode, None, form, (origin,))


cdef object form_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef TextForm form = <TextForm>self.extra
    cdef bytes payload
    text = p[:n].decode("utf-8", "replace")
    try:
        payload = form.parse(text)
    except Exception as error:
        # No proof of a broken stream: DateStyle and IntervalStyle change these texts.
        raise UnrepresentableValueError(f"value of type {self.name.decode()} in its text form: {error}") from error
    return decode_value(form.binary.codec, payload, len(payload))


cdef int form_encode(const Codec *self, Out *out, object value) except -1:
    cdef TextForm form = <TextForm>self.extra
    cdef bytes text = form.render(encode_value(form.binary.codec, value)).encode()
    cdef const char *p = text
    return out_value(out, p, len(text))


# ------------------------------------------------------------------------ for tests

def text_of(oid: int, value) -> bytes:
    """The text form of one value of a built-in type."""
    return encode_value(twin_of(oid).codec, value)


def from_text(oid: int, text: bytes):
    """The value that the text form of a built-in type stands for."""
    cdef const char *p = text
    return decode_value(twin_of(oid).codec, p, len(text))


cdef CodecHandle twin_of(uint32_t oid):
    from fastpg.codecs.codec import builtin_handle
    handle = builtin_handle(oid)
    twin = scalar_in_text(handle) if handle is not None else None
    if twin is None:
        raise LookupError(f"no text form for OID {oid}")
    return twin
