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

__all__ = ["KEPT", "Known", "Recent", "Shape", "clear", "forget", "get", "hottest", "put"]

Shape = tuple[tuple[int, ...], "tuple[Any, ...] | None"]
"""OIDs of the parameters; the columns of RowDescription, or None for no rows."""

KEPT = 1000  # shapes, the least recently used one goes first: about a kilobyte each



class _Entry:
    __slots__ = ("shape", "uses")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.uses = 1  # how often a connection has begun to use the statement


_lock = threading.Lock()
_shapes: OrderedDict[Hashable, _Entry] = OrderedDict()


def get(key: Hashable) -> Shape | None:
    """The shape of (session, query), or None."""
    with _lock:
        entry = _shapes.get(key)
        if entry is None:
            return None
        _shapes.move_to_end(key)
        entry.uses += 1
        return entry.shape


def put(key: Hashable, shape: Shape) -> None:
    """Remember a shape."""
    with _lock:
        entry = _shapes.get(key)
        if entry is None:
            _shapes[key] = _Entry(shape)
        else:
            entry.shape = shape
            _shapes.move_to_end(key)
        while len(_shapes) > KEPT:
            _shapes.popitem(last=False)


def forget(key: Hashable) -> None:
    """Drop a shape that was of no use."""
    with _lock:
        _shapes.pop(key, None)


def hottest(session: tuple[Any, ...], count: int) -> list[tuple[str, Shape]]:
    """The queries of this session that most connections have used, the most used first; at most `count`."""
    with _lock:
        found = [key for key in _shapes if isinstance(key, tuple) and key[:-1] == session]
        found.sort(key=lambda key: _shapes[key].uses, reverse=True)
        return [(key[-1], _shapes[key].shape) for key in found[:count]]


class Known:
    """What a connection's keys begin with, as of so many reports of the server's about its parameters."""

    __slots__ = ("reports", "session")

    def __init__(self) -> None:
        self.reports = -1
        self.session: tuple[Any, ...] = ()


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
