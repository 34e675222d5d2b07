# SPDX-License-Identifier: MIT
"""One operation at a time, timeouts and cancels, as both drivers have them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.contract import covers, differs
from tests.sidebyside import Diary, both, compare

SLEEP = "SELECT pg_sleep(30)"


@asynccontextmanager
async def running(call: Callable[[], Any]) -> AsyncIterator[Any]:
    """A call that has been sent and waits for its answer; it is cancelled at the end."""
    task = asyncio.ensure_future(call())
    await asyncio.sleep(0.02)
    assert not task.done()
    yield task
    task.cancel()
    await asyncio.wait([task])


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "execute": lambda con, statement: con.execute("SELECT 1"),
    "execute with arguments": lambda con, statement: con.execute("SELECT $1::int", 1),
    "fetch": lambda con, statement: con.fetch("SELECT 1"),
    "fetchrow": lambda con, statement: con.fetchrow("SELECT 1"),
    "fetchval": lambda con, statement: con.fetchval("SELECT 1"),
    "fetchmany": lambda con, statement: con.fetchmany("SELECT $1::int", [(1,)]),
    "executemany": lambda con, statement: con.executemany("SELECT $1::int", [(1,)]),
    "prepare": lambda con, statement: con.prepare("SELECT 2"),
    "statement.fetch": lambda con, statement: statement.fetch(1),
    "statement.fetchval": lambda con, statement: statement.fetchval(1),
    "statement.executemany": lambda con, statement: statement.executemany([(1,)]),
    "transaction": lambda con, statement: con.transaction().start(),
    "copy_from_query": lambda con, statement: con.copy_from_query("SELECT 1", output=io.BytesIO()),
    "copy_records_to_table": lambda con, statement: con.copy_records_to_table("t", records=[(1,)]),
    "reset": lambda con, statement: con.reset(),
    "add_listener": lambda con, statement: con.add_listener("c", print),
    "set_type_codec": lambda con, statement: con.set_type_codec(
        "int4", schema="pg_catalog", encoder=str, decoder=int
    ),
    "is_closed": lambda con, statement: con.is_closed(),
    "is_in_transaction": lambda con, statement: con.is_in_transaction(),
    "get_server_pid": lambda con, statement: con.get_server_pid() > 0,
    "get_settings": lambda con, statement: con.get_settings().TimeZone != "",
}


@covers("busy: a second call")
@pytest.mark.parametrize("first", ["execute", "fetch", "statement", "copy"])
async def test_a_second_call(dsn: str, first: str) -> None:
    """Is refused, whatever it is and whatever runs; what runs is not disturbed."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        statement = await con.prepare("SELECT $1::int")
        sleep = await con.prepare(SLEEP)
        calls = {
            "execute": lambda: con.execute(SLEEP),
            "fetch": lambda: con.fetch(SLEEP),
            "statement": sleep.fetch,
            "copy": lambda: con.copy_from_query(SLEEP, output=io.BytesIO()),
        }
        async with running(calls[first]) as task:
            for name, call in CALLS.items():
                await diary.attempt(name, lambda call=call: call(con, statement))
            diary.note("still runs", not task.done())
        diary.value("afterwards", await con.fetchval("SELECT 1"))
        con.terminate()

    diary = await compare(dsn, scenario)
    assert sum("another operation is in progress" in entry for entry in diary.entries) >= 15


