# SPDX-License-Identifier: MIT
"""Calling what users have registered: never from inside the parser, and never so that it harms anything else."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastpg import exceptions

# Tasks of coroutine functions: an event loop holds its tasks only weakly.
_tasks: set[asyncio.Task[Any]] = set()


class Callback:
    """A registered callable. After cancel() it is not called again, not even for what has come already."""

    __slots__ = ("cancelled", "function", "is_coroutine")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.is_coroutine = inspect.iscoroutinefunction(function)
        self.cancelled = False

    def cancel(self) -> None:
        """Call it no more."""
        self.cancelled = True

    def schedule(self, loop: asyncio.AbstractEventLoop, *args: Any) -> None:
        """Call it in the next turn of the loop, whose exception handler gets what it raises."""
        # A task begins in the next turn too, in line with plain functions; but one of a factory may begin at once.
        if self.is_coroutine and not loop.is_closed() and loop.get_task_factory() is None:
            self._start(loop, self._run(args))
        else:
            loop.call_soon(self._call, loop, args)

    async def _run(self, args: tuple[Any, ...]) -> None:
        if not self.cancelled:
            await self.function(*args)

    def _start(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = loop.create_task(coroutine)
        _tasks.add(task)
        task.add_done_callback(self._done)

    def _call(self, loop: asyncio.AbstractEventLoop, args: tuple[Any, ...]) -> None:
        if self.cancelled:
            return
        try:
            result = self.function(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._report(loop, error)
            return
        if inspect.iscoroutine(result):
            self._start(loop, result)

    def _done(self, task: asyncio.Task[Any]) -> None:
        _tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._report(task.get_loop(), error)

    def _report(self, loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
        loop.call_exception_handler({"message": f"Exception in callback {self.function!r}", "exception": error})


def check_callback(callback: Any) -> None:
    """Raise InterfaceError for what cannot be called."""
    if not callable(callback):
        raise exceptions.InterfaceError(f"expected a callable or an `async def` function, got {callback!r}")
