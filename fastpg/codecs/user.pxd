# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport Codec, CodecHandle

# A codec of Python functions. format: "text", "binary" or "tuple". base: the type's own codec, None when it has none.
# own: the same in this format, for an encoder or decoder that is None.
cdef CodecHandle user_codec(uint32_t oid, str name, object encoder, object decoder, str format, CodecHandle base,
                            str encoding, CodecHandle own=*)
# Decode the binary form with a codec that wants the text form, where the one can be made of the other.
cdef object decode_as_text(const Codec *codec, const char *p, Py_ssize_t n, str container)
# The same user codec over the text form of its type; None where the binary form cannot be made of it.
cdef CodecHandle user_in_text(CodecHandle handle)
# A built-in codec for a type that a user says it fits. Bytes that do not fit it are an error of that value alone.
cdef CodecHandle builtin_codec(uint32_t oid, str name, CodecHandle target)
# The type's own codec below a user's, or None; and the same functions over another one.
cdef CodecHandle base_of(CodecHandle handle)
cdef CodecHandle over_base(CodecHandle handle, CodecHandle base)
