# SPDX-License-Identifier: MIT
"""What can be counted without a clock: round trips, waiting for the pool's hand-back, key derivations of a login."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any
from urllib.parse import urlsplit

from bench.drivers import driver
from bench.works import KNOWN, WORKS
from tools.pgserver import PASSWORD

PATIENCE = 1.0  # seconds after which something is taken for waiting for the server


class Relay:
    """A proxy before a server. round_trips: how often the client spoke after the server had, or first."""

    def __init__(self, dsn: str) -> None:
        self.target = urlsplit(dsn)
        self.round_trips = 0
        self.server_spoke = True
        self.open = asyncio.Event()  # clear: the server's answers are held back
        self.open.set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        """The DSN to connect to."""
        self.listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.listening.sockets[0].getsockname()[1]
        return self.target._replace(netloc=f"{self.target.username}@127.0.0.1:{port}").geturl()

    async def __aexit__(self, *error: object) -> None:
        self.listening.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection(self.target.hostname, self.target.port)
        self.tasks.add(asyncio.ensure_future(self._from_client(reader, down)))
        self.tasks.add(asyncio.ensure_future(self._from_server(up, writer)))

    async def _from_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.server_spoke and data[:1] != b"X":  # Terminate has no answer
                self.round_trips += 1
                self.server_spoke = False
            writer.write(data)
        writer.close()

    async def _from_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.open.wait()
            self.server_spoke = True
            writer.write(data)
        writer.close()


async def round_trips(subject: str, dsn: str, work: str) -> float | None:
    """Of one step, once everything is known that another connection can know."""
    relay = Relay(dsn)
    async with relay as tapped:
        step = await driver(subject, tapped).step(WORKS[work])
        if step is None:
            return None
        await step.run()
        await asyncio.sleep(0.05)
        relay.round_trips, relay.server_spoke = 0, True
        await step.run()
        counted = relay.round_trips
        await step.close()
    return counted


async def hand_back_waits(module: Any, dsn: str) -> float:
    """1 when `await pool.release()` waits for the server, 0 when it does not."""
    relay = Relay(dsn)
    async with relay as tapped:
        pool = await module.create_pool(tapped, min_size=1, max_size=1)
        connection = await pool.acquire()
        await connection.fetchval("SELECT 1")
        await asyncio.sleep(0.05)
        relay.open.clear()
        release = asyncio.ensure_future(pool.release(connection))
        done, _ = await asyncio.wait([release], timeout=PATIENCE)
        relay.open.set()
        await release
        await pool.close()
    return 0 if done else 1


async def second_derivations(dsn: str) -> float | None:
    """PBKDF2 calls of a second SCRAM login with the same secret; None when the first makes none that can be seen."""
    import fastpg

    parts = urlsplit(dsn)
    calls = []
    real = hashlib.pbkdf2_hmac

    def counted(*args: Any, **options: Any) -> bytes:
        calls.append(args)
        return real(*args, **options)

    hashlib.pbkdf2_hmac = counted
    try:
        seen = []
        for _ in range(2):
            connection = await fastpg.connect(
                host=parts.hostname, port=parts.port, database="postgres", user="scram_role", password=PASSWORD,
                ssl="disable",
            )  # fmt: skip
            await connection.close()
            seen.append(len(calls))
    finally:
        hashlib.pbkdf2_hmac = real
    return seen[1] - seen[0] if seen[0] else None


async def measure(dsn: str, own_server: bool) -> dict[str, dict[str, float]]:
    """What -> subject -> how many. own_server: it has the roles of tools/pgserver.py."""
    import asyncpg

    import fastpg

    counts: dict[str, dict[str, float]] = {"transaction": {}, "first_use": {}, "hand_back": {}, "pbkdf2": {}}
    for subject in ("fastpg", "asyncpg", "psycopg"):
        trips = await round_trips(subject, dsn, "transaction")
        whole, connecting = await round_trips(subject, dsn, "first_use"), await round_trips(subject, dsn, "connect")
        assert trips is not None and whole is not None and connecting is not None
        counts["transaction"][subject] = trips
        counts["first_use"][subject] = (whole - connecting) / KNOWN
    counts["hand_back"] = {
        "fastpg": await hand_back_waits(fastpg, dsn), "asyncpg": await hand_back_waits(asyncpg, dsn)
    }  # fmt: skip
    derivations = await second_derivations(dsn) if own_server else None
    if derivations is not None:
        counts["pbkdf2"]["fastpg"] = derivations
    return counts
