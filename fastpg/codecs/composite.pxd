# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport CodecHandle

cdef CodecHandle composite_of(uint32_t oid, str name, tuple names, tuple members, object make)
cdef CodecHandle record_of(object lookup)
