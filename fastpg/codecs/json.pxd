# SPDX-License-Identifier: MIT
# What a connection may have instead of the built-in codecs of json, jsonb and jsonpath.

from libc.stdint cimport uint32_t

from fastpg.codecs.codec cimport Codec, CodecHandle


# The text in another client encoding (Python's name of it).
cdef CodecHandle json_text(const Codec *codec, str encoding)
# Python objects: json (114) or jsonb (3802) by loads and dumps. loads gets bytes, or str when it `takes_text`; dumps
# returns str or UTF-8 bytes. encoding: None for UTF-8.
cdef CodecHandle json_objects(uint32_t oid, object loads, object dumps, bint takes_text, str encoding)
