# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport CodecHandle

cdef CodecHandle range_of(uint32_t oid, str name, CodecHandle bound)
cdef CodecHandle multirange_of(uint32_t oid, str name, CodecHandle range)
