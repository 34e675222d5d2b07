# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport Codec, CodecHandle
from fastpg.wire cimport Out

# bounds: the values are of the class types.Array, with their lower bounds.
cdef CodecHandle array_of(uint32_t oid, str name, CodecHandle element, str delimiter, bint bounds=*)
# anyarray. lookup: OID -> CodecHandle or None.
cdef CodecHandle any_array_of(object lookup, bint bounds=*)
cdef object array_decode(const Codec *self, const char *p, Py_ssize_t n)
cdef int array_encode(const Codec *self, Out *out, object value) except -1
