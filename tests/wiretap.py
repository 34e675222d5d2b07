# SPDX-License-Identifier: MIT
"""A proxy that watches the wire: who said what, and in how many round trips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Wiretap:
    """What went over one proxy. round_trips: how often the client spoke after the server had."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.said: list[tuple[str, bytes]] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def clear(self) -> None:
        """Forget what was said up to now."""
        self.said.clear()

    @property
    def round_trips(self) -> int:
        """From the last clear() on."""
        speakers = "".join(who[0] for who, _ in self.said)
        return ("s" + speakers).count("sc")

    def messages(self) -> str:
        """The types of the frontend messages since the last clear()."""
        data = b"".join(what for who, what in self.said if who == "client")
        types = ""
        while data:
            types += chr(data[0])
            data = data[1 + int.from_bytes(data[1:5], "big") :]
        return types

    async def carry(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.said.append((who, data))
                writer.write(data)
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.dsn)
        up, down = await asyncio.open_connection(parts.hostname, parts.port)
        for task in (self.carry("client", reader, down), self.carry("server", up, writer)):
            self.tasks.add(asyncio.ensure_future(task))


@asynccontextmanager
async def wiretap(dsn: str) -> AsyncIterator[tuple[Wiretap, str]]:
    """A proxy before the server of `dsn`: it, and the DSN to connect to. Without TLS."""
    tap = Wiretap(dsn)
    server = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
    parts = urlsplit(dsn)
    port = server.sockets[0].getsockname()[1]
    try:
        yield tap, f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}?sslmode=disable"
    finally:
        server.close()
        for task in tap.tasks:
            task.cancel()
        await asyncio.gather(*tap.tasks, return_exceptions=True)
