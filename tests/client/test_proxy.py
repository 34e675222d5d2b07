# SPDX-License-Identifier: MIT
"""Behind PgBouncer, in session and in transaction mode: several clients share fewer sessions of the server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import _shapes, exceptions, transaction
from tests.bouncer import bouncer, program
from tests.wiretap import wiretap

LIVE = pytest.mark.skipif(program() is None, reason="no PgBouncer here")


@pytest.fixture(scope="module", params=["session", "transaction"])
def behind(request: pytest.FixtureRequest, dsn: str) -> Iterator[tuple[str, str]]:
    """The mode, and the DSN of a PgBouncer in it."""
    if program() is None:
        pytest.skip("no PgBouncer here")
    with bouncer(dsn, request.param, size=20 if request.param == "session" else 2) as through:
        yield request.param, through


@pytest.fixture(scope="module")
def by_transaction(dsn: str) -> Iterator[str]:
    """The DSN of a PgBouncer in transaction mode, with two sessions."""
    if program() is None:
        pytest.skip("no PgBouncer here")
    with bouncer(dsn, "transaction") as through:
        yield through


@pytest_asyncio.fixture
async def clients(behind: tuple[str, str]) -> AsyncIterator[list[Any]]:
    """Five connections."""
    mode, through = behind
    clients = [await fastpg.connect(through, proxy=mode) for _ in range(5)]
    await clients[0].execute("DROP TABLE IF EXISTS proxied; CREATE TABLE proxied (a int, b text)")
    yield clients
    for client in clients:
        await asyncio.wait_for(client.close(), 10)


async def together(clients: list[Any], what: Any, times: int = 20) -> None:
    """Run what(client, number) on all clients at once, `times` times each."""

    async def run(client: Any, first: int) -> None:
        for number in range(first, first + times):
            await what(client, number)

    await asyncio.wait_for(asyncio.gather(*[run(client, 1000 * i) for i, client in enumerate(clients)]), 60)


async def test_queries(clients: list[Any]) -> None:
    async def query(client: Any, number: int) -> None:
        assert await client.fetchval("SELECT $1::int + 1", number) == number + 1
        assert await client.fetch("SELECT $1::text, $2::int", "x", number) == [("x", number)]
        assert await client.execute("SELECT 1; SELECT 2") == "SELECT 1"
        with pytest.raises(exceptions.DivisionByZeroError):
            await client.fetchval("SELECT 1 / $1::int", 0)

    await together(clients, query)


async def test_transactions(clients: list[Any]) -> None:
    async def transfer(client: Any, number: int) -> None:
        async with client.transaction():
            await client.execute("INSERT INTO proxied VALUES ($1, $2)", number, "kept")
            try:
                async with client.transaction():
                    await client.execute("INSERT INTO proxied VALUES ($1, $2)", number, "lost")
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            assert await client.fetchval("SELECT count(*) FROM proxied WHERE a = $1", number) == 1
            async with client.transaction():
                pass

    await together(clients, transfer, 10)
    assert await clients[0].fetchval("SELECT count(*) FROM proxied WHERE b = 'kept'") == 50
    assert await clients[0].fetchval("SELECT count(*) FROM proxied") == 50


async def test_statements_and_cursors(clients: list[Any]) -> None:
    async def run(client: Any, number: int) -> None:
        statement = await client.prepare("SELECT g FROM generate_series(1, $1::int) g")
        other = await client.prepare("SELECT $1::text")
        assert await statement.fetch(3) == [(1,), (2,), (3,)]
        assert await other.fetchval("x") == "x"
        await client.executemany("INSERT INTO proxied VALUES ($1, $2)", [(number, "m")] * 3)
        async with client.transaction():
            assert [row[0] async for row in statement.cursor(5, prefetch=2)] == [1, 2, 3, 4, 5]
            cursor = await client.cursor("SELECT g FROM generate_series(1, 5) g")
            assert await cursor.fetch(2) == [(1,), (2,)]
            assert await cursor.forward(1) == 1

    await together(clients, run, 5)


async def test_pipelines(clients: list[Any]) -> None:
    async def run(client: Any, number: int) -> None:
        async with client.pipeline() as p:
            values = [p.fetchval("SELECT $1::int", number + i) for i in range(20)]
            wrong = p.fetchval("SELECT 1 / $1::int", 0)
            last = p.fetchval("SELECT 'last'")
            with pytest.raises(exceptions.DivisionByZeroError):
                await wrong
        assert [await value for value in values] == [number + i for i in range(20)] and await last == "last"
        async with client.pipeline(atomic=True) as p:
            values = [p.fetchval("SELECT $1::int", number + i) for i in range(20)]
        assert [await value for value in values] == [number + i for i in range(20)]
        async with client.transaction(), client.pipeline() as p:
            p.execute("INSERT INTO proxied VALUES ($1, 'p')", number)

    await together(clients, run, 5)
    assert await clients[0].fetchval("SELECT count(*) FROM proxied") == 25


async def test_copy(clients: list[Any]) -> None:
    async def run(client: Any, number: int) -> None:
        await client.copy_records_to_table("proxied", records=[(number, "r")] * 3)
        async with client.transaction():
            await client.copy_to_table("proxied", source=b"1\tx\n" * 1000)
        output = io.BytesIO()
        assert await client.copy_from_query("SELECT $1::int", number, output=output) == "COPY 1"
        assert output.getvalue() == b"%d\n" % number

    await together(clients, run, 5)
    assert await clients[0].fetchval("SELECT count(*) FROM proxied") == 5 * 5 * 1003


async def test_timeouts_and_cancels(clients: list[Any]) -> None:
    async def run(client: Any, number: int) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await client.execute("SELECT pg_sleep(10)", timeout=0.03)
        assert await client.fetchval("SELECT $1::int", number) == number
        with pytest.raises(asyncio.TimeoutError):
            async with client.transaction():
                await client.fetchval("SELECT pg_sleep($1)", 10.0, timeout=0.03)
        assert await client.fetchval("SELECT $1::int", number) == number

    await together(clients, run, 2)


async def test_begin_fails(clients: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(client: Any, number: int) -> None:
        monkeypatch.setattr(transaction.Transaction, "_begin", lambda self: "BEGIN NONSENSE")
        for call in (
            lambda: client.execute("INSERT INTO proxied VALUES (1)"),
            lambda: client.execute("INSERT INTO proxied VALUES ($1)", number),
            lambda: client.copy_to_table("proxied", source=b"1\tx\n"),
            lambda: client.copy_from_query("INSERT INTO proxied VALUES (1) RETURNING a", output=io.BytesIO()),
        ):
            with pytest.raises(exceptions.PostgresSyntaxError):
                async with client.transaction():
                    try:
                        await call()
                    finally:
                        with pytest.raises(exceptions.InFailedSQLTransactionError):
                            await client.execute("INSERT INTO proxied VALUES (1)")
            assert not client.is_in_transaction()
        monkeypatch.undo()
        assert await client.fetchval("SELECT $1::int", number) == number

    for client in clients:
        await asyncio.wait_for(run(client, 1), 10)
    assert await clients[0].fetchval("SELECT count(*) FROM proxied") == 0
    await test_queries(clients)


async def test_types_of_ones_own(clients: list[Any]) -> None:
    await clients[0].execute("DROP TYPE IF EXISTS proxied_color; CREATE TYPE proxied_color AS ENUM ('red')")

    async def run(client: Any, number: int) -> None:
        assert await client.fetchval("SELECT $1::proxied_color", "red") == "red"
        assert await client.fetchval("SELECT row($1::int, 'red'::proxied_color)", number) == (number, "red")
        await client.set_type_codec("proxied_color", schema="public", encoder=str.lower, decoder=str.upper)
        assert await client.fetchval("SELECT $1::proxied_color", "RED") == "RED"
        await client.reset_type_codec("proxied_color", schema="public")

    await together(clients, run, 3)
    await clients[0].execute("DROP TYPE proxied_color")


async def test_a_pool(behind: tuple[str, str]) -> None:
    mode, through = behind
    async with fastpg.create_pool(through, proxy=mode, min_size=6, max_size=6) as pool:

        async def run(number: int) -> None:
            assert await pool.fetchval("SELECT $1::int", number) == number
            async with pool.acquire() as client, client.transaction():
                assert await client.fetchval("SELECT $1::int", number) == number

        await asyncio.wait_for(asyncio.gather(*[run(i) for i in range(60)]), 60)


async def test_transaction_mode_leaves_no_trace(by_transaction: str, dsn: str) -> None:
    _shapes.clear()
    async with wiretap(by_transaction) as (tap, tapped):
        async with fastpg.create_pool(tapped, proxy="transaction", min_size=1, max_size=1) as pool:
            await pool.fetchval("SELECT $1::int", 1)
            tap.clear()
            assert await pool.fetchval("SELECT $1::int", 2) == 2
            assert (tap.round_trips, tap.messages()) == (1, "PDBES"), "no reset, no name"
            assert await pool.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
            async with pool.acquire() as client:
                assert client.get_reset_query() == ""
                with pytest.raises(exceptions.InterfaceError, match=r"add_listener\(\) is not possible with proxy="):
                    await client.add_listener("news", print)
                with pytest.raises(exceptions.InterfaceError, match="goes straight to the server"):
                    await client.add_listener("news", print)
            tap.clear()
            async with pool.acquire() as client, client.transaction():
                await client.execute("SELECT $1::int", 3)
            assert tap.round_trips == 2


async def test_session_mode_is_a_session(dsn: str) -> None:
    if program() is None:
        pytest.skip("no PgBouncer here")
    with bouncer(dsn, "session") as through:
        connection = await fastpg.connect(through, proxy="session")
        heard: asyncio.Queue[str] = asyncio.Queue()
        await connection.add_listener("news", lambda *args: heard.put_nowait(args[3]))
        await connection.execute("NOTIFY news, 'x'")
        assert await asyncio.wait_for(heard.get(), 10) == "x"
        await connection.fetchval("SELECT $1::int", 1)
        assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") > 0
        assert "RESET ALL" in connection.get_reset_query()
        await connection.close()


async def test_what_a_proxy_refuses_is_not_sent(dsn: str) -> None:
    # The strict profile sets a limit for idle transactions at the start, and offers protocol 3.2.
    async with wiretap(dsn) as (tap, tapped):
        for proxy, expected in ((None, True), ("session", False), ("transaction", False)):
            tap.clear()
            with pytest.raises((OSError, exceptions.InterfaceError, exceptions.PostgresError)):
                await fastpg.connect(tapped, proxy=proxy, security="strict", require_auth="none", sslmode="disable",
                                     channel_binding="disable", password="secret")  # fmt: skip
            sent = b"".join(what for who, what in tap.said if who == "client")
            assert (b"idle_in_transaction_session_timeout" in sent) == expected
            assert (sent[4:8] == b"\0\3\0\2") == expected


@pytest.mark.parametrize("proxy", ["pgbouncer", "", 1, True])
async def test_another_name(proxy: Any) -> None:
    with pytest.raises(exceptions.ClientConfigurationError, match="proxy must be None or one of: session, transaction"):
        await fastpg.connect("postgresql://127.0.0.1:1/x", proxy=proxy)
