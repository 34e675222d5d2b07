# SPDX-License-Identifier: MIT
"""What lives no longer than a connection's loan from its pool, for extensions that keep a connection.

Statements, cursors and transactions of fastpg have checks of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from fastpg import exceptions

_F = TypeVar("_F", bound=Callable[..., Any])


def guarded(meth: _F) -> _F:
    """A method of a :class:`ConnectionResource` that raises InterfaceError when its connection is gone."""

    @functools.wraps(meth)
    def check(self: ConnectionResource, *args: Any, **kwargs: Any) -> Any:
        self._check_conn_validity(meth.__name__)
        return meth(self, *args, **kwargs)

    return check  # type: ignore[return-value]


class ConnectionResource:
    """Base for what belongs to a connection until that is closed or released."""

    __slots__ = ("_con_release_ctr", "_connection")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._con_release_ctr = connection._pool_release_ctr

    def _check_conn_validity(self, meth_name: str) -> None:
        name = f"{type(self).__name__}.{meth_name}()"
        if self._con_release_ctr != self._connection._pool_release_ctr:
            raise exceptions.InterfaceError(
                f"cannot call {name}: the underlying connection has been released back to the pool"
            )
        if self._connection.is_closed():
            raise exceptions.InterfaceError(f"cannot call {name}: the underlying connection is closed")
