# SPDX-License-Identifier: MIT
"""Shapes of statements: what the server has described of them, shared by all connections of the process.

With a shape a connection can parse, bind and execute a statement that is new to it in one round trip. A shape is a
guess and nothing rests on its being right: the parameter types go along with Parse, so that the server reads the
arguments as what they were encoded as, and the rows are described anew before the first one is decoded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

__all__ = ["KEPT", "Recent", "Shape", "clear", "forget", "get", "hottest", "put"]

Shape = tuple[tuple[int, ...], "tuple[Any, ...] | None"]
"""OIDs of the parameters; the columns of RowDescription, or None for no rows."""

KEPT = 1000  # shapes, the least recently used one goes first: about a kilobyte each

_lock = threading.Lock()
_shapes: OrderedDict[Hashable, Shape] = OrderedDict()
_uses: dict[Hashable, int] = {}  # how often a connection has begun to use the statement


def get(key: Hashable) -> Shape | None:
    """The shape of (session, query), or None."""
    with _lock:
        shape = _shapes.get(key)
        if shape is not None:
            _shapes.move_to_end(key)
            _uses[key] += 1
        return shape


def put(key: Hashable, shape: Shape) -> None:
    """Remember a shape."""
    with _lock:
        _shapes[key] = shape
        _shapes.move_to_end(key)
        _uses.setdefault(key, 1)
        while len(_shapes) > KEPT:
            oldest, _ = _shapes.popitem(last=False)
            del _uses[oldest]


def forget(key: Hashable) -> None:
    """Drop a shape that was of no use."""
    with _lock:
        _shapes.pop(key, None)
        _uses.pop(key, None)


def hottest(session: tuple[Any, ...], count: int) -> list[tuple[str, Shape]]:
    """The queries of this session that most connections have used, the most used first; at most `count`."""
    with _lock:
        found = [key for key in _shapes if isinstance(key, tuple) and key[:-1] == session]
        found.sort(key=_uses.__getitem__, reverse=True)
        return [(key[-1], _shapes[key]) for key in found[:count]]


class Recent:
    """The queries that were added last, KEPT of them."""

    __slots__ = ("_queries",)

    def __init__(self) -> None:
        self._queries: dict[str, None] = {}

    def __contains__(self, query: str) -> bool:
        return query in self._queries

    def add(self, query: str) -> None:
        """One more; the first one added goes when there are too many."""
        self._queries[query] = None
        if len(self._queries) > KEPT:
            del self._queries[next(iter(self._queries))]


def clear() -> None:
    """Drop all shapes."""
    with _lock:
        _shapes.clear()
        _uses.clear()
