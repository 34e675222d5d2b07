# SPDX-License-Identifier: MIT
"""One scenario, played with asyncpg and with fastpg: what they do must be the same.

A scenario is an async function of a `Diary`, whose `driver` is the package under test; it writes down what happens.
Values are written down with their types, exceptions with all that a program can see of them.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastpg
from fastpg._alias import OWN
from fastpg.types import CommandStatus

WAIT = 30  # seconds after which a scenario hangs
POOLER_HINT = re.compile(r"\n?(NOTE: pgbouncer|A connection pooler).*", re.DOTALL)


class Diary:
    """What has happened, in words that do not depend on the driver or the run."""

    def __init__(self, driver: Any, dsn: str) -> None:
        self.driver = driver
        self.dsn = dsn
        self.entries: list[str] = []
        self.reported: list[str] = []

    @property
    def is_ours(self) -> bool:
        """Whether fastpg plays: for what the two call by different names."""
        return self.driver is fastpg

    @asynccontextmanager
    async def connected(self, **given: Any) -> AsyncIterator[Any]:
        """A connection for a block of the scenario."""
        con = await self.driver.connect(self.dsn, **given)
        try:
            yield con
        finally:
            con.terminate()

    def note(self, *what: Any) -> None:
        self.entries.append(plain(" ".join(map(str, what))))

    def value(self, label: str, value: Any) -> Any:
        """Write down a value, and the types of it and of what it holds."""
        self.note(label, "=", described(value))
        return value

    def state(self, label: str, con: Any) -> None:
        """Write down what a connection says of itself."""
        self.note(label, "is closed" if con.is_closed() else "is open",
                  "in a transaction" if con.is_in_transaction() else "outside of transactions")  # fmt: skip

    async def seen(self, label: str, con: Any, *columns: str) -> None:
        """Write down columns of pg_stat_activity for the backend of `con`, as another connection sees them."""
        observer = await self.driver.connect(self.dsn)
        try:
            pid = con.get_server_pid()
            found = await observer.fetch(f"SELECT {', '.join(columns)} FROM pg_stat_activity WHERE pid = $1", pid)
            self.note(label, "is seen as", *map(tuple, found))
        finally:
            await observer.close()

    def _on_report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.reported.append(repr(context.get("exception")))

    def try_now(self, label: str, call: Callable[[], Any]) -> Any:
        """attempt() for what is not asynchronous."""
        try:
            result = call()
        except Exception as error:
            self.note(label, "raised", told(error))
            return None
        self.note(label, "gave", described(result))
        return result

    async def attempt(self, label: str, call: Callable[[], Any]) -> Any:
        """Call it, await what it gives; write down the result, or the exception with all that it says."""
        try:
            result = call()
            if inspect.isawaitable(result):
                result = await result
        except (Exception, asyncio.CancelledError) as error:
            self.note(label, "raised", told(error))
            return None
        self.note(label, "gave", described(result))
        return result

    async def turns(self, seconds: float = 0.05) -> None:
        """Let what has been sent arrive."""
        await asyncio.sleep(seconds)


def plain(text: str) -> str:
    """Without the driver's name and addresses of objects."""
    text = text.replace("asyncpg", "fastpg").replace(",got ", ", got ")
    text = re.sub(r"(object at )?0x[0-9a-f]+", "0x", text)
    text = re.sub(r"pg_temp_[0-9]+", "pg_temp_N", text)
    return re.sub(r"_(stmt|savepoint|portal|cursor)_[0-9a-f]+__", r"_\1_N__", text)


def described(value: Any) -> str:
    """A value and its type; of a container, the types of its members too."""
    return f"{value!r} : {kind(value)}"


def kind(value: Any) -> str:
    """The name of a type, and in brackets the types of the members, each once."""
    name = "str" if isinstance(value, CommandStatus) else type(value).__name__  # see "Status" in compatibility.md
    if isinstance(value, dict):
        members = [part for pair in value.items() for part in pair]
    elif isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, "keys"):
        members = list(value)
    else:
        return name
    return f"{name}[{', '.join(dict.fromkeys(map(kind, members)))}]"


def told(error: BaseException) -> str:
    """All that a program can see of an exception. Of a hint on poolers only that there is one: it is advice."""
    lines = [f"{type(error).__name__}: {POOLER_HINT.sub('(on poolers)', str(error))}"]
    bases = [base.__name__ for base in type(error).__mro__[1:-1]]
    lines.append("of " + ", ".join(base for base in bases if base not in OWN))
    if error.args != (str(error),):
        lines.append(f"args {error.args!r}")
    query = vars(error).get("query")
    for name, value in sorted(vars(error).items()):
        # In which message a statement came, and so where the server was when it failed, is no matter of the program.
        carried = value in ("exec_simple_query", "exec_parse_message", "exec_bind_message", "exec_execute_message")
        if carried or (name == "server_source_line" and getattr(error, "server_source_filename", "") == "postgres.c"):
            continue
        if name in ("query", "position") and (not query or query.startswith("COPY ")):
            continue  # asyncpg does not tell the text of a COPY, which is the driver's own
        if value is not None and name not in ("fastpg", "__notes__"):
            lines.append(f"{name} = {POOLER_HINT.sub('(on poolers)', value) if name == 'hint' else value!r}")
    if getattr(error, "sqlstate", None):
        lines.append(f"SQLSTATE {error.sqlstate}")  # type: ignore[attr-defined]
    if error.__cause__ is not None and not isinstance(error, asyncio.TimeoutError):
        lines.append(f"because of {type(error.__cause__).__name__}: {error.__cause__}")
    return "\n    ".join(lines)


async def play(driver: Any, dsn: str, scenario: Callable[[Diary], Awaitable[None]]) -> Diary:
    diary = Diary(driver, dsn)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(diary._on_report)
    try:
        await asyncio.wait_for(scenario(diary), WAIT)
    finally:
        loop.set_exception_handler(None)
    return diary


async def both(dsn: str, scenario: Callable[[Diary], Awaitable[None]]) -> tuple[Diary, Diary]:
    """Play it with asyncpg, then with fastpg: the two diaries. For deliberate differences; else see compare()."""
    asyncpg = pytest.importorskip("asyncpg")
    return await play(asyncpg, dsn, scenario), await play(fastpg, dsn, scenario)


async def compare(dsn: str, scenario: Callable[[Diary], Awaitable[None]]) -> Diary:
    """Play it with both; the diary of fastpg, which equals the other's."""
    return equal(*await both(dsn, scenario))


def compare_now(scenario: Callable[[Diary], None]) -> Diary:
    """The same of a scenario that needs neither a server nor an event loop."""
    diaries = Diary(pytest.importorskip("asyncpg"), ""), Diary(fastpg, "")
    for diary in diaries:
        scenario(diary)
    return equal(*diaries)


def equal(theirs: Diary, ours: Diary) -> Diary:
    """Fail with the difference of two diaries, if there is one; else the second."""
    if ours.entries != theirs.entries:
        lines = [[line for entry in diary.entries for line in entry.split("\n")] for diary in (theirs, ours)]
        raise AssertionError("\n".join(difflib.unified_diff(*lines, "asyncpg", "fastpg", lineterm="", n=3)))
    assert ours.entries, "the scenario wrote nothing down"
    return ours
