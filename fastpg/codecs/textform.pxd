# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport Codec, CodecHandle

cdef enum:
    # The codec of another type under an OID of its own (a domain, a built-in alias): handle.children[2][0] is that one.
    CODEC_ALIAS = 4

# The same codec for another OID: arrays and composites name the OID of a domain, not of its base type.
cdef CodecHandle alias_of(CodecHandle handle, uint32_t oid, str name)
# The codec of a scalar in its text form, the same Python values; None when its text form is not known.
cdef CodecHandle scalar_in_text(CodecHandle handle)
# The handle that an alias stands for, itself when it is none.
cdef CodecHandle resolve(CodecHandle handle)
