# SPDX-License-Identifier: MIT
"""How a pool hands out connections, takes them back and replaces them."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest

import fastpg
from tests.contract import covers, differs
from tests.sidebyside import Diary, both, compare, plain

asyncpg = pytest.importorskip("asyncpg")


def numbered(pids: list[int]) -> list[int]:
    """Process ids as numbers in the order of their first appearance."""
    seen = list(dict.fromkeys(pids))
    return [seen.index(pid) for pid in pids]


@covers("pool: order", "pool: numbers of connections")
async def test_last_in_first_out(dsn: str) -> None:
    """Those that are connected before those that are not, the one released last first."""

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=2, max_size=5) as pool:
            pids = []
            for pattern in ("a", "aa", "aar", "aaar", "raaa", "rrr", "aaaaarrrrr", "a"):
                held: list[Any] = []
                for step in pattern:
                    if step == "a":
                        held.append(await pool.acquire())
                        pids.append(held[-1].get_server_pid())
                    elif held:
                        await pool.release(held.pop(0))
                diary.note(pattern, pool.get_size(), pool.get_idle_size(), numbered(pids))
                for con in held:
                    await pool.release(con)
            diary.note(pool.get_size(), pool.get_idle_size(), numbered(pids))

    await compare(dsn, scenario)


@covers("pool: order")
async def test_those_who_wait_are_served_in_order(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        order: list[int] = []

        async def use(pool: Any, n: int) -> None:
            async with pool.acquire() as con:
                order.append(n)
                await con.fetchval("SELECT 1")

        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=2) as pool:
            held = [await pool.acquire() for _ in range(2)]
            tasks = []
            for n in range(6):
                tasks.append(asyncio.ensure_future(use(pool, n)))
                await asyncio.sleep(0)
            tasks[2].cancel()
            for con in held:
                await pool.release(con)
            await asyncio.wait(tasks)
        diary.note(order)

    await compare(dsn, scenario)


@covers("pool: numbers of connections")
@pytest.mark.parametrize(
    "sizes",
    [{"min_size": 0, "max_size": 3}, {"min_size": 2, "max_size": 2}, {"min_size": 1, "max_size": 4},
     {"min_size": 3, "max_size": 2}, {"min_size": -1, "max_size": 2}, {"min_size": 0, "max_size": 0},
     {"max_size": -5}, {"min_size": 0, "max_size": 2, "max_queries": 0},
     {"min_size": 0, "max_size": 2, "max_inactive_connection_lifetime": -1}],
    ids=str,
)  # fmt: skip
async def test_sizes(dsn: str, sizes: dict[str, Any]) -> None:
    async def scenario(diary: Diary) -> None:
        made: list[int] = []

        async def init(con: Any) -> None:
            made.append(con.get_server_pid())

        try:
            pool = diary.driver.create_pool(diary.dsn, init=init, **sizes)
        except Exception as error:
            diary.note(type(error).__name__, error)
            return
        diary.note(pool.get_size(), pool.get_idle_size(), pool.get_min_size(), pool.get_max_size())
        await diary.attempt("too early", pool.acquire)
        async with pool:
            diary.note(len(made), pool.get_size(), pool.get_idle_size())
            await pool.fetchval("SELECT 1")
            diary.note(len(made), pool.get_size(), pool.get_idle_size())
            held = [await pool.acquire() for _ in range(sizes["max_size"])]
            diary.note(len(made), pool.get_size(), pool.get_idle_size())
            with pytest.raises(asyncio.TimeoutError):
                await pool.acquire(timeout=0.02)
            for con in held:
                await pool.release(con)
            diary.note(len(made), pool.get_size(), pool.get_idle_size())
        diary.note(pool.get_size(), pool.get_idle_size(), pool.is_closing())

    await compare(dsn, scenario)


@covers("pool: callbacks")
async def test_callbacks(dsn: str) -> None:
    """Which are called when, with what, and what their errors do."""

    async def scenario(diary: Diary) -> None:
        failing: set[str] = set()

        def callback(name: str) -> Any:
            async def call(con: Any) -> None:
                diary.note(name, type(con).__name__, isinstance(con, diary.driver.Connection), con.is_in_transaction())
                diary.value(name, await con.fetchval("SELECT 1"))
                if name in failing:
                    raise RuntimeError(f"{name} fails")

            return call

        async def connect(*args: Any, **options: Any) -> Any:
            diary.note("connect", len(args), sorted(options))
            return await diary.driver.connect(*args, **options)

        names = ("setup", "init", "reset")
        pool = await diary.driver.create_pool(
            diary.dsn, min_size=0, max_size=2, connect=connect, **{name: callback(name) for name in names}
        )
        for name in (None, *names):
            if name is not None:
                failing.add(name)
            if name == "init":
                await pool.expire_connections()
            try:
                con = await pool.acquire()
            except Exception as error:
                diary.note("acquire", type(error).__name__, error)
            else:
                await con.execute("SET application_name = 'mine'")
                diary.value("listens", await con.execute("LISTEN c"))
                await diary.attempt("release", lambda con=con: pool.release(con))
            diary.note(name, pool.get_size(), pool.get_idle_size())
            failing.clear()
        async with pool.acquire() as con:
            diary.value("not reset by the callback", await con.fetchval("SHOW application_name"))
        await pool.close()

    await compare(dsn, scenario)


@covers("pool: callbacks")
async def test_a_connect_that_gives_something_else(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async def connect(*args: Any, **options: Any) -> Any:
            return "nonsense"

        pool = diary.driver.create_pool(diary.dsn, min_size=0, max_size=1, connect=connect)
        await pool
        await diary.attempt("acquire", pool.acquire)
        pool.terminate()

    await compare(dsn, scenario)


@covers("pool: default release")
async def test_what_a_release_leaves(dsn: str) -> None:
    """Nothing of settings, locks, cursors and channels; temporary tables and prepared statements stay."""

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            async with pool.acquire() as con:
                pid = con.get_server_pid()
                await con.execute("""
                    SET application_name = 'mine'; SELECT pg_advisory_lock(77); LISTEN c; SET timezone = 'Asia/Tokyo';
                    CREATE TEMP TABLE stays (a int); PREPARE own AS SELECT 1; SET search_path = pg_catalog;
                """)
                await con.set_type_codec("int4", schema="pg_catalog", encoder=str, decoder=lambda text: f"<{text}>")
            async with pool.acquire() as con:
                diary.note("same", con.get_server_pid() == pid)
                diary.value("name", await con.fetchval("SHOW application_name"))
                diary.value("locks", await con.fetchval("SELECT count(*) FROM pg_locks WHERE objid = 77"))
                diary.value("channels", await con.fetch("SELECT pg_listening_channels()"))
                diary.value("zone", await con.fetchval("SELECT current_setting('timezone') = 'Asia/Tokyo'"))
                diary.value("table", await con.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'stays'"))
                diary.value("path", await con.fetchval("SHOW search_path"))
                diary.value("codec", await con.fetchval("SELECT 5"))
                diary.note(con.get_reset_query())
                own = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'own'"
                diary.value("prepared", await con.fetchval(own))

    await compare(dsn, scenario)


@covers("pool: release with listeners left", "pool: release in a transaction")
async def test_what_a_release_warns_of(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            con = await pool.acquire()
            await con.add_listener("c", print)
            con.add_log_listener(print)
            con.add_termination_listener(print)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                await pool.release(con)
            text = [str(warning.message).partition(">")[2] for warning in caught]
            diary.note([warning.category.__name__ for warning in caught], text)
            con = await pool.acquire()
            transaction = con.transaction()
            await transaction.start()
            await con.execute("CREATE TEMP TABLE gone (a int)")
            await pool.release(con)
            diary.note("reported", len(diary.reported))
            async with pool.acquire() as con:
                diary.state("next", con)
                diary.value("table", await con.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'gone'"))
            await diary.attempt("transaction", transaction.commit)

    await compare(dsn, scenario)


@covers("pool: max_queries", "pool: idle timer", "pool: expire_connections", "pool: liveness")
async def test_what_is_replaced(dsn: str) -> None:
    """More of these: tests/pool/test_like_asyncpg.py."""

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=2, max_size=2) as pool:
            pids = []

            async def use() -> None:
                async with pool.acquire() as con:
                    pids.append(con.get_server_pid())

            await use()
            await pool.expire_connections()
            await use()
            await use()
            held = await pool.acquire()
            pids.append(held.get_server_pid())
            await pool.expire_connections()
            await pool.release(held)
            await use()
            other = await diary.driver.connect(diary.dsn)
            await other.execute("SELECT pg_terminate_backend($1, 5000)", pids[-1])
            await other.close()
            await diary.turns()
            await use()
            diary.note(numbered(pids), pool.get_size())
            held = await pool.acquire()
            pids.append(held.get_server_pid())
            await held.close()
            diary.note(pool.get_size(), pool.get_idle_size())
            await pool.release(held)
            await use()
            diary.note(numbered(pids))

    await compare(dsn, scenario)


@covers("pool: a generator's end")
async def test_generators_that_are_closed(dsn: str) -> None:
    """A transaction in a generator ends when its connection is back already."""

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:

            async def rows() -> Any:
                async with pool.acquire() as con, con.transaction():
                    async for row in con.cursor("SELECT generate_series(1, 10)"):
                        yield row[0]

            generator = rows()
            diary.value("first", await generator.__anext__())
            diary.note(pool.get_idle_size())
            await diary.attempt("aclose", generator.aclose)
            diary.note(pool.get_idle_size())

            async def outside(con: Any) -> Any:
                async with con.transaction():
                    yield await con.fetchval("SELECT 1")

            con = await pool.acquire()
            generator = outside(con)
            diary.value("inside", await generator.__anext__())
            await pool.release(con)
            await diary.attempt("aclose", generator.aclose)
            diary.value("next", await pool.fetchval("SELECT 2"))
            diary.note(pool.get_size(), pool.get_idle_size())

    await compare(dsn, scenario)


@covers("pool: loop")
def test_another_loop(dsn: str) -> None:
    """A pool belongs to the loop that it was made in."""
    for driver in (asyncpg, fastpg):
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

        async def make(driver: Any = driver) -> Any:
            return await driver.create_pool(dsn, min_size=1, max_size=1)

        async def use(pool: Any) -> Any:
            return await pool.fetchval("SELECT 1")

        pool = first.run_until_complete(make())
        with pytest.raises(driver.InterfaceError if driver is fastpg else Exception) as caught:
            second.run_until_complete(use(pool))
        assert driver is asyncpg or "loop" in str(caught.value)
        pool.terminate()
        first.run_until_complete(asyncio.sleep(0.01))
        first.close()
        second.close()


@covers("pool: unclosed connections")
async def test_unclosed(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        await con.fetchval("SELECT 1")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del con
            for _ in range(3):
                gc.collect()
                await asyncio.sleep(0)
        found = {(warning.category.__name__, plain(str(warning.message))) for warning in caught}
        diary.note(*sorted(one for one in found if "unclosed connection" in one[1]))

    await compare(dsn, scenario)


@covers("timeouts", "Pool: acquire")
@differs("Texts of timeouts")
async def test_the_text_of_a_timeout(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool, pool.acquire():
            try:
                await pool.acquire(timeout=0.01)
            except asyncio.TimeoutError as error:
                diary.note(f"<{error}>")

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["<>"]
    assert ours.entries == ["<timeout while acquiring a connection from the pool>"]
