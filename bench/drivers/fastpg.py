# SPDX-License-Identifier: MIT
"""fastpg: as asyncpg is used, and with its pipelines; and its pipelined pool, where there is one."""

from __future__ import annotations

import inspect
from typing import Any

from bench.drivers.asyncpg import AsyncpgDriver
from bench.drivers.base import Driver, Step, tasks_step
from bench.works import POOL, Work


class FastpgDriver(AsyncpgDriver):
    """What asyncpg does, by the same calls."""

    module_name = "fastpg"

    async def pipeline(self, work: Work) -> Step:
        """A Sync each."""
        return await self._pipeline(work, False)

    async def atomic(self, work: Work) -> Step:
        """One Sync."""
        return await self._pipeline(work, True)

    async def _pipeline(self, work: Work, atomic: bool) -> Step:
        connection = await self.connect()
        query = work.query
        numbers = [number for (number,) in work.rows]

        async def run() -> None:
            async with connection.pipeline(atomic=atomic) as p:
                results = [p.fetchval(query, number) for number in numbers]
            for result in results:
                result.result()

        return Step(run, connection.close)


class PipelinedPoolDriver(Driver):
    """One-shot calls of many tasks share the connections of a pool."""

    async def pool(self, work: Work) -> Step | None:
        """One row by its key, from create_pool(pipelined=True)."""
        import fastpg

        if "pipelined" not in inspect.signature(fastpg.Pool.__init__).parameters:
            return None
        options: dict[str, Any] = {"pipelined": True, "min_size": POOL, "max_size": POOL}
        pool: Any = await fastpg.create_pool(self.dsn, **options)
        return Step(tasks_step(work, lambda key: pool.fetchrow(work.query, key)), pool.close)
