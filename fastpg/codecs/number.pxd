# SPDX-License-Identifier: MIT
# What a connection may have instead of the built-in codecs of the integers.

from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport Codec


# A codec that refuses what has a fraction instead of cutting it off, or NULL when the type is no integer. Static.
cdef const Codec *strict_number(uint32_t oid) noexcept
