# SPDX-License-Identifier: MIT
# What a connection may have instead of the built-in codecs of dates, times and intervals.

from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport CodecHandle


# out_of_range: one of MODES, for what Python's types cannot hold. max_is_infinity: date.max and date.min, datetime.max
# and datetime.min are sent as the infinities.
cdef CodecHandle temporal_by(uint32_t oid, str out_of_range, bint max_is_infinity)
