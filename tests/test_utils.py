# SPDX-License-Identifier: MIT
"""The small modules of asyncpg's tree do what asyncpg's do."""

from __future__ import annotations

import asyncio
import datetime
import importlib
from typing import Any

import asyncpg
import asyncpg.connect_utils
import asyncpg.connresource
import asyncpg.pgproto.pgproto
import asyncpg.protocol.protocol
import asyncpg.serverversion
import asyncpg.utils
import pytest

import fastpg
from fastpg import compat, connect_utils, connresource, serverversion, utils

VERSIONS = [
    "15.18 (Debian 15.18-1)", "9.6.3", "9.6", "10.1", "11beta2", "11rc1", "12devel", "12devel3", "16beta1 (Ubuntu)",
    "11.2-YB-2.7.1.1-b0", "PostgreSQL 8.0.2 on i686", "10alpha", "10.1rc2", "9.5.25-foo", "14.6 (Homebrew)", "13.4.5",
    "9.2.4.1", "Postgres 12", "postgresql 12.1",
]  # fmt: skip
KEYWORDS = (
    "dsn", "host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile", "direct_tls",
    "server_settings", "target_session_attrs", "krbsrvname", "gsslib",
)  # fmt: skip


@pytest.mark.parametrize("text", VERSIONS)
def test_versions(text: str) -> None:
    expected = asyncpg.serverversion.split_server_version_string(text)
    assert serverversion.split_server_version_string(text) == tuple(expected)


@pytest.mark.parametrize("text", ["", "abc"])
def test_no_version(text: str) -> None:
    for module in (asyncpg.serverversion, serverversion):
        with pytest.raises(ValueError):
            module.split_server_version_string(text)


def test_quoting() -> None:
    for text in ("a b", 'a"b', "tbl", "", "Ünï", "a'b"):
        assert utils._quote_ident(text) == asyncpg.utils._quote_ident(text)
        assert utils._quote_literal(text) == asyncpg.utils._quote_literal(text)


