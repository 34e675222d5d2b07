# SPDX-License-Identifier: MIT
from libc.stdint cimport int32_t

from fastpg.codecs.codec cimport Codec
from fastpg.wire cimport Out

# The elements of a one-dimensional array of numbers; None when it is none, or malformed: the general way tells.
cdef list decode_numbers(const Codec *element, const char *p, const char *end, int32_t count)
# Write an array out of the memory of a buffer (array.array, a NumPy array) of the very type; False when it is not one.
cdef bint encode_buffer(const Codec *self, Out *out, object value) except -1
