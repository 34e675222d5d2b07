# SPDX-License-Identifier: MIT
"""Notifications, notices and the end of a connection, told to callbacks."""

from __future__ import annotations

import asyncio
import functools
import gc
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg._callbacks import Callback
from tests import messages as m
from tests.contract import covers
from tests.fakeserver import FIN, STALL, FakeServer, message, packet
from tests.sidebyside import Diary, compare

WAIT = 10


@pytest_asyncio.fixture
async def pair(dsn: str) -> AsyncIterator[tuple[fastpg.Connection, fastpg.Connection]]:
    """Who listens, and another one."""
    one, other = await fastpg.connect(dsn), await fastpg.connect(dsn)
    yield one, other
    one.terminate()
    other.terminate()
    await asyncio.sleep(0)


class Heard:
    """A callback that keeps what it gets."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.event = asyncio.Event()

    def __call__(self, *args: Any) -> None:
        self.calls.append(args)
        self.event.set()

    async def wait(self, count: int) -> list[tuple[Any, ...]]:
        async def enough() -> None:
            while len(self.calls) < count:
                self.event.clear()
                await self.event.wait()

        await asyncio.wait_for(enough(), WAIT)
        return self.calls


class Complaints(list[BaseException]):
    """What the loop's exception handler is told."""

    def __init__(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: self.append(context["exception"]))


