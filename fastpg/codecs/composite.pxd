# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport Codec, CodecHandle


cdef class Members:
    """What a composite's or a record's codec needs to know."""
    cdef tuple names
    cdef tuple handles
    cdef object make            # tuple of values -> the composite value; None: the tuple itself
    cdef object lookup          # records: OID -> CodecHandle or None
    cdef str schema


# Text form when a member is a text codec: then all of them must be.
cdef CodecHandle composite_of(uint32_t oid, str name, tuple names, tuple members, object make, str schema)
cdef CodecHandle record_of(object lookup)
