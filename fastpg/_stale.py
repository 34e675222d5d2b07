# SPDX-License-Identifier: MIT
"""Objects of a connection that outlive it, or its time with whom they were made for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastpg import exceptions

if TYPE_CHECKING:
    from fastpg.connection import Connection


def check_stale(kind: str, method: str, connection: Connection[Any], releases: int) -> None:
    """Raise InterfaceError when the connection is closed, or has gone back to its pool since `releases` was read."""
    if connection._pool_release_ctr != releases:
        why = "has been released back to the pool"
    elif connection.is_closed():
        why = "is closed"
    else:
        return
    raise connection._not_sent(
        exceptions.InterfaceError(f"cannot call {kind}.{method}(): the underlying connection {why}")
    )