@covers("busy: a second call")
async def test_a_second_call_inside_a_section(dsn: str) -> None:
    """Between the steps of one operation too: while it prepares, introspects or executes many."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        for name, first in {
            "new statement": lambda: con.fetch("SELECT $1::int + 1, pg_sleep(0.01)", 1),
            "many": lambda: con.executemany("SELECT $1::int, pg_sleep(0.001)", [(i,) for i in range(20)]),
            "script": lambda: con.execute("SELECT pg_sleep(0.01); SELECT 1"),
        }.items():
            task = asyncio.ensure_future(first())
            await asyncio.sleep(0)
            while not task.done():
                try:
                    await con.fetchval("SELECT 1")
                except diary.driver.InterfaceError as error:
                    text = str(error)
                await asyncio.sleep(0)
            diary.note(name, text)
            diary.note(await task)
        con.terminate()

    diary = await compare(dsn, scenario)
    assert "another operation is in progress" in diary.entries[0]


BEHIND = ["execute", "fetch", "fetchval", "executemany", "prepare", "statement.fetch", "transaction", "reset",
          "copy_records_to_table", "set_type_codec"]  # fmt: skip


@covers("busy: a pending cancel")
@pytest.mark.parametrize("ending", ["timeout", "cancel"])
async def test_a_call_behind_a_cancel(dsn: str, ending: str) -> None:
    """Waits until the cancelled one has ended, and then runs."""

    async def scenario(diary: Diary) -> None:
        for name in BEHIND:
            call = CALLS[name]
            con = await diary.driver.connect(diary.dsn)
            await con.execute("CREATE TEMP TABLE t (a int)")
            statement = await con.prepare("SELECT $1::int")
            if ending == "timeout":
                await diary.attempt("timeout", lambda con=con: con.execute(SLEEP, timeout=0.02))
            else:
                async with running(lambda con=con: con.fetch(SLEEP)):
                    pass
            if name in ("prepare", "transaction", "set_type_codec"):
                await call(con, statement)
                diary.note(name, "went well")
            else:
                await diary.attempt(name, lambda call=call, con=con, statement=statement: call(con, statement))
            con.terminate()

    await compare(dsn, scenario)


@covers("timeouts")
@pytest.mark.parametrize("limit", [0, -1, 0.0, -0.5, 10, 0.5, float("inf")], ids=repr)
async def test_values_of_timeout(dsn: str, limit: Any) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        await con.execute("CREATE TEMP TABLE t (a int)")
        statement = await con.prepare("SELECT $1::int")
        for name, call in {
            "execute": lambda: con.execute("SELECT 1", timeout=limit),
            "execute with arguments": lambda: con.execute("SELECT $1::int", 1, timeout=limit),
            "fetch": lambda: con.fetch("SELECT 1", timeout=limit),
            "fetchrow": lambda: con.fetchrow("SELECT 1", timeout=limit),
            "fetchval": lambda: con.fetchval("SELECT 1", timeout=limit),
            "executemany": lambda: con.executemany("SELECT $1::int", [(1,)], timeout=limit),
            "statement": lambda: statement.fetchval(1, timeout=limit),
            "copy": lambda: con.copy_records_to_table("t", records=[(1,)], timeout=limit),
            "copy out": lambda: con.copy_from_query("SELECT 1", output=io.BytesIO(), timeout=limit),
        }.items():
            await diary.attempt(name, call)
            diary.state(name, con)
        diary.value("afterwards", await con.fetchval("SELECT 1"))
        con.terminate()

    await compare(dsn, scenario)


@covers("timeouts")
@differs("Values of timeout")
async def test_what_is_no_timeout(dsn: str) -> None:
    """asyncpg takes what float() takes, and looks for a bool only where statements are cached."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        statement = await con.prepare("SELECT $1::int")
        for limit in (True, "1"):
            for name, call in {
                "statement": lambda limit=limit: statement.fetchval(1, timeout=limit),
                "copy": lambda limit=limit: con.copy_from_query("SELECT 1", output=io.BytesIO(), timeout=limit),
            }.items():
                try:
                    diary.note(name, limit, await call())
                except ValueError as error:
                    diary.note(name, limit, error)
        con.terminate()

    theirs, ours = await both(dsn, scenario)
    assert {entry.split()[-1] for entry in theirs.entries} == {"1"}
    for limit in (True, "1"):
        for name in ("statement", "copy"):
            text = f"invalid timeout value: expected non-negative float (got {limit!r})"
            assert f"{name} {limit} {text}" in ours.entries


@covers("timeouts")
async def test_where_a_timeout_strikes(dsn: str) -> None:
    """It is one budget for all steps of a call; its exception has no text; transactions are aborted, not ended."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, command_timeout=0.2)
        statement = await con.prepare(SLEEP)
        for name, call in {
            "execute": lambda: con.execute(SLEEP),
            "fetch": lambda: con.fetch(SLEEP),
            "arguments": lambda: con.fetchval("SELECT pg_sleep($1)", 30.0),
            "statement": statement.fetch,
            "many": lambda: con.executemany("SELECT pg_sleep($1)", [(30.0,)]),
            "copy": lambda: con.copy_from_query(SLEEP, output=io.BytesIO()),
            "script": lambda: con.execute("SELECT 1; SELECT pg_sleep(30)"),
            "longer": lambda: con.fetchval("SELECT pg_sleep(0.1)", timeout=10),
        }.items():
            await diary.attempt(name, call)
            diary.state(name, con)
        transaction = con.transaction()
        await transaction.start()
        await diary.attempt("inside", lambda: con.fetch(SLEEP))
        await diary.attempt("next", lambda: con.fetch("SELECT 1"))
        await diary.attempt("commit", transaction.commit)
        diary.state("committed", con)
        cursors = con.transaction()
        await cursors.start()
        cursor = await con.cursor("SELECT i, pg_sleep(i) FROM generate_series(0, 30, 30) i")
        await diary.attempt("cursor", lambda: cursor.fetch(1))
        await diary.attempt("cursor", lambda: cursor.fetch(1))
        await diary.attempt("rollback", cursors.rollback)
        diary.state("rolled back", con)
        await diary.attempt("reset", con.reset)
        await diary.attempt("close", lambda: con.close(timeout=5))
        diary.note("closed", con.is_closed())

    diary = await compare(dsn, scenario)
    assert any("TimeoutError" in entry for entry in diary.entries)


@covers("cancellation", "timeouts")
@pytest.mark.parametrize("step", ["execute", "new statement", "statement", "many", "copy", "script", "transaction"])
async def test_cancelled(dsn: str, step: str) -> None:
    """The next query runs; inside a transaction it finds it aborted. Nothing goes on on the server."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        statement = await con.prepare(SLEEP)
        transaction = con.transaction()
        if step == "transaction":
            await transaction.start()
        calls = {
            "execute": lambda: con.execute(SLEEP),
            "new statement": lambda: con.fetch("SELECT $1::int, pg_sleep(30)", 1),
            "statement": statement.fetch,
            "many": lambda: con.executemany("SELECT pg_sleep($1)", [(30.0,)] * 3),
            "copy": lambda: con.copy_from_query(SLEEP, output=io.BytesIO()),
            "script": lambda: con.execute("SELECT 1; SELECT pg_sleep(30)"),
            "transaction": lambda: con.fetch(SLEEP),
        }
        task = asyncio.ensure_future(calls[step]())
        await asyncio.sleep(0.05)
        task.cancel()
        await diary.attempt(step, lambda: task)
        await diary.attempt("next", lambda: con.fetchval("SELECT 'next'"))
        diary.state("next", con)
        if step == "transaction":
            await diary.attempt("savepoint", con.transaction().start)
            await transaction.rollback()
        await diary.seen("session", con, "state", "query")
        diary.value("again", await con.fetchval("SELECT 'again'"))
        con.terminate()

    await compare(dsn, scenario)


