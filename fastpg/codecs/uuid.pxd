# SPDX-License-Identifier: MIT
# What a connection may have instead of the built-in codec of uuid.

from fastpg.codecs.codec cimport Codec


# The codec of uuid with values of the class uuid.UUID itself. Static.
cdef const Codec *uuid_as_plain() noexcept