@covers("Connection: listeners", "Connection: log listeners")
async def test_like_asyncpg(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con, other = await diary.driver.connect(diary.dsn), await diary.driver.connect(diary.dsn)

        def plain(*args: Any) -> None:
            diary.note("plain", type(args[0]).__name__, args[1] == other.get_server_pid(), args[2:])

        async def coroutine(*args: Any) -> None:
            await asyncio.sleep(0)
            diary.note("coroutine", args[0] is con, args[2:])

        async def channels() -> None:
            diary.note(await con.fetch("SELECT pg_listening_channels() ORDER BY 1"))

        await diary.attempt("not callable", lambda: con.add_listener("second", None))
        await diary.attempt("add", lambda: con.add_listener('Odd "name"', plain))
        await diary.attempt("twice", lambda: con.add_listener('Odd "name"', plain))
        await other.execute('NOTIFY "Odd ""name""", \'first\'')
        await other.execute("NOTIFY x, 'to nobody'")
        await diary.turns()
        await con.add_listener("second", functools.partial(coroutine))
        await other.fetchval("SELECT pg_notify('second', $1)", "é" * 3)
        await diary.turns()
        # One's own: it comes with the answer.
        await con.execute("NOTIFY second")
        diary.note("after one's own")
        await diary.turns()
        await diary.attempt("unknown channel", lambda: con.remove_listener("nowhere", plain))
        await diary.attempt("unknown callback", lambda: con.remove_listener("second", plain))
        await channels()
        await diary.attempt("remove", lambda: con.remove_listener('Odd "name"', plain))
        await channels()
        await con.execute("NOTIFY \"Odd \"\"name\"\"\", 'late'")
        await diary.turns()
        # In a transaction that fails.
        transaction = con.transaction()
        await transaction.start()
        await diary.attempt("wrong", lambda: con.execute("SELECT 1/0"))
        await diary.attempt("aborted", lambda: con.add_listener("third", plain))
        await transaction.rollback()
        await diary.attempt("again", lambda: con.add_listener("third", plain))
        await channels()
        busy = asyncio.ensure_future(con.execute("SELECT pg_sleep(0.2)"))
        await asyncio.sleep(0.05)
        await diary.attempt("busy", lambda: con.add_listener("fourth", plain))
        await busy
        await con.reset()
        await channels()
        await other.execute("NOTIFY third")
        await diary.turns()
        await con.close()
        await diary.attempt("closed", lambda: con.add_listener("x", plain))
        await diary.attempt("closed", lambda: con.remove_listener("x", plain))
        other.terminate()

    diary = await compare(dsn, scenario)
    assert any("'first'" in entry for entry in diary.entries) and not diary.reported


async def test_coroutines_begin_in_line_with_functions(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con, other = await diary.driver.connect(diary.dsn), await diary.driver.connect(diary.dsn)

        def plain(*args: Any) -> None:
            diary.note("plain", args[2:])

        async def coroutine(*args: Any) -> None:
            diary.note("coroutine", args[2:])
            await asyncio.sleep(0)
            diary.note("its end", args[2:])

        await con.add_listener("one", coroutine)
        await con.add_listener("two", plain)
        async with other.transaction():
            for payload in "abc":
                await other.execute("SELECT pg_notify('one', $1), pg_notify('two', $1)", payload)
        await diary.turns()
        await con.close()
        await other.close()

    await compare(dsn, scenario)


async def test_a_factory_of_tasks_is_not_asked_while_bytes_are_received(dsn: str) -> None:
    """One that is eager would run the coroutine there, up to its first await."""
    called: list[str] = []

    async def coroutine() -> None:
        called.append("coroutine")

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **given: Any) -> asyncio.Task[Any]:
        called.append("factory")
        return asyncio.Task(coro, loop=loop, **given)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        Callback(coroutine).schedule(loop)
        called.append("received")
        await asyncio.sleep(0.01)
    finally:
        loop.set_task_factory(None)
    assert called == ["received", "factory", "coroutine"]


async def test_round_trips(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    """LISTEN for the first of a channel, UNLISTEN after the last, nothing in between."""
    con, _ = pair
    queries: list[str] = []
    one, two = Heard(), Heard()
    with con.query_logger(lambda record: queries.append(record.query)):
        await con.add_listener("c", one)
        await con.add_listener("c", two)
        await con.add_listener("c", two)
        await con.remove_listener("c", two)
        await con.remove_listener("c", two)
        await con.add_listener("d", two)
        await con.remove_listener("c", one)
        await con.remove_listener("c", one)
        await con.add_listener("c", one)
    await asyncio.sleep(0)
    assert queries == ['LISTEN "c"', 'LISTEN "d"', 'UNLISTEN "c"', 'LISTEN "c"']


async def test_every_channel_is_quoted(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    con, other = pair
    heard = Heard()
    names = ["Upper", 'qu"ote', '"', "a b", "; DROP TABLE x; --", "back\\slash", "'", "ключ", "x" * 63, "é" * 31, "\n"]
    for name in names:
        await con.add_listener(name, heard)
        await other.execute("SELECT pg_notify($1, '')", name)
    assert [call[2] for call in await heard.wait(len(names))] == names
    for name in names:
        await con.remove_listener(name, heard)
    assert await con.fetch("SELECT pg_listening_channels()") == []


@pytest.mark.parametrize(
    ("channel", "text"),
    [
        ("", "channel is expected to be a name without NUL characters, got ''"),
        ("a\0b", "channel is expected to be a name without NUL characters"),
        ("x" * 64, "channel is 64 bytes long"),
        ("é" * 32, "channel is 64 bytes long"),
        (b"bytes", "channel is expected to be a str, got bytes"),
        (None, "channel is expected to be a str, got NoneType"),
    ],
)
async def test_what_cannot_be_a_channel(dsn: str, channel: Any, text: str) -> None:
    con = await fastpg.connect(dsn)
    with pytest.raises(fastpg.InterfaceError, match=text):
        await con.add_listener(channel, print)
    assert not con._channels
    await con.close()


async def test_order(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    """Notifications in the order of their commits, callbacks in the order of their registration."""
    con, other = pair
    seen: list[tuple[int, str]] = []

    def make(number: int) -> Any:
        return lambda con, pid, channel, payload: seen.append((number, payload))

    for number in range(3):
        await con.add_listener("c", make(number))
    await other.execute("DO $$ BEGIN FOR i IN 1..500 LOOP PERFORM pg_notify('c', i::text); END LOOP; END $$")
    await other.execute("NOTIFY c, 'last'")
    last = Heard()
    await con.add_listener("end", last)
    await other.execute("NOTIFY \"end\"")
    await last.wait(1)
    payloads = [*map(str, range(1, 501)), "last"]
    assert seen == [(number, payload) for payload in payloads for number in range(3)]


async def test_bursts_while_queries_run(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    """Nothing is lost or out of order while this connection queries, fails, is cancelled and times out."""
    con, other = pair
    heard = Heard()
    await con.add_listener("c", heard)
    total = 5000
    noise = 0

    async def send() -> None:
        for first in range(0, total, 100):
            await other.execute(f"SELECT pg_notify('c', g::text) FROM generate_series({first}, {first + 99}) g")

    sending = asyncio.ensure_future(send())
    while not sending.done():
        noise += 1
        assert await con.fetchval("SELECT $1::int", noise) == noise
        with pytest.raises(fastpg.DivisionByZeroError):
            await con.execute("SELECT 1/0")
        with pytest.raises(asyncio.TimeoutError):
            await con.fetch("SELECT pg_sleep(10)", timeout=0.001)
        await con.fetch("SELECT repeat('x', 1000) FROM generate_series(1, 300)")
    await sending
    assert [call[3] for call in await heard.wait(total)] == [str(i) for i in range(total)]
    assert noise


async def test_a_raising_callback_harms_nobody(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    con, other = pair
    complaints = Complaints()
    heard = Heard()

    def raises(*args: Any) -> None:
        raise ZeroDivisionError("plain")

    async def raises_later(*args: Any) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("coroutine")

    def cancels(*args: Any) -> None:
        raise asyncio.CancelledError("cancel")

    async def cancelled(*args: Any) -> None:
        raise asyncio.CancelledError("no report: a cancelled task is no error")

    for callback in (raises, raises_later, cancels, cancelled, heard):
        await con.add_listener("c", callback)
    query = asyncio.ensure_future(con.fetchval("SELECT 7 FROM pg_sleep(0.1)"))
    await other.execute("NOTIFY c, '1'")
    assert await query == 7
    await heard.wait(1)
    await asyncio.sleep(0.01)
    assert sorted(map(str, complaints)) == ["cancel", "coroutine", "plain"]
    assert await con.fetchval("SELECT 8") == 8
    await other.execute("NOTIFY c, '2'")
    await heard.wait(2)
    await asyncio.sleep(0.01)
    assert len(complaints) == 6


async def test_callbacks_that_use_the_connection(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    con, other = pair
    complaints = Complaints()
    done = Heard()
    moved = asyncio.Event()

    async def queries(connection: fastpg.Connection, pid: int, channel: str, payload: str) -> None:
        done(await connection.fetchval("SELECT $1::text", payload))

    async def removes(connection: fastpg.Connection, pid: int, channel: str, payload: str) -> None:
        await connection.remove_listener(channel, removes)
        await connection.add_listener("again", done)
        moved.set()

    await con.add_listener("c", queries)
    await other.execute("NOTIFY c, 'asked'")
    assert await done.wait(1) == [("asked",)]
    await con.remove_listener("c", queries)
    await con.add_listener("c", removes)
    await other.execute("NOTIFY c")
    await asyncio.wait_for(moved.wait(), WAIT)
    await other.execute("NOTIFY c")
    await other.execute("NOTIFY again, 'x'")
    assert (await done.wait(2))[1][2:] == ("again", "x")
    assert not complaints


async def test_a_removed_callback_is_not_called(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    """Not even for a notification that has come, and waits for its turn."""
    con, _ = pair
    heard, kept = Heard(), Heard()

    def removes(*args: Any) -> None:
        con._forget("c", heard)

    for callback in (removes, heard, kept):
        await con.add_listener("c", callback)
    await con.execute("NOTIFY c")
    await kept.wait(1)
    assert heard.calls == []


async def test_in_a_transaction(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    """A LISTEN that a rollback undid is made good by the next add_listener()."""
    con, other = pair
    heard, second = Heard(), Heard()
    transaction = con.transaction()
    await transaction.start()
    await con.add_listener("c", heard)
    await transaction.rollback()
    assert await con.fetch("SELECT pg_listening_channels()") == []
    await con.add_listener("c", second)
    await other.execute("NOTIFY c")
    await heard.wait(1)
    await second.wait(1)
    async with con.transaction():
        await con.add_listener("d", heard)
    await other.execute("NOTIFY d")
    await heard.wait(2)


async def test_a_cancelled_add_leaves_nothing(pair: tuple[fastpg.Connection, fastpg.Connection]) -> None:
    con, other = pair
    heard = Heard()
    task = asyncio.ensure_future(con.add_listener("c", heard))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not con._channels
    await con.add_listener("c", heard)
    await other.execute("NOTIFY c")
    await heard.wait(1)


async def test_other_encodings(dsn: str) -> None:
    con, other = await fastpg.connect(dsn), await fastpg.connect(dsn)
    await con.execute("SET client_encoding TO latin1")
    heard = Heard()
    await con.add_listener("plain", heard)
    await other.execute("NOTIFY plain, 'é'")
    assert (await heard.wait(1))[0][3] == "é"
    con.terminate()
    other.terminate()


async def test_notices_like_asyncpg(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)

        def log(connection: Any, message: Any) -> None:
            kinds = [kind.__name__ for kind in type(message).__mro__ if not kind.__name__.startswith("Pg")]
            diary.note("log", connection is con, *kinds, "|", message, message.severity, message.sqlstate,
                       message.detail, message.hint)  # fmt: skip

        await diary.attempt("not callable", lambda: con.add_log_listener(None))
        con.add_log_listener(log)
        con.add_log_listener(log)
        for level in ("debug", "log", "info", "notice", "warning"):
            await con.execute(f"DO $$ BEGIN RAISE {level} 'text' USING detail = 'more', hint = 'help'; END $$")
        await con.execute("DO $$ BEGIN RAISE warning SQLSTATE '22012'; END $$")
        await con.execute("DO $$ BEGIN RAISE notice SQLSTATE 'XX999'; RAISE warning SQLSTATE 'XX999'; END $$")
        await con.execute("CREATE TEMP TABLE t (); CREATE TEMP TABLE IF NOT EXISTS t (); COMMIT")
        con.remove_log_listener(log)
        con.remove_log_listener(log)
        await con.execute("DO $$ BEGIN RAISE warning 'to nobody'; END $$")
        con.add_log_listener(log)
        await con.reset()
        await con.execute("DO $$ BEGIN RAISE warning 'after a reset'; END $$")
        await con.close()
        await diary.attempt("closed", lambda: con.add_log_listener(log))
        await diary.attempt("closed", lambda: con.remove_log_listener(log))

    diary = await compare(dsn, scenario)
    assert sum(entry.startswith("log") for entry in diary.entries) == 8


async def test_the_end_like_asyncpg(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        other = await diary.driver.connect(diary.dsn)
        for end in ("close", "terminate", "killed", "killed in a query"):
            con = await diary.driver.connect(diary.dsn)

            calls: list[tuple[Any, ...]] = []

            def plain(connection: Any, con: Any = con, calls: Any = calls) -> None:
                calls.append(("plain", connection is con, con.is_closed()))

            async def coroutine(connection: Any, con: Any = con, calls: Any = calls) -> None:
                calls.append(("coroutine", connection is con, con.is_closed()))

            diary.note(end)
            await diary.attempt("not callable", lambda con=con: con.add_termination_listener(None))
            for callback in (plain, plain, print, coroutine):
                con.add_termination_listener(callback)
            con.remove_termination_listener(print)
            con.remove_termination_listener(print)
            await con.add_listener("x", print)
            if end == "close":
                await con.close()
            elif end == "terminate":
                con.terminate()
                con.terminate()
            else:
                query = asyncio.ensure_future(con.fetchval("SELECT 7 FROM pg_sleep(0.3)"))
                if end == "killed":
                    await query
                await asyncio.sleep(0.05)
                await other.fetchval("SELECT pg_terminate_backend($1)", con.get_server_pid())
                if end != "killed":
                    await diary.attempt("query", lambda query=query: query)
            await diary.turns()
            diary.note(sorted(calls))  # asyncpg keeps listeners in a set
        other.terminate()

    diary = await compare(dsn, scenario)
    assert diary.entries.count("[('coroutine', True, True), ('plain', True, True)]") == 4


async def test_too_late_for_the_end(dsn: str) -> None:
    """A listener that comes after the end hears of it all the same."""
    con = await fastpg.connect(dsn)
    heard = Heard()
    con.terminate()
    con.add_termination_listener(heard)
    assert heard.calls == []
    assert await heard.wait(1) == [(con,)]
    await con.close()
    assert len(heard.calls) == 1


async def test_termination_listeners_that_raise(dsn: str) -> None:
    complaints = Complaints()
    heard = Heard()
    con = await fastpg.connect(dsn)

    def raises(connection: Any) -> None:
        raise ZeroDivisionError

    async def raises_later(connection: Any) -> None:
        raise ZeroDivisionError

    for callback in (raises, raises_later, heard):
        con.add_termination_listener(callback)
    await con.close()
    assert await heard.wait(1) == [(con,)]
    await asyncio.sleep(0.01)
    assert len(complaints) == 2


WELCOME = m.message("R", b"\0\0\0\0") + m.message("K", b"\0\0\0\7\0\0\0\7")


async def test_a_callback_that_ends_the_connection() -> None:
    """In the middle of a query's answer."""
    script: list[Any] = [
        packet(), WELCOME + m.ready(), message(), m.command_complete("LISTEN") + m.ready(),
        message(), m.row_description(("a", 23)) + m.notification() + m.data_row(b"1"), STALL,
    ]  # fmt: skip
    with FakeServer(script) as server:
        con = await fastpg.connect(server.dsn, ssl=False)
        await con.add_listener("c", lambda connection, *rest: connection.terminate())
        with pytest.raises(fastpg.ConnectionDoesNotExistError):
            await asyncio.wait_for(con.execute("SELECT 1"), WAIT)
        assert con.is_closed()


async def test_at_every_place() -> None:
    """With the end of the start-up, in the middle of an answer, after it, and with the end of the connection."""
    notify = [m.notification(7, "c", str(i)) for i in range(6)]
    script: list[Any] = [
        packet(), WELCOME + m.notice("early") + notify[0] + m.ready() + notify[0] + m.notice("early"),
        message(), notify[1] + m.command_complete("LISTEN") + m.ready(),
        message(), m.row_description(("a", 23)) + notify[2] + m.data_row(b"1") + m.notice() + notify[3]
        + m.command_complete("SELECT 1") + m.ready() + m.notice(),
        message(), notify[4] + m.error("57P01", "shutting down", "FATAL") + notify[5], FIN,
    ]  # fmt: skip
    for split in (None, 1, 7):
        with FakeServer(script, split=split) as server:
            con = await fastpg.connect(server.dsn, ssl=False)
            heard, logs, end = Heard(), Heard(), Heard()
            con.add_log_listener(logs)
            con.add_termination_listener(end)
            await con.add_listener("c", heard)
            assert await con.execute("SELECT 1") == "SELECT 1"
            with pytest.raises(fastpg.ConnectionDoesNotExistError, match="shutting down"):
                await con.execute("SELECT 2")
            assert await end.wait(1) == [(con,)]
            # Number 0 came before anybody listened. What came before the end is told before it.
            assert [call[1:] for call in heard.calls if call[3] != "0"] == [(7, "c", str(i)) for i in range(1, 6)]
            assert {str(call[1]) for call in logs.calls} >= {"PostgresLogMessage: hello"}
            assert con.is_closed()


async def test_pooled(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            other = await diary.driver.connect(diary.dsn)
            con = await pool.acquire()

            def on_notification(connection: Any, pid: int, channel: str, payload: str) -> None:
                diary.note("notification", connection is con, payload)

            def on_notice(connection: Any, message: Any) -> None:
                diary.note("notice", connection is con, message)

            await con.add_listener("c", on_notification)
            await con.add_listener("d", on_notification)
            con.add_log_listener(on_notice)
            await con.execute("NOTIFY c, 'borrowed'; DO $$ BEGIN RAISE NOTICE 'borrowed'; END $$")
            await diary.turns()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                await pool.release(con)
            for warning in caught:
                diary.note(warning.category.__name__, warning.message)
            async with pool.acquire() as next_one:
                await other.execute("NOTIFY c, 'released'")
                await next_one.execute("DO $$ BEGIN RAISE NOTICE 'released'; END $$")
                diary.note(await next_one.fetch("SELECT pg_listening_channels()"))
                await next_one.add_listener("c", on_notification)
                await next_one.remove_listener("c", on_notification)
            # Nothing left to warn of.
            other.terminate()

    diary = await compare(dsn, scenario)
    assert any("2 active notification listeners" in entry for entry in diary.entries)


async def test_the_end_of_a_pooled_connection(dsn: str) -> None:
    """Who has borrowed it hears of its proxy; the listener stays when it goes back."""
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        heard = Heard()
        con = await pool.acquire()
        con.add_termination_listener(lambda connection: heard(connection, connection.is_closed()))
        con.terminate()
        assert await heard.wait(1) == [(con, True)]
        await pool.release(con)
        con = await pool.acquire()
        raw = con._con
        con.add_termination_listener(heard)
        await pool.release(con)
    assert (await heard.wait(2))[1] == (raw,)


async def test_a_warning_that_is_an_error(dsn: str) -> None:
    """The release is done all the same."""
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        con = await pool.acquire()
        await con.add_listener("c", print)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(fastpg.InterfaceWarning, match="1 active notification listener$"):
                await pool.release(con)
        async with pool.acquire(timeout=WAIT) as con:
            assert await con.fetch("SELECT pg_listening_channels()") == []
        assert pool.get_idle_size() == 1


async def test_a_forgotten_connection(dsn: str) -> None:
    """Listeners do not keep it alive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # what other tests have left, such as the TLS transports of Python 3.10
    con = await fastpg.connect(dsn)
    await con.add_listener("c", print)
    con.add_log_listener(print)
    with pytest.warns(ResourceWarning, match="unclosed connection <fastpg.connection.Connection 0x.*>; run in asyncio"):
        del con
        gc.collect()
    await asyncio.sleep(0.01)


async def test_a_forgotten_connection_in_debug_mode(dsn: str) -> None:
    asyncio.get_running_loop().set_debug(True)
    con = await fastpg.connect(dsn)
    asyncio.get_running_loop().set_debug(False)
    with pytest.warns(ResourceWarning, match=r"created at \(most recent call last\):\n(.|\n)*in connect"):
        del con
        gc.collect()
    await asyncio.sleep(0.01)
