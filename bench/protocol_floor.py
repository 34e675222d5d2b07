# SPDX-License-Identifier: MIT
"""The protocol floor: the least that a prepared query costs on this loop.

An asyncio.BufferedProtocol that writes one constant Bind/Execute/Sync, waits with one Future, and throws the answer
away unread. It checks nothing and decodes nothing; a driver has to do both.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any
from urllib.parse import urlsplit


def message(tag: bytes, body: bytes) -> bytes:
    """A frontend message."""
    return tag + struct.pack("!i", len(body) + 4) + body


class Floor(asyncio.BufferedProtocol):
    """Reads whatever comes into one buffer; a Z byte six from the end is taken for ReadyForQuery."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.buffer = bytearray(64 * 1024)
        self.waiter: asyncio.Future[None] | None = None
        self.transport: Any = None
        self.expected = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        """The one buffer."""
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Wake the waiter at the end of an answer."""
        if self.expected:
            self.expected -= nbytes
            if self.expected:
                return
        if self.buffer[nbytes - 6] == 90 and self.waiter is not None:
            waiter, self.waiter = self.waiter, None
            waiter.set_result(None)

    async def ask(self, data: bytes) -> None:
        """Write, and wait for the end of the answer."""
        waiter = self.waiter = self.loop.create_future()
        self.transport.write(data)
        await waiter

    async def ask_for(self, data: bytes, size: int) -> None:
        """Write, and wait for so many bytes."""
        self.expected = size
        await self.ask(data)

    def close(self) -> None:
        """Terminate."""
        self.transport.write(message(b"X", b""))
        self.transport.close()


async def connect(dsn: str) -> Floor:
    """A session of a server that trusts us."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(dsn)
    _, protocol = await loop.create_connection(lambda: Floor(loop), parts.hostname, parts.port or 5432)
    user = (parts.username or "postgres").encode()
    database = parts.path.strip("/").encode() or user
    body = struct.pack("!i", 196608) + b"user\0" + user + b"\0database\0" + database + b"\0\0"
    await protocol.ask(struct.pack("!i", len(body) + 4) + body)
    return protocol


async def prepare(protocol: Floor, query: str) -> bytes:
    """Parse the query as statement `s`; the bytes that execute it."""
    await protocol.ask(message(b"P", b"s\0" + query.encode() + b"\0\0\0") + message(b"S", b""))
    bind = message(b"B", b"\0s\0" + struct.pack("!hhhh", 0, 0, 1, 1))
    return bind + message(b"E", b"\0" + struct.pack("!i", 0)) + message(b"S", b"")


async def pipeline(protocol: Floor, query: str, times: int, atomic: bool) -> tuple[bytes, int]:
    """Prepare a query with one int4 parameter; the bytes that run it so often, and the size of the answers."""
    await protocol.ask(message(b"P", b"p\0" + query.encode() + b"\0\0\0") + message(b"S", b""))
    bind = message(b"B", b"\0p\0" + struct.pack("!hhhiihh", 1, 1, 1, 4, 7, 1, 1))
    one = bind + message(b"E", b"\0" + struct.pack("!i", 0))
    sync = message(b"S", b"")
    # BindComplete, DataRow of four bytes, CommandComplete 'SELECT 1'; ReadyForQuery.
    answer, ready = 5 + 15 + 14, 6
    if atomic:
        return one * times + sync, answer * times + ready
    return (one + sync) * times, (answer + ready) * times
