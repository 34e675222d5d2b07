# SPDX-License-Identifier: MIT
"""The protocol floor: the least that a request costs on this loop.

An asyncio.BufferedProtocol that writes constant bytes, waits with one Future, and throws the answer away unread. It
checks nothing and decodes nothing; a driver has to do both.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any
from urllib.parse import urlsplit

READY = b"Z\0\0\0\5"
SYNC = b"S\0\0\0\4"


def message(tag: bytes, body: bytes) -> bytes:
    """A frontend message."""
    return tag + struct.pack("!i", len(body) + 4) + body


class Floor(asyncio.BufferedProtocol):
    """Reads whatever comes into one buffer; a Z byte six from the end is taken for ReadyForQuery."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.buffer = bytearray(64 * 1024)
        self.waiter: asyncio.Future[None] | None = None
        self.room: asyncio.Future[None] | None = None
        self.transport: Any = None
        self.expected = 0
        self.measured: int | None = None

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
        elif self.measured is not None:
            self.measured += nbytes
            if self.buffer[nbytes - 6 : nbytes - 1] != READY:
                return
        elif self.buffer[nbytes - 6] != 90:
            return
        if self.waiter is not None:
            waiter, self.waiter = self.waiter, None
            waiter.set_result(None)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self.room = self.loop.create_future()

    def resume_writing(self) -> None:
        """And has been written."""
        if self.room is not None:
            self.room.set_result(None)
            self.room = None

    async def ask(self, data: bytes) -> None:
        """Write, and wait for the end of the answer."""
        waiter = self.waiter = self.loop.create_future()
        self.transport.write(data)
        await waiter

    async def ask_for(self, data: bytes, size: int) -> None:
        """Write, and wait for so many bytes."""
        self.expected = size
        await self.ask(data)

    async def measure(self, data: bytes) -> int:
        """Write a request with one ReadyForQuery in its answer: the size of the answer in bytes."""
        self.measured = 0
        await self.ask(data)
        size, self.measured = self.measured, None
        return size

    async def send(self, pieces: list[bytes]) -> None:
        """Write piece by piece, as fast as the transport takes them."""
        for piece in pieces:
            self.transport.write(piece)
            if self.room is not None:
                await self.room

    def close(self) -> None:
        """Terminate."""
        self.transport.write(message(b"X", b""))
        self.transport.close()


async def connect(dsn: str) -> Floor:
    """A session of a server that trusts us."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(dsn)
    _, protocol = await loop.create_connection(lambda: Floor(loop), parts.hostname or "localhost", parts.port or 5432)
    user = (parts.username or "postgres").encode()
    database = parts.path.strip("/").encode() or user
    body = struct.pack("!i", 196608) + b"user\0" + user + b"\0database\0" + database + b"\0\0"
    await protocol.ask(struct.pack("!i", len(body) + 4) + body)
    return protocol


async def prepare(protocol: Floor, query: str, *arguments: int) -> bytes:
    """Parse the query as statement `s`: the bytes that execute it with these int4, results in binary, no Sync."""
    await protocol.ask(message(b"P", b"s\0" + query.encode() + b"\0\0\0") + SYNC)
    values = b"".join(struct.pack("!ii", 4, argument) for argument in arguments)
    bind = b"\0s\0" + struct.pack("!hhh", 1, 1, len(arguments)) + values + struct.pack("!hh", 1, 1)
    return message(b"B", bind) + message(b"E", b"\0" + struct.pack("!i", 0))


def query(sql: str) -> bytes:
    """The simple protocol's message."""
    return message(b"Q", sql.encode() + b"\0")
