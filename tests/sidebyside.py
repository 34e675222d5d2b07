# SPDX-License-Identifier: MIT
"""One scenario, played with asyncpg and with fastpg: what they do must be the same.

A scenario is an async function of a `Diary`, whose `driver` is the package under test; it writes down what happens.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import fastpg

WAIT = 30  # seconds after which a scenario hangs


class Diary:
    """What has happened, in words that do not depend on the driver or the run."""

    def __init__(self, driver: Any, dsn: str) -> None:
        self.driver = driver
        self.dsn = dsn
        self.entries: list[str] = []
        self.reported: list[str] = []
        asyncio.get_running_loop().set_exception_handler(self._on_report)

    def note(self, *what: Any) -> None:
        self.entries.append(plain(" ".join(map(str, what))))

    def _on_report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.reported.append(repr(context.get("exception")))

    async def attempt(self, label: str, call: Callable[[], Any]) -> Any:
        """Call it, await what it gives; write down the result, or the class and text of the exception."""
        try:
            result = call()
            if inspect.isawaitable(result):
                result = await result
        except (Exception, asyncio.CancelledError) as error:
            # One line: hints are the driver's own advice.
            self.note(label, "raised", type(error).__name__, str(error).split("\n")[0])
            return None
        self.note(label, "gave", repr(result))
        return result

    async def turns(self, seconds: float = 0.05) -> None:
        """Let what has been sent arrive."""
        await asyncio.sleep(seconds)


def plain(text: str) -> str:
    """Without the driver's name and addresses of objects."""
    text = text.replace("asyncpg", "fastpg").replace(",got ", ", got ")
    text = re.sub(r"(object at )?0x[0-9a-f]+", "0x", text)
    return re.sub(r"_(stmt|savepoint|portal|cursor)_[0-9a-f]+__", r"_\1_N__", text)


async def play(driver: Any, dsn: str, scenario: Callable[[Diary], Awaitable[None]]) -> Diary:
    diary = Diary(driver, dsn)
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait_for(scenario(diary), WAIT)
    finally:
        loop.set_exception_handler(None)
    return diary


async def compare(dsn: str, scenario: Callable[[Diary], Awaitable[None]]) -> Diary:
    """Play it with both; the diary of fastpg, which equals the other's."""
    asyncpg = pytest.importorskip("asyncpg")
    theirs = await play(asyncpg, dsn, scenario)
    ours = await play(fastpg, dsn, scenario)
    if ours.entries != theirs.entries:
        lines = difflib.unified_diff(theirs.entries, ours.entries, "asyncpg", "fastpg", lineterm="", n=1)
        raise AssertionError("\n".join(lines))
    return ours
