# SPDX-License-Identifier: MIT
"""The pool: its options, what it lends and takes back, and what it says when it is used wrongly."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from tests.contract import covers, differs
from tests.sidebyside import Diary, both, compare

GIVEN: dict[str, Any] = {
    "min_size": 1, "max_size": 1, "max_queries": 50_000, "max_inactive_connection_lifetime": 0.0, "setup": None,
    "init": None,
}  # fmt: skip


@covers("Pool: create_pool", "Pool: errors")
async def test_bad_options(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        for options in (
            {"max_size": 0}, {"max_size": -1}, {"min_size": -1}, {"min_size": 5, "max_size": 4}, {"init_size": -1},
            {"init_size": 11}, {"min_size": 3, "init_size": 2}, {"max_queries": 0}, {"max_queries": -1},
            {"max_inactive_connection_lifetime": -1}, {"connection_class": dict}, {"record_class": dict},
            {"min_size": 0}, {"min_size": 0, "init_size": 3}, {"max_inactive_connection_lifetime": 0},
        ):  # fmt: skip
            try:
                pool = diary.driver.create_pool(diary.dsn, **options)
            except Exception as error:
                diary.note(options, "raised", type(error).__name__, error)
            else:
                diary.note(options, pool.get_min_size(), pool.get_max_size(), pool.get_init_size(), pool.get_size())

    await compare(dsn, scenario)


@covers("Pool: errors")
async def test_states(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        pool = diary.driver.create_pool(diary.dsn, min_size=1, max_size=1)
        await diary.attempt("new", pool.acquire)
        await diary.attempt("new", lambda: pool.fetch("SELECT 1"))
        await diary.attempt("new", lambda: pool.release(object()))
        diary.try_now("new", pool.terminate)
        await diary.attempt("new", pool.close)
        task = asyncio.ensure_future(init(pool))
        await asyncio.sleep(0)
        await diary.attempt("being initialized", pool.acquire)
        await diary.attempt("being initialized twice", lambda: init(pool))
        await task
        diary.note(await pool is pool, pool.is_closing())
        con = await pool.acquire()
        await diary.attempt("foreign", lambda: pool.release(object()))
        other = await diary.driver.connect(diary.dsn)
        try:
            await pool.release(other)
        except Exception as error:
            diary.note("raw", type(error).__name__, str(error).split(": <")[0])
        await other.close()
        await pool.release(con)
        await diary.attempt("again", lambda: pool.release(con))
        await pool.close()
        diary.note(pool.is_closing())
        for label, call in (
            ("acquire", pool.acquire),
            ("fetch", lambda: pool.fetch("SELECT 1")),
            ("close", pool.close),
        ):
            await diary.attempt(label, call)
        await diary.attempt("init", lambda: init(pool))
        diary.try_now("terminate", pool.terminate)
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=2) as pool:
            con = await pool.acquire()
            closing = asyncio.ensure_future(pool.close())
            await asyncio.sleep(0.05)
            diary.note("closing", pool.is_closing())
            await diary.attempt("closing", pool.acquire)
            await pool.release(con)
            await closing

    async def init(pool: Any) -> Any:
        await pool

    await compare(dsn, scenario)


@covers("Pool: acquire", "Pool: release")
async def test_acquire_and_release(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            context = pool.acquire(timeout=5)
            diary.note(type(context).__name__, context.pool is pool, context.timeout, context.connection, context.done)
            async with context as con:
                diary.note(type(con).__name__, context.connection is con, context.done)
                await diary.attempt("twice", context.__aenter__)
            diary.note(context.connection, context.done)
            con = await pool.acquire()
            diary.note(con._con is pool._holders[0]._con, con._holder is pool._holders[0])
            for timeout in (0.05, 0, -1):
                try:
                    await pool.acquire(timeout=timeout)
                except (asyncio.TimeoutError, TimeoutError):  # two classes on Python 3.10, where asyncpg raises either
                    diary.note("timeout", timeout)
            waiting = asyncio.ensure_future(take(pool))
            await asyncio.sleep(0)
            await pool.release(con)
            diary.note("the next one has it", await asyncio.wait_for(waiting, 10))
            await diary.attempt("a proxy of before", lambda: pool.release(con))
            # What is raised inside comes out, and the connection goes back.
            try:
                async with pool.acquire() as con:
                    raise ZeroDivisionError
            except ZeroDivisionError:
                diary.note(pool.get_idle_size())
            # A connection that is closed inside is replaced.
            async with pool.acquire() as con:
                await con.close()
            diary.note(await pool.fetchval("SELECT 1"))

    async def take(pool: Any) -> Any:
        async with pool.acquire() as con:
            return await con.fetchval("SELECT 'mine'")

    await compare(dsn, scenario)


@covers("Pool: queries")
async def test_queries(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            await diary.attempt(
                "execute",
                lambda: pool.execute("DROP TABLE IF EXISTS pool_rows; CREATE TABLE pool_rows (a int, b text)"),
            )
            await diary.attempt("execute", lambda: pool.execute("INSERT INTO pool_rows VALUES ($1, $2)", 1, "x"))
            await diary.attempt(
                "executemany", lambda: pool.executemany("INSERT INTO pool_rows VALUES ($1, 'y')", [(2,), (3,)])
            )
            await diary.attempt("fetch", lambda: pool.fetch("SELECT * FROM pool_rows ORDER BY a"))
            await diary.attempt("fetchrow", lambda: pool.fetchrow("SELECT * FROM pool_rows ORDER BY a"))
            await diary.attempt("fetchval", lambda: pool.fetchval("SELECT * FROM pool_rows ORDER BY a", column="b"))
            await diary.attempt("fetchmany", lambda: pool.fetchmany("SELECT $1::int AS a", [(1,), (2,)]))
            file = io.BytesIO()
            await diary.attempt("copy", lambda: pool.copy_from_table("pool_rows", output=file, columns=["a"]))
            await diary.attempt("copy", lambda: pool.copy_from_query("SELECT $1::int", 7, output=file))
            diary.note(file.getvalue())
            await diary.attempt("copy", lambda: pool.copy_to_table("pool_rows", source=bytearray(b"4\tz\n")))
            await diary.attempt("copy", lambda: pool.copy_records_to_table("pool_rows", records=[(5, "w")]))
            await diary.attempt("error", lambda: pool.fetch("SELECT 1/0"))
            await diary.attempt("timeout", lambda: pool.fetch("SELECT pg_sleep(60)", timeout=0.05))
            await diary.attempt("after", lambda: pool.fetchval("SELECT count(*) FROM pool_rows"))
            diary.note([hasattr(pool, name) for name in ("cursor", "prepare", "transaction")])
            await pool.execute("DROP TABLE pool_rows")

    await compare(dsn, scenario)


@covers("Pool: terminate, expire, sizes", "pool: numbers of connections", "pool: expire_connections",
        "tools: a pool's holders and queue", "tools: PGQueuer")  # fmt: skip
async def test_sizes(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        for options in ({"min_size": 0}, {"min_size": 2}, {"min_size": 1, "init_size": 3}):
            async with diary.driver.create_pool(diary.dsn, max_size=4, **options) as pool:

                def sizes(pool: Any = pool) -> None:
                    diary.note(pool.get_size(), pool.get_idle_size(), pool.get_min_size(), pool.get_max_size(),
                               pool.get_init_size())  # fmt: skip
                    diary.note(len(pool._holders), pool._queue.qsize(), pool._minsize, pool._maxsize,
                               sum(holder._con is not None for holder in pool._holders),
                               sum(holder._in_use is not None for holder in pool._holders))  # fmt: skip

                sizes()
                held = [await pool.acquire() for _ in range(3)]
                sizes()
                pids = {con.get_server_pid() for con in held}
                for con in held:
                    await pool.release(con)
                sizes()
                await diary.attempt("expire", pool.expire_connections)
                held = [await pool.acquire() for _ in range(3)]
                diary.note("new ones", not pids & {con.get_server_pid() for con in held})
                diary.try_now("terminate", pool.terminate)
                diary.note(pool.is_closing())
                await diary.turns()
                await diary.attempt("then", lambda held=held: held[0].fetch("SELECT 1"))

    await compare(dsn, scenario)


@covers("pool: order", "defect: fairness of a pool")
async def test_order(dsn: str) -> None:
    """The one that was released last is lent first; those who wait are served in their order."""

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=0, max_size=3) as pool:
            held = [await pool.acquire() for _ in range(3)]
            pids = [con.get_server_pid() for con in held]
            for con in (held[1], held[0], held[2]):
                await pool.release(con)
            again = [await pool.acquire() for _ in range(3)]
            diary.note([pids.index(con.get_server_pid()) for con in again])
            for con in again[1:]:
                await pool.release(con)
            # A place with a connection comes before one without.
            await again[0].close()
            await pool.release(again[0])
            con = await pool.acquire()
            diary.note(con.get_server_pid() in pids)
            await pool.release(con)
            held = [await pool.acquire() for _ in range(3)]
            served: list[int] = []

            async def wait(number: int) -> None:
                async with pool.acquire():
                    served.append(number)

            tasks = [asyncio.ensure_future(wait(number)) for number in range(5)]
            await asyncio.sleep(0)
            for con in held:
                await pool.release(con)
            await asyncio.gather(*tasks)
            diary.note(served)

    await compare(dsn, scenario)


@covers("pool: callbacks")
async def test_callbacks(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        events: list[Any] = []

        async def connect(*args: Any, **kwargs: Any) -> Any:
            events.append(("connect", len(args), sorted(set(kwargs) - {"loop"})))
            return await diary.driver.connect(*args, **kwargs)

        async def init(con: Any) -> None:
            events.append(("init", type(con).__name__))

        async def setup(con: Any) -> None:
            events.append(("setup", type(con).__name__))

        async def reset(con: Any) -> None:
            events.append(("reset", type(con).__name__, con.is_in_transaction(), await con.fetchval("SHOW work_mem")))

        options = {"connect": connect, "init": init, "setup": setup, "reset": reset, "min_size": 1, "max_size": 1}
        async with diary.driver.create_pool(diary.dsn, **options) as pool:
            for _ in range(2):
                async with pool.acquire() as con:
                    await con.execute("SET work_mem = '7MB'; BEGIN")
            diary.note(await pool.fetchval("SHOW work_mem"))
        diary.note(events, len(diary.reported))

        async def broken(con: Any) -> None:
            raise ZeroDivisionError("callback")

        for name in ("init", "setup", "reset"):
            events.clear()

            async def use(name: str = name) -> Any:
                async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1, **{name: broken}) as pool:
                    try:
                        async with pool.acquire() as con:
                            diary.note("acquired")
                            return await con.fetchval("SELECT 1")
                    finally:
                        diary.note(name, pool.get_size(), pool.get_idle_size(), pool._queue.qsize())

            await diary.attempt(f"broken {name}", use)

        async def wrong(*args: Any, **kwargs: Any) -> Any:
            return "no connection"

        async def open_wrong() -> Any:
            async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1, connect=wrong):
                pass

        await diary.attempt("wrong connect", open_wrong)

    await compare(dsn, scenario)


@covers("pool: default release", "pool: release in a transaction", "pool: release with listeners left")
async def test_what_a_release_leaves(dsn: str) -> None:
    import warnings

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            async with pool.acquire() as con:
                pid = con.get_server_pid()
                await con.execute("SET work_mem = '7MB'; SELECT pg_advisory_lock(5); LISTEN x")
                await con.execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1; CREATE TEMP TABLE stays (a int)")
            async with pool.acquire() as con:
                diary.note(con.get_server_pid() == pid, await con.fetchval("SHOW work_mem"))
                for count in ("pg_cursors", "pg_listening_channels()", "stays",
                              "pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"):  # fmt: skip
                    diary.note(count, await con.fetchval(f"SELECT count(*) FROM {count}"))
                await con.execute("BEGIN; INSERT INTO stays VALUES (1)")
            diary.note("reported", len(diary.reported))
            async with pool.acquire() as con:
                diary.note(con.is_in_transaction(), await con.fetchval("SELECT count(*) FROM stays"))
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    await con.add_listener("x", print)
                    con.add_log_listener(print)
                    con.add_log_listener(repr)
                    await pool.release(con)
                for warning in caught:
                    text = str(warning.message)
                    diary.note(warning.category.__name__, text[text.index("is being") :])

    await compare(dsn, scenario)


@covers("Pool: proxies")
async def test_proxies(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            con = await pool.acquire()
            public = [name for name in dir(diary.driver.Connection) if not name.startswith("_") and name not in
                      ("pipeline", "notices_dropped")]  # fmt: skip
            diary.note([name for name in public if name in vars(type(con))] == public)
            diary.note(isinstance(con, diary.driver.Connection), con._addr == con._con._addr, con._top_xact)
            diary.note(
                await con.fetchval("SELECT 1"), con.is_closed(), con.get_server_pid() == con._con.get_server_pid()
            )
            await diary.attempt("unknown", lambda: con.nonsense)
            heard: list[Any] = []

            def listener(who: Any, *rest: Any) -> None:
                heard.append(who is con)

            await con.add_listener("x", listener)
            await con.execute("NOTIFY x")
            await diary.turns()
            await con.remove_listener("x", listener)
            diary.note(heard)
            await con.reset()
            await pool.release(con)
            for name in ("fetch", "execute", "close", "is_closed", "transaction", "cursor"):
                await diary.attempt(
                    name,
                    lambda name=name: getattr(con, name)(*(["SELECT 1"] * (name in ("fetch", "execute", "cursor")))),
                )
            await diary.attempt("unknown", lambda: con._addr)

    await compare(dsn, scenario)


@covers("pool: loop")
def test_loops(dsn: str) -> None:
    from tests.sidebyside import compare_now

    def scenario(diary: Diary) -> None:
        async def make() -> Any:
            pool = await diary.driver.create_pool(dsn, min_size=1, max_size=1)
            con = await pool.acquire()
            waiting = asyncio.ensure_future(pool.acquire().__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await pool.release(con)
            pool.terminate()
            return pool

        loop = asyncio.new_event_loop()
        pool = loop.run_until_complete(make())
        diary.note(pool._loop is loop)
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    compare_now(scenario)


@covers("pool: a generator's end")
async def test_an_abandoned_generator(dsn: str) -> None:
    """It holds a connection and a transaction of it; the pool has both back."""

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:

            async def rows() -> Any:
                async with pool.acquire() as con, con.transaction():
                    async for row in con.cursor("SELECT generate_series(1, 100)"):
                        yield row[0]

            generator = rows()
            diary.note(await generator.__anext__())
            await generator.aclose()
            diary.note(pool.get_idle_size(), await pool.fetchval("SELECT 1"))

    await compare(dsn, scenario)


@covers("Pool: close")
async def test_close(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        pool = await diary.driver.create_pool(diary.dsn, min_size=2, max_size=2)
        con = await pool.acquire()
        task = asyncio.ensure_future(pool.close())
        await asyncio.sleep(0.05)
        diary.note("waits", task.done(), await con.fetchval("SELECT 1"))
        await pool.release(con)
        await asyncio.wait_for(task, 10)
        diary.note(pool.get_size(), con._con)
        # Cancelled while it waits: everything ends at once.
        pool = await diary.driver.create_pool(diary.dsn, min_size=1, max_size=1)
        con = await pool.acquire()
        task = asyncio.ensure_future(pool.close())
        await asyncio.sleep(0.05)
        task.cancel()
        await diary.attempt("cancelled", lambda: task)
        await diary.turns()
        await diary.attempt("then", lambda: con.fetch("SELECT 1"))

    await compare(dsn, scenario)


@covers("pool: idle timer", "pool: max_queries", "pool: liveness")
async def test_lost_connections(dsn: str) -> None:
    """One that the server has ended is noticed at the next acquire."""

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1, max_queries=2) as pool:
            pids = []
            for _ in range(5):
                async with pool.acquire() as con:
                    pids.append(con.get_server_pid())
                    await con.execute("SELECT 1")
            diary.note([pids.index(pid) for pid in pids])
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            pid = await pool.fetchval("SELECT pg_backend_pid()")
            async with diary.connected() as other:
                await other.execute(f"SELECT pg_terminate_backend({pid})")
            await diary.turns(0.2)
            diary.note("another one", await pool.fetchval("SELECT pg_backend_pid()") != pid, pool.get_size())

    await compare(dsn, scenario)


@covers("Pool: acquire", "Pool: release", "Pool: queries")
async def test_own_acquire_and_release(dsn: str) -> None:
    """All that borrows a connection, and gives it back, goes through the methods of a subclass."""

    async def scenario(diary: Diary) -> None:
        class Own(diary.driver.Pool):  # type: ignore[misc, name-defined]
            def acquire(self, *, timeout: float | None = None) -> Any:
                diary.note("acquire", timeout)
                return super().acquire(timeout=timeout)

        class Ending(diary.driver.Pool):  # type: ignore[misc, name-defined]
            async def release(self, connection: Any, *, timeout: float | None = None) -> None:
                diary.note("release", type(connection).__name__, timeout)
                await super().release(connection, timeout=timeout)

        class Both(Own, Ending):
            pass

        for cls in (Own, Ending, Both):
            diary.note(cls.__name__)
            async with cls(diary.dsn, **GIVEN, loop=None, connection_class=diary.driver.Connection,
                           record_class=diary.driver.Record) as pool:  # fmt: skip
                diary.value("fetch", await pool.fetch("SELECT $1::int AS a", 1))
                diary.value("fetchrow", await pool.fetchrow("SELECT $1::int AS a", 1))
                diary.value("fetchval", await pool.fetchval("SELECT $1::int AS a", 1))
                diary.value("execute", await pool.execute("SELECT 1"))
                diary.value("fetchmany", await pool.fetchmany("SELECT $1::int AS a", [(1,)]))
                await diary.attempt("error", lambda pool=pool: pool.fetchval("SELECT 1 / 0"))
                async with pool.acquire(timeout=5) as con:
                    diary.value("block", await con.fetchval("SELECT 2"))
                con = await pool.acquire()
                await pool.release(con, timeout=5)
                diary.note(pool.get_idle_size())

    await compare(dsn, scenario)


@covers("Connection: reset")
async def test_execute_without_timeout(dsn: str) -> None:
    """What resets a session calls the execute() of a subclass with the query alone."""

    async def scenario(diary: Diary) -> None:
        class Own(diary.driver.Connection):  # type: ignore[misc, name-defined]
            async def execute(self, query: str) -> str:  # type: ignore[override]
                diary.note("execute", query)
                return await super().execute(query)  # type: ignore[no-any-return]

            def get_reset_query(self) -> str:
                return "SELECT 1"

        async with diary.connected(connection_class=Own) as con:
            await con.execute("BEGIN")
            await con.reset(timeout=5)
            diary.state("then", con)
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1, connection_class=Own) as pool:
            async with pool.acquire() as con:
                await con.execute("BEGIN")
            diary.note(pool.get_idle_size())

    await compare(dsn, scenario)


@differs("Texts of timeouts")
async def test_text_of_a_timeout(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=0, max_size=1) as pool, pool.acquire():
            try:
                await pool.acquire(timeout=0.01)
            except asyncio.TimeoutError as error:
                diary.entries.append(str(error))

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == [""] and ours.entries == ["timeout while acquiring a connection from the pool"]


@differs("Reset without execute()")
async def test_reset_without_execute(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        class Own(diary.driver.Connection):  # type: ignore[misc, name-defined]
            async def execute(self, query: str, *args: Any, **given: Any) -> str:
                diary.note("UNLISTEN" in query)
                return await super().execute(query, *args, **given)  # type: ignore[no-any-return]

        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1, connection_class=Own) as pool:
            async with pool.acquire():
                pass

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["True"] and ours.entries == []


@covers("pool: default release", "Pool: release")
@differs("Roles")
async def test_roles(dsn: str) -> None:
    """RESET ALL leaves the role: the next user would have it."""

    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            user = await pool.fetchval("SELECT current_user")
            async with pool.acquire() as con:
                await con.execute("SET ROLE pg_monitor")
            diary.note(await pool.fetchval("SELECT current_user") == user)

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["False"] and ours.entries == ["True"]


@covers("Pool: acquire", "Pool: release")
async def test_methods_that_are_replaced_while_the_pool_is_used(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        Pool = diary.driver.pool.Pool
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            diary.note(await pool.fetchval("SELECT 1"))
            for name in ("acquire", "release"):
                original = getattr(Pool, name)

                def counted(self: Any, *args: Any, name: str = name, original: Any = original, **kwargs: Any) -> Any:
                    diary.note(name, "was called")
                    return original(self, *args, **kwargs)

                setattr(Pool, name, counted)
                try:
                    diary.note(await pool.fetchval("SELECT 2"), await pool.fetchval("SELECT 2"))
                finally:
                    setattr(Pool, name, original)
                diary.note(await pool.fetchval("SELECT 3"))

    await compare(dsn, scenario)
