# SPDX-License-Identifier: MIT
# The status of a statement, as users see it. May import: types.

from fastpg.types import CommandStatus

cdef enum:
    MAX_KNOWN = 512

# Tags that have been seen: most executions end with one of a few, and a look-up costs less than to make a str.
cdef dict known = {}
cdef object NOTHING = CommandStatus()


cpdef object command_status(bytes tag):
    """The CommandStatus of a CommandComplete's tag; '' for None."""
    if tag is None:
        return NOTHING
    status = known.get(tag)
    if status is None:
        status = CommandStatus(tag.decode("latin-1"))
        if len(known) >= MAX_KNOWN:
            known.clear()
        known[tag] = status
    return status
