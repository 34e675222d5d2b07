# SPDX-License-Identifier: MIT
"""A stepper: runs a coroutine on the real loop and cancels it at its n-th suspension, in several ways."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

HOWS = ("throw", "with_answer", "always", "deadline", "helpers")
"""How the cancel comes:

throw: at once, when the coroutine suspends.
with_answer: in the same turn of the loop as what it waits for, and before it.
always: at once, and again at every later suspension.
deadline: by asyncio.wait_for, some milliseconds later, when the answer may have come unseen.
helpers: at once, and all other tasks of the loop that were not there before are cancelled too.
"""

HOLD = 0.003  # seconds that `deadline` holds the coroutine
LIMIT = 20  # seconds after which a run is a hang


class Stepped:
    """Awaits `coroutine`; cancels it at suspension number `n`, counted from 0. hit: whether it got that far."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], n: int, how: str) -> None:
        self.coroutine = coroutine
        self.n = n
        self.how = how
        self.hit = False

    def __await__(self) -> Generator[Any, None, Any]:
        step = 0
        thrown: BaseException | None = None
        while True:
            try:
                if thrown is None:
                    awaited = self.coroutine.send(None)
                else:
                    awaited = self.coroutine.throw(thrown)
            except StopIteration as stop:
                return stop.value
            thrown = None
            now = step == self.n or (step > self.n and self.how == "always")
            step += 1
            self.hit = self.hit or now
            try:
                if not now:
                    yield awaited
                elif self.how == "with_answer" and awaited is not None:
                    task = asyncio.current_task()
                    assert task is not None
                    # Before the task's own callback: it is woken up with the answer and a cancel.
                    awaited.add_done_callback(lambda _, task=task: task.cancel())
                    yield awaited
                else:
                    if awaited is not None:
                        awaited._asyncio_future_blocking = False  # what a Task does with what it is given
                    if self.how == "deadline":
                        yield from asyncio.get_running_loop().create_future()
                    if awaited is not None:
                        awaited.cancel()
                    thrown = asyncio.CancelledError()
            except BaseException as error:
                if self.how == "deadline" and now and awaited is not None:
                    awaited.cancel()
                thrown = error


async def run_cancelled(coroutine: Coroutine[Any, Any, Any], n: int, how: str) -> tuple[bool, Any]:
    """Run it, cancelled at suspension n: (whether it got that far, its result or the exception it ended with)."""
    stepped = Stepped(coroutine, n, how)
    before = asyncio.all_tasks()

    async def run() -> Any:
        return await stepped

    task = asyncio.ensure_future(run())
    try:
        if how == "deadline":
            while not stepped.hit and not task.done():
                await asyncio.wait([task], timeout=0)
            result = await asyncio.wait_for(task, HOLD if not task.done() else LIMIT)
        else:
            done, _ = await asyncio.wait([task], timeout=LIMIT)
            if not done:
                task.cancel()
                raise AssertionError(f"hangs when cancelled at suspension {n} ({how})")
            if how == "helpers" and stepped.hit:
                for other in asyncio.all_tasks() - before:
                    other.cancel()
            result = task.result()
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, AssertionError):
            raise
        return stepped.hit, error
    return stepped.hit, result


async def settle(before: set[asyncio.Task[Any]]) -> None:
    """Wait until no task is left but those of before; a task that stays is a leak."""
    for _ in range(500):
        left = asyncio.all_tasks() - before
        if not left:
            return
        await asyncio.wait(left, timeout=0.02)
    raise AssertionError(f"tasks left behind: {left}")
