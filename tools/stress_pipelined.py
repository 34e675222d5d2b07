# SPDX-License-Identifier: MIT
"""Cancel and time out calls of a pool at random, and see to it that nothing goes astray.

    python -m tools.stress_pipelined [--calls 100000] [--default] [--seed 1] [--dsn DSN]

Every call has a tag of its own that comes back with its answer, in rows or in the message of an error. A wrong tag, an
error that is another call's (57014, query_canceled, is one: nobody cancels but the pool), a connection that was lost or
replaced and a connection that does not find its way back end the run with status 1. Without --dsn a throw-away server.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from typing import Any

import fastpg
from tools import pgserver

TASKS = 60
CONNECTIONS = 6
NAPS = [0.0] * 6 + [0.0005, 0.002, 0.01]  # seconds that the server sleeps
TIMEOUTS = [None] * 4 + [0.0005, 0.002, 0.01, 0.1]  # seconds
QUICK = "SELECT $1::int8"
NAPPING = "SELECT $1::int8 + (pg_sleep($2)::text = 'x')::int"
ROWS = "SELECT $1::int8, g FROM generate_series(1, $2::int) g"
FAILING = "SELECT $1::text::int"
LARGE = "SELECT $1::int8 WHERE length($2::text) > 0"
LARGE_TEXT = "x" * 300_000  # so much that calls behind it wait to be written


class Astray(Exception):
    """Something happened to a call that must not."""


class Stress:
    """One run against one pool. calls: how many, all in all."""

    def __init__(self, pool: fastpg.Pool, calls: int, seed: int) -> None:
        self.pool = pool
        self.left = calls
        self.chance = random.Random(seed)
        self.tags = itertools.count(1)
        self.counts: Counter[str] = Counter()

    async def call(self, tag: int, timeout: float | None) -> None:
        pool, kind = self.pool, self.chance.random()
        if kind < 0.55:
            answer = await pool.fetchval(QUICK, tag, timeout=timeout)
        elif kind < 0.7:
            answer = await pool.fetchval(NAPPING, tag, self.chance.choice(NAPS), timeout=timeout)
        elif kind < 0.8:
            rows = await pool.fetch(ROWS, tag, 50, timeout=timeout)
            if [row[1] for row in rows] != list(range(1, 51)):
                raise Astray(f"rows of another call for {tag}")
            (answer,) = {row[0] for row in rows}
        elif kind < 0.88:
            answer = (await pool.fetchrow(QUICK, tag, timeout=timeout))[0]
        elif kind < 0.91:
            answer = await self.failing(tag, timeout)
        elif kind < 0.92:
            answer = await self.misused(tag, timeout)
        elif kind < 0.93:
            answer = await pool.fetchval(LARGE, tag, LARGE_TEXT, timeout=timeout)
        elif kind < 0.97:
            async with pool.acquire() as connection:
                answer = await connection.fetchval(QUICK, tag, timeout=timeout)
        else:
            answer = tag if await pool.fetchval("SHOW search_path", timeout=timeout) else None
        if answer != tag:
            raise Astray(f"the answer to {tag} was {answer!r}")

    async def failing(self, tag: int, timeout: float | None) -> int:
        try:
            await self.pool.fetchval(FAILING, f"x{tag}", timeout=timeout)
        except fastpg.InvalidTextRepresentationError as error:
            if f'"x{tag}"' in str(error):
                return tag
            raise Astray(f"the error for {tag} was {error}") from error
        raise Astray(f"no error for {tag}")

    async def misused(self, tag: int, timeout: float | None) -> int:
        try:
            await self.pool.fetchval(QUICK, f"x{tag}", timeout=timeout)
        except fastpg.DataError as error:
            if f"'x{tag}'" in str(error):
                return tag
            raise Astray(f"the error for {tag} was {error}") from error
        raise Astray(f"no error for {tag}")

    async def work(self) -> None:
        while self.left > 0:
            self.left -= 1
            task = asyncio.ensure_future(self.call(next(self.tags), self.chance.choice(TIMEOUTS)))
            if self.chance.random() < 0.5:
                for _ in range(self.chance.randrange(6)):
                    await asyncio.sleep(0)
                if self.chance.random() < 0.5:
                    await asyncio.sleep(self.chance.random() * 0.004)
                for _ in range(self.chance.choice([1, 1, 2])):
                    task.cancel()
                    await asyncio.sleep(0)
            done, _ = await asyncio.wait([task], timeout=60)
            if not done:
                raise Astray("a call hangs")
            if task.cancelled():
                self.counts["cancelled"] += 1
            elif isinstance(task.exception(), asyncio.TimeoutError):
                self.counts["timed out"] += 1
            elif task.exception() is not None:
                raise Astray(repr(task.exception())) from task.exception()
            else:
                self.counts["answered"] += 1

    async def run(self) -> Counter[str]:
        """What became of the calls, or Astray."""
        before = pids(self.pool)
        workers = [asyncio.ensure_future(self.work()) for _ in range(TASKS)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        for _ in range(1000):
            if self.pool._queue.qsize() == CONNECTIONS and not self.pool._releases:
                break
            await asyncio.sleep(0.01)
        stats = self.pool.stats()
        if self.pool._queue.qsize() != CONNECTIONS or stats.in_use or stats.waiting or self.pool._releases:
            raise Astray(f"not everything came back: {stats}, {self.pool._queue.qsize()} in the queue")
        if pids(self.pool) != before:
            raise Astray("a connection was lost")
        if await asyncio.gather(*[self.pool.fetchval(QUICK, tag) for tag in range(100)]) != list(range(100)):
            raise Astray("wrong answers at the end")
        return self.counts


def pids(pool: fastpg.Pool) -> set[int]:
    return {holder._con.get_server_pid() for holder in pool._holders if holder.is_connected()}


async def stress(dsn: str, calls: int, seed: int, **options: Any) -> Counter[str]:
    """Run `calls` calls through a pool with these options; how many had which end. Raises Astray."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    async with fastpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, **options) as pool:
        counts = await asyncio.wait_for(Stress(pool, calls, seed).run(), 3600)
    if complaints:
        raise Astray(f"the loop was told: {complaints[0]}")
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--default", action="store_true", help="a pool that is not pipelined")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dsn")
    options = parser.parse_args()
    server = None
    if options.dsn is None:
        binaries = itertools.chain(pgserver.machine_binaries(), pgserver.embedded_binaries(), pgserver.npm_binaries())
        server = pgserver.Server(next(binaries)).start()
    began = time.monotonic()
    try:
        dsn = options.dsn or server.dsn  # type: ignore[union-attr]
        counts = asyncio.run(stress(dsn, options.calls, options.seed, pipelined=not options.default))
    except Astray as error:
        print(f"ASTRAY: {error}", file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.stop()
    ends = ", ".join(f"{number} {what}" for what, number in counts.most_common())
    print(f"{counts.total()} calls in {time.monotonic() - began:.0f} s: {ends}; nothing went astray")
    return 0


if __name__ == "__main__":
    sys.exit(main())
