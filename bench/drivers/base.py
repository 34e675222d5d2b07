# SPDX-License-Identifier: MIT
"""What all subjects have in common."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench.works import CHUNK, Work, account

Call = Callable[[], Awaitable[Any]]


async def nothing() -> None:
    """For a step that needs no closing."""


@dataclass
class Step:
    """run does one step of a work; close ends what it holds."""

    run: Call
    close: Call = nothing


class Driver:
    """A subject. A method for each kind of work that it can do: (work) -> Step.

    dsn: a server that trusts us, on TCP; it says sslmode=disable.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    async def step(self, work: Work) -> Step | None:
        """The step of a work, or None when this subject has nothing to do it with."""
        make = getattr(self, work.kind, None)
        if make is None:
            return None
        made: Step | None = await make(work)
        return made


def tasks_step(work: Work, fetchrow: Callable[[int], Awaitable[Any]]) -> Call:
    """A step of `work.tasks` tasks at the same time, each asking for one account after the other."""
    turns = work.units // work.tasks

    async def task(number: int) -> None:
        for turn in range(turns):
            tuple(await fetchrow(account(number, turn)))

    async def step() -> None:
        await asyncio.gather(*[task(number) for number in range(work.tasks)])

    return step


async def bulk(dsn: str) -> bytes:
    """The table bench.bulk as COPY's binary format: what copy_in loads."""
    import fastpg

    connection = await fastpg.connect(dsn)
    file = io.BytesIO()
    await connection.copy_from_table("bulk", schema_name="bench", output=file, format="binary")
    await connection.close()
    return file.getvalue()


def chunks(data: bytes) -> list[bytes]:
    """In pieces of CHUNK bytes."""
    return [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]
