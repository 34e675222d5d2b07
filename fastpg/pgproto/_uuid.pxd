# SPDX-License-Identifier: MIT
# The uuid.UUID that PostgreSQL's uuid becomes.

# A new UUID from 16 bytes in network order.
cdef object uuid_from_bytes(const char *p)
# The same as a uuid.UUID itself.
cdef object plain_uuid_from_bytes(const char *p)
