# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport CodecHandle


cdef class CodecOptions:
    cdef object json                # (loads, dumps, whether loads takes str), or None
    cdef dict codecs                # OID -> CodecHandle
    cdef bint array_bounds          # arrays keep their lower bounds

    # The codec of a type by these options, or None. encoding: Python's name of the client encoding, None for UTF-8.
    cdef CodecHandle find(self, uint32_t oid, str encoding)
