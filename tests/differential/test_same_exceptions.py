# SPDX-License-Identifier: MIT
"""Exceptions: every class, its SQLSTATE and its place; what they carry, and how they travel."""

from __future__ import annotations

import asyncio
import pickle
import warnings
from typing import Any

import asyncpg
import pytest

import fastpg
from fastpg._alias import OWN
from tests.contract import covers, differs
from tests.fakeserver import FIN, FakeServer, message, packet
from tests.sidebyside import Diary, both, compare, compare_now, told


def parent(cls: type) -> type:
    """The first base that asyncpg has too."""
    return next(base for base in cls.__mro__[1:] if base.__name__ not in OWN)


NAMES = [
    name for name in asyncpg.__all__
    if isinstance(getattr(asyncpg, name), type) and issubclass(getattr(asyncpg, name), (Exception, Warning))
    or name == "PostgresLogMessage"
]  # fmt: skip


@covers(
    "exceptions: classes and SQLSTATEs", "exceptions: roots", "exceptions: of the client", "exceptions: families",
    "exceptions: names",
)  # fmt: skip
def test_classes() -> None:
    def scenario(diary: Diary) -> None:
        for name in NAMES:
            cls = getattr(diary.driver, name)
            bases = [base.__name__ for base in cls.__mro__ if base.__name__ not in OWN]
            diary.note(name, cls.__name__, vars(cls).get("sqlstate"), getattr(cls, "sqlstate", None), bases)
            assert getattr(diary.driver.exceptions, name) is cls
        for name in ("PostgresError", "DataError", "SyntaxOrAccessError", "FDWError", "PostgresConnectionError",
                     "InvalidTransactionStateError", "IntegrityConstraintViolationError", "PostgresWarning",
                     "OperatorInterventionError"):  # fmt: skip
            cls = getattr(diary.driver, name)
            others = [getattr(diary.driver, other) for other in NAMES]
            children = sorted(other.__name__ for other in others if parent(other) is cls)
            diary.note(name, len(children), children)

    diary = compare_now(scenario)
    assert len(NAMES) == 276 and len(diary.entries) == 276 + 9


@covers("exceptions: classes and SQLSTATEs", "exceptions: attributes")
def test_the_map() -> None:
    def scenario(diary: Diary) -> None:
        meta = diary.driver.exceptions._base.PostgresMessageMeta
        codes = sorted({getattr(getattr(diary.driver, name), "sqlstate", None) or "" for name in NAMES})
        for code in [*codes, "XX999", None]:
            diary.note(code, meta.get_message_class_for_sqlstate(code).__name__)
        error = diary.driver.PostgresError("text")
        for name in ("severity severity_en sqlstate message detail hint position internal_position internal_query "
            "context "
                     "schema_name table_name column_name data_type_name constraint_name server_source_filename "
                     "server_source_line server_source_function").split():  # fmt: skip
            diary.note(name, getattr(error, name))
        diary.note(str(error), error.args, error.as_dict(), repr(error))

    compare_now(scenario)


