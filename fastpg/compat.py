# SPDX-License-Identifier: MIT
"""What differs between versions of Python and between systems, under the names that asyncpg has for it."""

from __future__ import annotations

import asyncio
import inspect
import os
import pathlib
import platform
import sys
from asyncio import wait_for
from types import TracebackType
from typing import Any, Final

if sys.version_info >= (3, 11):
    from asyncio import timeout
    from enum import StrEnum
else:
    import enum

    class StrEnum(str, enum.Enum):
        """An Enum whose members are strings, and print as such."""

        __str__ = str.__str__
        __format__ = str.__format__  # type: ignore[assignment]

    def timeout(delay: float | None) -> _Timeout:
        """``async with timeout(seconds)``: cancels the block when the time is over, and raises TimeoutError."""
        return _Timeout(delay)

    class _Timeout:

        def __init__(self, delay: float | None) -> None:
            self._delay = delay
            self._handle: asyncio.TimerHandle | None = None
            self._task: asyncio.Task[Any] | None = None
            self._fired = False

        async def __aenter__(self) -> _Timeout:
            self._task = asyncio.current_task()
            if self._delay is not None:
                self._handle = asyncio.get_running_loop().call_later(max(self._delay, 0), self._fire)
            return self

        def _fire(self) -> None:
            self._fired = True
            if self._task is not None:
                self._task.cancel()

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            if self._handle is not None:
                self._handle.cancel()
            if self._fired and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise asyncio.TimeoutError from error


__all__ = (
    "SYSTEM",
    "StrEnum",
    "get_pg_home_directory",
    "markcoroutinefunction",
    "timeout",
    "wait_closed",
    "wait_for",
)

SYSTEM: Final = platform.uname().system


def get_pg_home_directory() -> pathlib.Path | None:
    """Where libpq looks for a user's files: the home directory, %APPDATA%\\postgresql on Windows."""
    if SYSTEM == "Windows":
        appdata = os.environ.get("APPDATA")
        return pathlib.Path(appdata) / "postgresql" if appdata else None
    try:
        return pathlib.Path.home()
    except RuntimeError:
        return None


async def wait_closed(stream: asyncio.StreamWriter) -> None:
    """StreamWriter.wait_closed() where a connection that the peer has reset is closed too."""
    try:
        await stream.wait_closed()
    except ConnectionResetError:
        pass


def markcoroutinefunction(function: Any) -> None:
    """Mark a function that returns a coroutine as a coroutine function; nothing before Python 3.12."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(function)
