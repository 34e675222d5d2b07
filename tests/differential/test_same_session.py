# SPDX-License-Identifier: MIT
"""Connection: its end, its reset, its types, and the private names that programs reach into."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from fastpg.security import PROFILES
from tests import messages as m
from tests.contract import covers, differs
from tests.fakeserver import STALL, FakeServer, message, packet
from tests.sidebyside import WAIT, Diary, both, compare


@covers("Connection: is_closed", "Connection: close", "Connection: terminate", "busy: after close")
async def test_closing(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        observer = await diary.driver.connect(diary.dsn)

        async def gone(pid: int) -> None:
            for _ in range(100):
                if not await observer.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
                    break
                await asyncio.sleep(0.02)
            else:
                diary.note("the backend stays")

        for how in ("close", "terminate", "close twice", "terminate twice", "close, terminate", "close with a timeout"):
            con = await diary.driver.connect(diary.dsn)
            pid = con.get_server_pid()
            diary.note(how, con.is_closed())
            if how.startswith("close"):
                await diary.attempt(how, lambda con=con, how=how: con.close(timeout=5 if "timeout" in how else None))
            else:
                diary.try_now(how, con.terminate)
            if how == "close twice":
                await diary.attempt(how, con.close)
            elif how in ("terminate twice", "close, terminate"):
                diary.try_now(how, con.terminate)
            diary.note(con.is_closed())
            await diary.attempt("then", lambda con=con: con.fetch("SELECT 1"))
            await diary.attempt("then", lambda con=con: con.execute("SELECT 1"))
            await gone(pid)
        # While a query runs.
        con = await diary.driver.connect(diary.dsn)
        pid = con.get_server_pid()
        task = asyncio.ensure_future(con.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.1)
        await diary.attempt("busy", lambda: con.close(timeout=10))
        diary.note(con.is_closed())
        try:
            await task
        except Exception as error:
            diary.note("the query raised", type(error).__name__ != "")
        await gone(pid)
        # The server ends it.
        con = await diary.driver.connect(diary.dsn)
        await observer.execute(f"SELECT pg_terminate_backend({con.get_server_pid()})")
        await diary.turns(0.1)
        diary.note("terminated", con.is_closed())
        await diary.attempt("then", lambda: con.fetch("SELECT 1"))
        await diary.attempt("close", con.close)
        await observer.close()

    await compare(dsn, scenario)


@differs("Deadline of close()")
async def test_close_after_its_deadline() -> None:
    """The connection is gone all the same: ours says no more than that."""

    async def scenario(diary: Diary) -> None:
        with FakeServer([packet(), m.logged_in(), STALL]) as fake:
            con = await diary.driver.connect(host=fake.host, port=fake.port, user="u", database="d", ssl=False)
            try:
                diary.note(await con.close(timeout=0.1))
            except asyncio.TimeoutError:
                diary.note("TimeoutError")
            diary.note(con.is_closed())

    theirs, ours = await both("", scenario)
    assert theirs.entries == ["TimeoutError", "True"] and ours.entries == ["None", "True"]


@differs("Deadline of close()")
async def test_the_deadline_of_close() -> None:
    """A query has been given up, and the server says nothing more, not to its cancel either."""
    hasty = replace(PROFILES["compat"], close_timeout=0.2)

    async def scenario(diary: Diary) -> None:
        given = {"security": hasty} if diary.is_ours else {}
        with FakeServer([packet(), m.logged_in(), STALL], [STALL]) as fake:
            con = await diary.driver.connect(host=fake.host, port=fake.port, user="u", database="d", ssl=False, **given)
            await diary.attempt("query", lambda: con.execute("SELECT 1", timeout=0.05))
            closing = asyncio.ensure_future(con.close())
            done, _ = await asyncio.wait([closing], timeout=WAIT if diary.is_ours else 1)
            diary.note("closed", bool(done))
            con.terminate()
            closing.cancel()
            await asyncio.wait([closing])

    theirs, ours = await both("", scenario)
    assert theirs.entries[:-1] == ours.entries[:-1]
    assert (theirs.entries[-1], ours.entries[-1]) == ("closed False", "closed True")
    assert PROFILES["compat"].close_timeout == 10 and PROFILES["compat"].cancel_timeout == 5


@differs("Queued notices")
async def test_more_notices_than_are_queued() -> None:
    few = replace(PROFILES["compat"], max_queued_notices=5)
    answer = m.notice() * 20 + m.command_complete("DO") + m.ready()

    async def scenario(diary: Diary) -> None:
        given = {"security": few} if diary.is_ours else {}
        heard: list[Any] = []
        with FakeServer([packet(), m.logged_in(), message(), answer, STALL]) as fake:
            con = await diary.driver.connect(host=fake.host, port=fake.port, user="u", database="d", ssl=False, **given)
            con.add_log_listener(lambda _, notice: heard.append(notice))
            await diary.attempt("query", lambda: con.execute("DO ''"))
            await diary.turns()
            diary.note(len(heard))
            con.terminate()

    theirs, ours = await both("", scenario)
    assert theirs.entries[:-1] == ours.entries[:-1]
    assert (theirs.entries[-1], ours.entries[-1]) == ("20", "5")
    assert not theirs.reported and ours.reported, "the loop's exception handler is told"
    assert PROFILES["compat"].max_queued_notices == 10_000


@covers("Connection: transaction", "Connection: is_in_transaction")
async def test_the_first_statement_of_a_transaction_is_given_up(dsn: str) -> None:
    """It is in a transaction then, until that is rolled back."""

    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            for how in ("timeout", "cancel"):
                for nested in (False, True):
                    outer = con.transaction()
                    if nested:
                        await outer.start()
                    transaction = con.transaction()
                    await transaction.start()
                    diary.state("started", con)
                    if how == "timeout":
                        await diary.attempt(how, lambda: con.execute("SELECT pg_sleep(60)", timeout=0.05))
                    else:
                        task = asyncio.ensure_future(con.execute("SELECT pg_sleep(60)"))
                        await asyncio.sleep(0.05)
                        diary.state("meanwhile", con)
                        task.cancel()
                        await diary.attempt(how, lambda task=task: task)
                    diary.state("right after", con)
                    await diary.attempt("then", lambda: con.fetchval("SELECT 1"))
                    diary.state("failed", con)
                    await diary.attempt("rollback", transaction.rollback)
                    if nested:
                        await diary.attempt("inside", lambda: con.fetchval("SELECT 1"))
                        await diary.attempt("rollback", outer.rollback)
                    diary.state("over", con)

    await compare(dsn, scenario)


@covers("Connection: reset", "Connection: get_reset_query", "tools: get_reset_query")
async def test_reset(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            diary.note(con.get_reset_query())
            heard: list[Any] = []
            await con.add_listener("x", lambda *args: heard.append(args))
            con.add_log_listener(lambda *args: heard.append(args))
            await con.execute("SET work_mem = '7MB'; SELECT pg_advisory_lock(7); CREATE TEMP TABLE stays (a int)")
            await diary.attempt("reset", con.reset)
            diary.note(await con.fetchval("SHOW work_mem"), await con.fetchval("SELECT count(*) FROM stays"))
            diary.note(
                await con.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
                ),
                await con.fetchval("SELECT pg_listening_channels()"),
            )
            await con.execute("DO $$ BEGIN RAISE NOTICE 'nobody hears'; END $$")
            await con.execute("NOTIFY x")
            await diary.turns()
            diary.note(heard)
            # In a transaction that somebody has left open: rolled back, and reported.
            await con.execute("BEGIN; INSERT INTO stays VALUES (1)")
            await diary.attempt("in a transaction", con.reset)
            diary.note(await con.fetchval("SELECT count(*) FROM stays"), len(diary.reported))
            async with con.transaction():
                await con.execute("INSERT INTO stays VALUES (1)")
                await diary.attempt("managed", con.reset)
                diary.note(len(diary.reported), con.is_in_transaction())
                await con.execute("BEGIN")
            await diary.attempt("timeout", lambda: con.reset(timeout=0))

    await compare(dsn, scenario)


@covers("Connection: get_reset_query", "tools: get_reset_query", "servers: variants")
async def test_a_reset_query_of_ones_own(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        class Own(diary.driver.Connection):  # type: ignore[misc, name-defined]
            query = ""

            def get_reset_query(self) -> str:
                return self.query

        async with diary.connected(connection_class=Own) as con:
            await con.execute("SET work_mem = '7MB'")
            await con.reset()
            diary.note(await con.fetchval("SHOW work_mem"))
            Own.query = "SET work_mem = '8MB'"
            await con.reset()
            diary.note(await con.fetchval("SHOW work_mem"))
        async with diary.connected() as con:
            con._reset_query = "SET work_mem = '9MB'"
            await con.reset()
            diary.note(await con.fetchval("SHOW work_mem"), con.get_reset_query())

    await compare(dsn, scenario)


@covers("Connection: what the server is", "ConnectionSettings")
async def test_what_the_server_is(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            diary.value("version", con.get_server_version())
            diary.note(con.get_server_pid() == await con.fetchval("SELECT pg_backend_pid()"))
            settings = con.get_settings()
            diary.note(type(settings).__name__, settings, settings.TimeZone, settings.server_encoding)
            await diary.attempt("nonsense", lambda: settings.nonsense)
            await con.execute("SET application_name = 'other'")
            diary.note(settings.application_name, settings is con.get_settings())
            diary.note(con._server_caps, type(con._server_caps).__name__)
            diary.note(diary.driver.connection._detect_server_capabilities(con.get_server_version(), settings))
            diary.note(settings.get_data_codec(23) is None, settings.get_data_codec(987654) is None)

    await compare(dsn, scenario)


@covers("Connection: set_type_codec", "Connection: reset_type_codec and set_builtin_type_codec",
        "Connection: reload_schema_state", "tools: pgvector")  # fmt: skip
async def test_type_codecs(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute(
                "CREATE TEMP TABLE t (a int); CREATE TYPE pg_temp.pair AS (a int, b text);"
                "CREATE DOMAIN pg_temp.positive AS int CHECK (VALUE > 0);"
                "CREATE TYPE pg_temp.word AS ENUM ('x')"
            )
            temp = await con.fetchval("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()")

            async def set_codec(label: str, typename: str, **given: Any) -> None:
                options = {"schema": "pg_catalog", "encoder": str, "decoder": str, **given}
                try:
                    await con.set_type_codec(typename, **options)
                except Exception as error:
                    diary.note(label, "raised", type(error).__name__, str(error).split("\n")[0].replace(temp, "TEMP"))
                else:
                    diary.note(label, "is set")

            await set_codec("int4", "int4", decoder=lambda text: f"<{text}>")
            await diary.attempt("decoded", lambda: con.fetchrow("SELECT 1 AS a, ARRAY[1, 2] AS b, $1::int AS c", 7))
            await set_codec("binary", "int4", format="binary", encoder=lambda n: n.to_bytes(4, "big"), decoder=bytes)
            await diary.attempt("decoded", lambda: con.fetchrow("SELECT 1 AS a, $1::int AS b", 7))
            await set_codec("tuple", "interval", format="tuple", encoder=tuple, decoder=tuple)
            await diary.attempt("decoded", lambda: con.fetchval("SELECT $1::interval", (1, 2, 3)))
            await con.reset_type_codec("int4", schema="pg_catalog")
            await diary.attempt("as before", lambda: con.fetchval("SELECT 1"))
            await set_codec(
                "composite", "pair", schema=temp, format="tuple", encoder=tuple, decoder=lambda row: list(row)
            )
            await diary.attempt("decoded", lambda: con.fetchval("SELECT (1, 'x')::pg_temp.pair"))
            await set_codec("composite as text", "pair", schema=temp)
            await set_codec("enum", "word", schema=temp, decoder=str.upper)
            await diary.attempt("decoded", lambda: con.fetchval("SELECT 'x'::pg_temp.word"))
            await set_codec("domain", "positive", schema=temp)
            await set_codec("array", "_int4")
            await set_codec("range", "int4range")
            await set_codec("unknown", "nope")
            await set_codec("unknown schema", "int4", schema="nope")
            await set_codec("format", "int4", format="nope")
            for missing in ("encoder", "decoder"):
                await set_codec(missing, "int4", **{missing: None})
                await con.reset_type_codec("int4", schema="pg_catalog")
            await set_codec("broken", "int4", decoder=lambda text: 1 / 0, encoder=lambda value: [][0])
            await diary.attempt("decoder", lambda: con.fetchval("SELECT 1::int"))
            await diary.attempt("encoder", lambda: con.fetchval("SELECT $1::int", 1))
            await con.reset_type_codec("int4", schema="pg_catalog")
            for name, options in (("nope", {}), ("word", {"schema": temp})):
                try:
                    await con.reset_type_codec(name, **options)
                except Exception as error:
                    diary.note(name, type(error).__name__, error)
            codecs = (
                ("word", "text"),
                ("word", "int4"),
                ("word", "nope"),
                ("pair", "text"),
                ("word", "pg_contrib.hstore"),
            )
            for name, codec in codecs:
                try:
                    await con.set_builtin_type_codec(name, schema=temp, codec_name=codec)
                except Exception as error:
                    diary.note(name, codec, type(error).__name__, str(error).replace(temp, "TEMP"))
                else:
                    diary.note(name, codec, "is set")
            await diary.attempt("reload", con.reload_schema_state)
            await diary.attempt("then", lambda: con.fetchval("SELECT 1"))

    await compare(dsn, scenario)


@covers("Connection: reset_type_codec and set_builtin_type_codec")
async def test_aliases_of_types_with_a_codec(dsn: str) -> None:
    """An alias has the functions that were set for the other type, and an alias of its own name is no circle."""

    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            for one, other in (("int4", "int4"), ("int4", "oid"), ("oid", "int4")):
                await con.set_builtin_type_codec(one, schema="pg_catalog", codec_name=other)
                await diary.attempt(f"{one} as {other}", lambda: con.fetchrow(
                    "SELECT 5::int4 AS a, '{6,7}'::int4[] AS b, $1::int4 AS c, 8::oid AS d, $2::oid[] AS e", 9, [1]
                ))  # fmt: skip
            await con.set_type_codec("text", schema="pg_catalog", encoder=lambda _: "b", decoder="decoded {}".format)
            await con.set_builtin_type_codec("name", schema="pg_catalog", codec_name="text")
            await diary.attempt("as text", lambda: con.fetchrow("SELECT 'a'::name AS a, '{a}'::name[] AS b"))
            await diary.attempt("as text", lambda: con.fetchval("SELECT $1::name", 5))

    await compare(dsn, scenario)


@covers("Connection: private names", "tools: other internals", "tools: GINO")
async def test_private_names(dsn: str) -> None:
    names = """_protocol _transport _loop _addr _params _config _top_xact _stmt_cache _stmts_to_close _pool_release_ctr
        _stmt_exclusive_section _execute _executemany _do_execute _get_statement _prepare _get_unique_id _reset
        _introspect_types _cancel _cancel_current_command _process_notification _server_caps _reset_query _proxy
        _listeners _log_listeners _termination_listeners _query_loggers _aborted _on_release _check_open""".split()

    async def scenario(diary: Diary) -> None:
        async with diary.connected(command_timeout=30) as con:
            for name in names:
                diary.note(name, hasattr(con, name), callable(getattr(con, name, None)))
            # Several statements under one lock.
            with con._stmt_exclusive_section:
                await diary.attempt("others", lambda: con.fetch("SELECT 1"))

                async def execute(statement: Any, timeout: Any) -> Any:
                    return await con._protocol.bind_execute(statement, (5,), "", 0, True, timeout)

                (result, status, complete), statement = await con._do_execute("SELECT $1::int AS a", execute, None)
                diary.note(result, status, complete, statement.query)
                diary.note(statement._get_attributes(), statement._get_parameters())
                try:
                    with con._stmt_exclusive_section:
                        pass
                except Exception as error:
                    diary.note(type(error).__name__, error)
            await diary.attempt("after it", lambda: con.fetch("SELECT 1"))
            for given in ({}, {"use_cache": True}, {"name": "mine"}):
                statement = await con._prepare("SELECT 2", **given)
                diary.note(given, statement.get_name(), await statement.fetchval())
            for given in ({"named": "given"}, {"named": True}, {"named": False}):
                state = await con._get_statement("SELECT 3", None, use_cache=False, **given)
                diary.note(given, state.name)
            cache = con._stmt_cache
            diary.note(cache.get_max_size(), cache.get_max_lifetime(), len(list(cache.iter_statements())) > 0)
            cache.set_max_size(0)
            cache.set_max_lifetime(1)
            diary.note(cache.get_max_size(), cache.get_max_lifetime(), len(list(cache.iter_statements())))
            diary.note(con._protocol._get_timeout(None), con._protocol._get_timeout(3), con._protocol.queries_count > 0,
                       con._protocol._is_cancelling(), con._protocol.is_in_transaction())  # fmt: skip
            waiter = asyncio.get_running_loop().create_future()
            task = asyncio.ensure_future(con.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.1)
            con._cancel_current_command(waiter)
            await diary.attempt("cancelled", lambda: task)
            await waiter
            diary.note(await con.fetchval("SELECT 1"))

    await compare(dsn, scenario)


@covers("tools: other internals", "tools: _get_unique_id", "cache: poolers", "tools: SQLAlchemy")
async def test_overridden(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        class Own(diary.driver.Connection):  # type: ignore[misc, name-defined]
            calls: list[Any] = []

            def _get_unique_id(self, prefix: str) -> str:
                self.calls.append(prefix)
                return f"__own_{prefix}_{len(self.calls)}__"

            def _process_notification(self, pid: int, channel: str, payload: str) -> None:
                diary.note("notified", channel, payload)
                super()._process_notification(pid, channel, payload)

            async def _prepare(self, query: str, **given: Any) -> Any:
                diary.note("prepares", query)
                return await super()._prepare(query, **given)

            async def _introspect_types(self, typeoids: Any, timeout: Any) -> Any:
                diary.note("introspects")
                return await super()._introspect_types(typeoids, timeout)

        async with diary.connected(connection_class=Own) as con:
            await con.fetch("SELECT $1::int", 1)
            statement = await con.prepare("SELECT 2")
            diary.note(statement.get_name())
            async with con.transaction():
                async with con.transaction():
                    await (await con.cursor("SELECT 3")).fetch(1)
            diary.note(con.calls)
            names = [row["name"] for row in await con.fetch("SELECT name FROM pg_prepared_statements")]
            diary.note(all(name.startswith("__own_") for name in names))
            await con.add_listener("x", lambda con, pid, channel, payload: diary.note("heard", channel, payload))
            await con.execute("NOTIFY x, 'y'")
            await diary.turns()
            await con.execute("CREATE TYPE pg_temp.kind AS ENUM ('x')")
            diary.note(await con.fetchval("SELECT 'x'::pg_temp.kind"))

    await compare(dsn, scenario)


@differs("Names on the server")
async def test_names_on_the_server(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            diary.entries += [con._get_unique_id("x").split("_x_")[0], (await con.prepare("SELECT 1")).get_name()[:10]]

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["__asyncpg", "__asyncpg_"] and ours.entries == ["__fastpg", "__fastpg_s"]
