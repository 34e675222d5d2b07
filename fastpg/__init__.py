# SPDX-License-Identifier: MIT
"""A PostgreSQL driver for asyncio and uvloop that speaks the wire protocol itself."""

from __future__ import annotations

# asyncpg's modules are there without being imported by themselves.
from fastpg import compat as compat
from fastpg import connresource as connresource
from fastpg import utils as utils
from fastpg._type_codecs import TypeCodec
from fastpg.connection import Connection, connect
from fastpg.exceptions import *  # noqa: F403
from fastpg.exceptions import __all__ as _exceptions
from fastpg.pgproto import pgproto as _pgproto  # noqa: F401
from fastpg.pool import Pool, create_pool
from fastpg.protocol import protocol as _protocol  # noqa: F401
from fastpg.protocol.record import Record
from fastpg.threaded import ThreadedPool
from fastpg.types import (
    Attribute,
    BitString,
    Box,
    Circle,
    Line,
    LineSegment,
    Path,
    Point,
    Polygon,
    Range,
    ServerVersion,
    Type,
)

__version__ = "0.1.0"



def install_as_asyncpg() -> None:
    """Let `import asyncpg` give fastpg, in this process, from now on. A second call does nothing.

    Call it before anything has imported asyncpg: RuntimeError when the real one is there already.
    """
    from fastpg import _alias

    _alias.install()


__all__ = (
    "Attribute", "BitString", "Box", "Circle", "Connection", "Line", "LineSegment", "Path", "Point", "Polygon", "Pool",
    "Range", "Record", "ServerVersion", "ThreadedPool", "Type", "TypeCodec", "connect", "create_pool",
    "install_as_asyncpg", *_exceptions,
)  # fmt: skip