@covers("exceptions: attributes", "exceptions: as_dict", "exceptions: text", "exceptions: pickling")
async def test_what_they_carry(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("""
                CREATE TEMP TABLE parent (id int PRIMARY KEY);
                CREATE TEMP TABLE t (a int UNIQUE, b int NOT NULL, c int CHECK (c > 0) REFERENCES parent);
                CREATE DOMAIN pg_temp.positive AS int CHECK (VALUE > 0);
                INSERT INTO t VALUES (1, 1);
            """)
            for query in (
                "INSERT INTO t VALUES (1, 1)", "INSERT INTO t VALUES (2, NULL)", "INSERT INTO t VALUES (2, 1, -1)",
                "INSERT INTO t VALUES (2, 1, 7)", "SELECT (-1)::pg_temp.positive", "SELECT * FROM nowhere",
                "SELECT nope FROM t",
                "SELEC 1", "SELECT 1/0", "SELECT 'x'::int", "SELECT 2147483647 + 1", "SELECT to_date('x', 'YYYY')",
                "DO $$ BEGIN RAISE EXCEPTION 'mine' USING DETAIL = 'd', HINT = 'h', ERRCODE = 'UX001'; END $$",
                "DO $$ BEGIN EXECUTE 'SELECT 1 FROM nowhere'; END $$",
                "CREATE TABLE pg_catalog.x ()", "SET work_mem = 'x'",
                "DROP TABLE parent", "ROLLBACK TO nothing", "SELECT nofunction(1)", "SELECT lo_open(1, 1)",
                "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = ''; END $$", "SELECT 1 FROM t WHERE",
                "LOCK TABLE t IN ACCESS EXCLUSIVE MODE", "DEALLOCATE nothing", "FETCH 1 FROM nothing",
            ):  # fmt: skip
                for call in (con.execute, con.fetch):
                    try:
                        await call(query)
                    except Exception as error:
                        diary.note(query, "raised", told(error))
                        fields = error.as_dict()
                        fields = {key: value for key, value in fields.items() if not key.startswith("server_source")}
                        diary.note(
                            sorted(fields.items()) if error.sqlstate not in ("42P05", "26000") else sorted(fields)
                        )
                        again = pickle.loads(pickle.dumps(error))
                        diary.note(type(again) is type(error), again.args == error.args, vars(again) == vars(error))
                    else:
                        diary.note(query, "is fine")

    await compare(dsn, scenario)


@covers("exceptions: DataError", "arguments: wrong type or value")
async def test_data_error(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            try:
                await con.fetch("SELECT $1::int", "x")
            except diary.driver.DataError as error:
                diary.note(told(error), error.as_dict(), error.message, isinstance(error, diary.driver.InterfaceError))
                again = pickle.loads(pickle.dumps(error))
                diary.note(type(again).__name__, again.args)
            diary.note(diary.driver.DataError.sqlstate, diary.driver.exceptions.DataError is diary.driver.DataError)

    await compare(dsn, scenario)


@covers("exceptions: of the client", "exceptions: text", "exceptions: pickling")
def test_of_the_client() -> None:
    def scenario(diary: Diary) -> None:
        of = diary.driver.exceptions
        for name in ("InterfaceError", "ClientConfigurationError", "UnsupportedClientFeatureError",
                     "UnsupportedServerFeatureError", "InterfaceWarning"):  # fmt: skip
            cls = getattr(of, name)
            for given in ({}, {"detail": "d"}, {"hint": "h"}, {"detail": "d", "hint": "h"}):
                error = cls("text", **given)
                diary.note(name, given, str(error), error.args, error.detail, error.hint)
                other = pickle.loads(pickle.dumps(error))
                diary.note(str(other), type(other) is cls)
            if name != "InterfaceWarning":
                diary.note(str(error.with_msg("another text")), type(error.with_msg("x")).__name__)
        outdated = of.OutdatedSchemaCacheError("text", schema="s", data_type="t", position=3)
        diary.note(str(outdated), outdated.schema_name, outdated.data_type_name, outdated.position)
        diary.note(
            str(of.ProtocolError("x")), str(of.InternalClientError("y")), str(of.TargetServerAttributeNotMatched("z"))
        )
        diary.note(of._base.InterfaceError is of.InterfaceError)

    compare_now(scenario)


@covers("exceptions: InvalidCachedStatementError", "cache: invalidation")
async def test_cached_statements(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t AS SELECT 1 AS a")
            query = "SELECT * FROM t"
            await con.fetch(query)
            await con.execute("ALTER TABLE t ADD b int DEFAULT 2")
            await diary.attempt("tried again", lambda: con.fetch(query))
            statement = await con.prepare(query)
            await con.execute("ALTER TABLE t ADD c int DEFAULT 3")
            transaction = con.transaction()
            await transaction.start()
            await con.execute("SELECT 1")  # a transaction that has done nothing yet prepares again
            await diary.attempt("in a transaction", lambda: con.fetch(query))
            diary.state("in a transaction", con)
            await transaction.rollback()
            await diary.attempt("after it", lambda: con.fetch(query))
            await diary.attempt("a statement of one's own", statement.fetch)
            diary.note(issubclass(diary.driver.InvalidCachedStatementError, diary.driver.FeatureNotSupportedError),
                       diary.driver.InvalidCachedStatementError.sqlstate)  # fmt: skip

    await compare(dsn, scenario)


@covers("exceptions: hint on prepared statements")
@differs("Hint about poolers")
async def test_hint_on_poolers(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            statement = await con.prepare("SELECT 1", name="one")
            for call in (lambda: con.prepare("SELECT 2", name="one"), lambda: forgotten(con, statement)):
                try:
                    await call()
                except diary.driver.PostgresError as error:
                    diary.note(error.sqlstate, "statement_cache_size" in error.hint, "HINT:" in str(error))
                    diary.entries.append(error.hint.strip()[:5])

    async def forgotten(con: Any, statement: Any) -> None:
        await con.execute("DEALLOCATE ALL")
        await statement.fetch()

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries[::2] == ours.entries[::2] == ["42P05 True True", "26000 True True"]
    assert theirs.entries[1::2] == ["NOTE:"] * 2 != ours.entries[1::2]


@covers("exceptions: log messages", "Connection: log listeners")
async def test_log_messages(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            heard: list[Any] = []
            con.add_log_listener(lambda who, what: heard.append((who is con, what)))
            await con.execute("SET client_min_messages = debug")
            heard.clear()
            for level in ("DEBUG", "LOG", "INFO", "NOTICE", "WARNING"):
                for code in ("00000", "01000", "01003", "02000", "42P07", "UX001"):
                    await con.execute(
                        f"DO $$ BEGIN RAISE {level} 'said' USING ERRCODE = '{code}', DETAIL = 'd'; END $$"
                    )
            await diary.turns()
            for same, what in heard:
                diary.note(
                    same, type(what).__name__, what.severity, what.sqlstate, what.message, what.detail, str(what)
                )
                diary.note([base.__name__ for base in type(what).__mro__ if base.__name__ not in OWN])
            try:
                heard[0][1].message = "other"
            except TypeError as error:
                diary.note(error)
            diary.note(sorted(heard[0][1].as_dict()))

    diary = await compare(dsn, scenario)
    assert len(diary.entries) > 50


@covers("exceptions: a lost connection", "defect: a backend that ends under load")
async def test_a_lost_connection(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as other:
            con = await diary.driver.connect(diary.dsn)
            task = asyncio.ensure_future(con.fetch("SELECT pg_sleep(60)"))
            await asyncio.sleep(0.1)
            await other.execute(f"SELECT pg_terminate_backend({con.get_server_pid()})")
            await diary.attempt("while it ran", lambda: task)
            await diary.turns(0.1)
            diary.note(con.is_closed())
            await diary.attempt("afterwards", lambda: con.fetch("SELECT 1"))
        try:
            await diary.driver.connect(host="127.0.0.1", port=1, user="u", database="d")
        except Exception as error:
            diary.note("at connect", isinstance(error, OSError), isinstance(error, diary.driver.PostgresError))

    await compare(dsn, scenario)


@covers("exceptions: a lost connection", "connect(): startup packet")
async def test_a_server_that_hangs_up() -> None:
    version = b"server_version\0" + b"15.1\0"
    version = b"S" + (4 + len(version)).to_bytes(4, "big") + version
    ready = b"R\0\0\0\x08\0\0\0\0" + version + b"K\0\0\0\x0c\0\0\0\1\0\0\0\2" + b"Z\0\0\0\5I"

    async def scenario(diary: Diary) -> None:
        with FakeServer([packet(), ready, message(), FIN]) as fake:
            con = await diary.driver.connect(host=fake.host, port=fake.port, user="u", database="d", ssl=False)
            await diary.attempt("in the middle", lambda: con.execute("SELECT 1"))
            diary.note(con.is_closed(), fake.received[0][1][5:])
            await diary.attempt("then", lambda: con.execute("SELECT 1"))
        with FakeServer([packet(), FIN]) as fake:
            try:
                await diary.driver.connect(host=fake.host, port=fake.port, user="u", database="d", ssl=False)
            except Exception as error:
                diary.note("start-up", type(error).__name__, isinstance(error, OSError))

    await compare("", scenario)


@covers("exceptions: roots")
def test_warnings() -> None:
    def scenario(diary: Diary) -> None:
        for name in ("PostgresWarning", "DeprecatedFeature", "InterfaceWarning"):
            cls = getattr(diary.driver, name)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                warnings.warn(cls("said"), stacklevel=1)
            diary.note(name, caught[0].category.__name__, issubclass(cls, Warning), issubclass(cls, UserWarning))
        for name in ("PostgresError", "InterfaceError", "PostgresWarning"):
            with pytest.raises(getattr(diary.driver, name)):
                raise getattr(diary.driver, name)("x")
        diary.note(issubclass(diary.driver.InterfaceError, diary.driver.PostgresError))

    compare_now(scenario)


def test_everything_of_asyncpg_is_named() -> None:
    assert set(NAMES) < set(fastpg.exceptions.__all__)
