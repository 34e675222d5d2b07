# SPDX-License-Identifier: MIT
# A str as its UTF-8 bytes: the payload of the text types, and of every type transferred in its text form.

from fastpg.codecs.codec cimport Codec
from fastpg.wire cimport Out


# UTF-8, strictly; anything else raises UnrepresentableValueError.
cdef object text_decode(const Codec *self, const char *p, Py_ssize_t n)
# str only; the length and the UTF-8 bytes.
cdef int text_encode(const Codec *self, Out *out, object value) except -1
# The same with one byte between the length and the text (jsonb and jsonpath carry a version there).
cdef int text_encode_versioned(Out *out, object value, char version) except -1
# In another client encoding: codec.extra is Python's name of it.
cdef object encoded_decode(const Codec *self, const char *p, Py_ssize_t n)
cdef int encoded_encode(const Codec *self, Out *out, object value) except -1