@covers("cancellation")
async def test_cancelled_too_late(dsn: str) -> None:
    """A cancel of what has ended harms nobody."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        for n in range(20):
            task = asyncio.ensure_future(con.fetchval("SELECT $1::int", n))
            await asyncio.sleep(0.0005 * n)
            task.cancel()
            await asyncio.wait([task])
            if await con.fetchval("SELECT $1::int", n) != n:
                diary.note("another's answer")
        diary.state("end", con)
        con.terminate()

    await compare(dsn, scenario)


@covers("Transaction: errors")
@pytest.mark.parametrize("default", ["read committed", "serializable"])
async def test_isolation_of_nested_transactions(dsn: str, default: str) -> None:
    """It has to be that of the outer one, or the server's default."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, server_settings={"default_transaction_isolation": default})
        for outer in (None, "read_committed", "repeatable_read"):
            for inner in (None, "read_committed", "read_uncommitted", "serializable"):
                transaction = con.transaction(isolation=outer)
                await transaction.start()
                await diary.attempt(f"{outer} {inner}", con.transaction(isolation=inner).start)
                await transaction.rollback()
        con.terminate()

    await compare(dsn, scenario)


@covers("Connection: reset")
async def test_reset_after_a_commit_in_sql(dsn: str) -> None:
    """The transaction that it has ended is forgotten."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        await con.transaction().start()
        await con.execute("COMMIT")
        await con.reset()
        diary.note("reported", len(diary.reported))
        async with con.transaction(isolation="serializable"):
            diary.value("isolation", await con.fetchval("SHOW transaction_isolation"))
        con.terminate()

    await compare(dsn, scenario)


@covers("busy: after close")
@pytest.mark.parametrize("how", ["close", "terminate", "by the server"])
async def test_after_the_end(dsn: str, how: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        statement = await con.prepare("SELECT $1::int")
        if how == "close":
            await con.close()
        elif how == "terminate":
            con.terminate()
        else:
            other = await diary.driver.connect(diary.dsn)
            await other.execute("SELECT pg_terminate_backend($1, 5000)", con.get_server_pid())
            await other.close()
            await diary.turns()
        for name, call in CALLS.items():
            if name not in ("get_server_pid", "copy_from_query", "is_in_transaction", "get_settings"):
                await diary.attempt(name, lambda call=call: call(con, statement))
        await diary.attempt("close", con.close)
        await diary.attempt("terminate", con.terminate)

    await compare(dsn, scenario)


@covers("busy: after close")
@differs("Closed connections")
async def test_what_asyncpg_forgets_after_the_end(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        con.terminate()
        for name in ("copy_from_query", "is_in_transaction", "get_settings"):
            try:
                diary.note(name, type(await ready(CALLS[name](con, None))).__name__)
            except Exception as error:
                diary.note(name, type(error).__name__, error)

    async def ready(result: Any) -> Any:
        return await result if asyncio.iscoroutine(result) else result

    theirs, ours = await both(dsn, scenario)
    assert {entry.split()[1] for entry in theirs.entries} == {"AttributeError"}
    assert ours.entries == [
        "copy_from_query InterfaceError connection is closed", "is_in_transaction bool", "get_settings bool"
    ]  # fmt: skip