async def test_literals_mean_what_they_say(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    for setting in ("on", "off"):
        await connection.execute(f"SET standard_conforming_strings TO {setting}; SET escape_string_warning TO off")
        for text in ("a'b", "a\\b", "\\'; SELECT 1 --", "\\", "''"):
            assert await connection.fetchval(f"SELECT {utils._quote_literal(text)}, '{setting}'") == text
    await connection.close()


QUERIES: list[tuple[str, tuple[Any, ...]]] = [
    ("SELECT $1::int, $2::text, $1", (1, "o'x")),
    ("SELECT $1::int[]", ([1, 2],)),
    ("SELECT 1", ()),
    ("SELECT $1::text", (None,)),
    ("SELECT $11::text, $1::text," + ",".join(f"${i}::text" for i in range(2, 11)), tuple("abcdefghijk")),
    ("SELECT $1::timestamptz > now(), $2::numeric", (datetime.datetime(2024, 1, 2), "1.50")),
]


@pytest.mark.parametrize("number", range(len(QUERIES)))
async def test_mogrify(dsn: str, number: int) -> None:
    query, args = QUERIES[number]
    texts = []
    for module in (asyncpg, fastpg):
        connection: Any = await module.connect(dsn)
        texts.append(await importlib.import_module(f"{module.__name__}.utils")._mogrify(connection, query, args))
        await connection.close()
    assert texts[0] == texts[1]


async def test_mogrify_leaves_other_text_alone(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    query = """SELECT '$1', "$1", $$ $1 $$, $x$ $1 $x$, E'\\'$1' /* $1 */, $1::text -- $1"""
    query = query.replace('"$1"', 'a."$1"') + '\n FROM (SELECT 1 AS "$1") a'
    text = await utils._mogrify(connection, query, ("it's",))
    assert text == query.replace("$1::text", "'it''s'::text")
    assert await connection.fetchrow(text) == ("$1", 1, " $1 ", " $1 ", "'$1", "it's")
    await connection.close()


@pytest.mark.parametrize(
    "given",
    [
        {"dsn": "postgresql://u:p@h1:1,h2:2/db?sslmode=disable&application_name=x"},
        {"dsn": "postgresql://u:p@/db?host=/tmp"},
        {"dsn": "postgresql://u:p@h/db?target_session_attrs=read-only&sslmode=disable"},
        {"host": ["a", "b"], "port": [1, 2], "user": "u", "database": "d", "password": "p", "ssl": False},
        {"host": "a", "port": 1, "user": "u", "database": "d", "password": "p", "ssl": "disable",
         "server_settings": {"work_mem": "1MB"}},
    ],
)  # fmt: skip
def test_parsing(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    arguments = {**dict.fromkeys(KEYWORDS), **given}
    addresses, parameters = asyncpg.connect_utils._parse_connect_dsn_and_args(**arguments)
    ours, view = connect_utils._parse_connect_dsn_and_args(**arguments)
    assert ours == addresses
    assert view._asdict() == parameters._asdict()
    limits = dict.fromkeys(
        ("statement_cache_size", "max_cached_statement_lifetime", "max_cacheable_statement_size"), 5
    )
    _, _, expected = asyncpg.connect_utils._parse_connect_arguments(command_timeout=2, **limits, **arguments)
    _, _, configuration = connect_utils._parse_connect_arguments(command_timeout=2, **limits, **arguments)
    assert configuration._asdict() == expected._asdict()


def test_enumerations() -> None:
    for name in ("SSLMode", "SSLNegotiation", "SessionAttribute"):
        ours, theirs = getattr(connect_utils, name), getattr(asyncpg.connect_utils, name)
        assert [(m.name, m.value) for m in ours] == [(m.name, m.value) for m in theirs]
    for text in ("disable", "verify-full", "require"):
        assert connect_utils.SSLMode.parse(text) == asyncpg.connect_utils.SSLMode.parse(text)
    assert connect_utils.SSLMode.parse(connect_utils.SSLMode.prefer) is connect_utils.SSLMode.prefer
    with pytest.raises(AttributeError):
        connect_utils.SSLMode.parse("x")


async def test_enumerations_as_arguments(dsn: str) -> None:
    attribute = connect_utils.SessionAttribute.primary
    connection = await fastpg.connect(dsn, ssl=connect_utils.SSLMode.prefer, target_session_attrs=attribute)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def test_builtin_types() -> None:
    gone = {"abstime", "opaque", "reltime", "smgr", "tinterval", "oid8", "regdatabase"}
    names = fastpg.protocol.BUILTIN_TYPE_NAME_MAP
    expected = {name: oid for name, oid in asyncpg.protocol.BUILTIN_TYPE_NAME_MAP.items() if name not in gone}
    assert {name: names.get(name) for name in expected} == expected
    protocol = asyncpg.protocol.protocol
    assert protocol.SYNC_MESSAGE == fastpg.protocol.protocol.SYNC_MESSAGE
    assert protocol.FLUSH_MESSAGE == fastpg.protocol.protocol.FLUSH_MESSAGE
    assert protocol.ARRAY_TYPES <= fastpg.protocol.protocol.ARRAY_TYPES
    with pytest.raises(AttributeError):
        fastpg.protocol.nothing  # noqa: B018


def test_constants() -> None:
    ours, theirs = fastpg.pgproto.pgproto, asyncpg.pgproto.pgproto
    for name in vars(theirs):
        if "infinity" in name or "epoch" in name or name in ("utc", "timedelta", "std_UUID"):
            assert getattr(ours, name) == getattr(theirs, name)
    assert ours.pg_UUID is ours.UUID


class Holder(connresource.ConnectionResource):
    @connresource.guarded
    def ask(self, value: int) -> int:
        """A docstring."""
        return value + 1


async def test_connection_resource(dsn: str) -> None:
    assert Holder.ask.__doc__ == "A docstring."
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection:
            holder = Holder(connection._con)
            assert holder.ask(1) == 2
        text = r"cannot call Holder.ask\(\): the underlying connection has been released back to the pool"
        with pytest.raises(fastpg.InterfaceError, match=text):
            holder.ask(1)
    connection = await fastpg.connect(dsn)
    holder = Holder(connection)
    await connection.close()
    with pytest.raises(fastpg.InterfaceError, match="the underlying connection is closed"):
        holder.ask(1)


async def test_timeout() -> None:
    with pytest.raises(asyncio.TimeoutError):
        async with compat.timeout(0.01):
            await asyncio.sleep(60)
    async with compat.timeout(None):
        assert await compat.wait_for(asyncio.sleep(0, 5), 10) == 5
    assert compat.get_pg_home_directory() is not None and compat.SYSTEM
