# SPDX-License-Identifier: MIT
"""What a security profile sets, and what is left of a session for its next user."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import _server, exceptions
from fastpg.connect import _direct
from fastpg.security import PROFILES
from fastpg.types import ServerVersion
from tests.fakeserver import FIN, START_TLS, FakeServer, packet, receive
from tests.messages import message, parameter_status, ready
from tests.server import AnyServer
from tools.pgserver import write_certificate

asyncpg = pytest.importorskip("asyncpg")

COMPAT = PROFILES["compat"]
# The strict one, as far as a server without TLS and with trust goes.
STRICT = replace(
    PROFILES["strict"], sslmode="disable", channel_binding="disable", require_auth=None, allow_trust_with_password=True
)


@pytest_asyncio.fixture
async def role(server: AnyServer) -> AsyncIterator[str]:
    connection = await fastpg.connect(server.dsn)
    await connection.execute("DROP ROLE IF EXISTS fastpg_other; CREATE ROLE fastpg_other")
    yield "fastpg_other"
    await connection.execute("DROP ROLE fastpg_other")
    await connection.close()


# ------------------------------------------------------------ the next user's session


@pytest.mark.parametrize("change", ["SET ROLE", "SET SESSION AUTHORIZATION"])
async def test_the_next_user_is_the_first_one(dsn: str, role: str, change: str) -> None:
    who = "SELECT session_user::text, current_user::text"
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        before = await pool.fetchrow(who)
        async with pool.acquire() as connection:
            await connection.execute(f"{change} {role}")
            assert (await connection.fetchrow(who))[1] == role
            pid = connection.get_server_pid()
        assert await pool.fetchrow(who) == before
        async with pool.acquire() as connection:
            assert connection.get_server_pid() == pid
            await connection.execute(f"{change} {role}")
            await connection.reset()
            assert await connection.fetchrow(who) == before


async def test_the_role_that_the_session_began_with_stays(dsn: str, role: str) -> None:
    options = {"options": f"-c role={role}"}
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, server_settings=options) as pool:
        for _ in range(3):
            assert await pool.fetchval("SELECT current_user::text") == role
            await pool.execute("RESET ROLE")


async def test_a_reset_query_of_the_users_own_is_all_that_is_run(dsn: str, role: str) -> None:
    class Mine(fastpg.Connection):
        def get_reset_query(self) -> str:
            return "SET fastpg.mine = 'yes'"

    async with fastpg.create_pool(dsn, min_size=1, max_size=1, connection_class=Mine) as pool:
        await pool.execute(f"SET ROLE {role}")
        assert await pool.fetchrow("SELECT current_user::text, current_setting('fastpg.mine')") == (role, "yes")


async def test_strict_leaves_nothing_of_a_session(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, security=STRICT) as pool:
        pid = await pool.fetchval("SELECT pg_backend_pid()")
        await pool.execute(
            "CREATE TEMP TABLE left_over (i serial); INSERT INTO left_over DEFAULT VALUES;"
            'PREPARE "mine ""x" AS SELECT 1; CREATE TEMP SEQUENCE s'
        )
        assert await pool.fetchval("SELECT pg_backend_pid()") == pid
        assert await pool.fetchval("SELECT to_regclass('left_over')") is None
        assert await pool.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE from_sql") == 0
        with pytest.raises(exceptions.ObjectNotInPrerequisiteStateError):
            await pool.fetchval("SELECT lastval()")


@pytest.mark.parametrize(
    "parameters",
    [{}, {"padb_revision": "1"}, {"crdb_version": "1"}, {"crate_version": "1"}],
    ids=["postgresql", "redshift", "cockroach", "crate"],
)
@pytest.mark.parametrize("major", [8, 10, 11, 12, 18])
def test_capabilities_like_asyncpgs(parameters: dict[str, str], major: int) -> None:
    class Settings:
        def __init__(self) -> None:
            self.__dict__.update(parameters)

    version = (major, 0, 0, "final", 0)
    theirs = asyncpg.connection._detect_server_capabilities(asyncpg.types.ServerVersion(*version), Settings())
    ours = _server.capabilities(ServerVersion(*version), parameters)
    assert tuple(ours) == tuple(theirs) and ours._fields == theirs._fields
    query = _server.reset_query(ours)
    assert ("RESET ALL" in query) == ("crdb_version" not in parameters and "crate_version" not in parameters)
    assert ("RESET ROLE" in _server.before_reset(ours, True)) == (not parameters)


async def test_the_reset_query_is_asyncpgs(dsn: str) -> None:
    theirs, ours = await asyncpg.connect(dsn), await fastpg.connect(dsn)
    assert ours.get_reset_query() == theirs.get_reset_query()
    await theirs.close()
    await ours.close()


# ------------------------------------------------------------------------- a session


async def test_strict_limits_of_time(dsn: str) -> None:
    connection = await fastpg.connect(dsn, security=STRICT)
    assert connection._config.command_timeout == 60
    assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "1min"
    await connection.close()
    given = {"idle_in_transaction_session_timeout": "5000"}
    connection = await fastpg.connect(dsn, security=STRICT, command_timeout=7, server_settings=given)
    assert connection._config.command_timeout == 7
    assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"
    await connection.close()


@pytest.mark.parametrize("reuse", [True, False])
async def test_whether_a_session_is_used_after_a_cancel(dsn: str, reuse: bool) -> None:
    connection = await fastpg.connect(dsn, security=replace(COMPAT, reuse_after_cancel=reuse))
    with pytest.raises(asyncio.TimeoutError):
        await connection.fetch("SELECT pg_sleep(30)", timeout=0.05)
    if reuse:
        assert await connection.fetchval("SELECT 1") == 1
    else:
        with pytest.raises(
            (exceptions.InterfaceError, exceptions.ConnectionDoesNotExistError), match="connection (is|was) closed"
        ):
            await connection.fetchval("SELECT 1")
        assert connection.is_closed()
    await connection.close()


async def test_notices_beyond_the_limit_are_dropped_and_counted(dsn: str) -> None:
    loop = asyncio.get_running_loop()
    said: list[str] = []
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))
    connection = await fastpg.connect(dsn, security=replace(COMPAT, max_queued_notices=10))
    heard: list[str] = []
    connection.add_log_listener(lambda _, message: heard.append(message.message))
    script = "DO $$ BEGIN FOR i IN 1..500 LOOP RAISE NOTICE '%', i; END LOOP; END $$"
    task = asyncio.ensure_future(connection.execute(script))
    await asyncio.sleep(0)
    time.sleep(0.5)  # nothing is read meanwhile: they come at once
    await task
    await asyncio.sleep(0)
    assert connection.notices_dropped == 500 - len(heard) > 0 and heard[:10] == [str(i) for i in range(1, 11)]
    assert len(said) == 1 and "drops notices: 10 wait" in said[0]
    heard.clear()
    await connection.execute("DO $$ BEGIN RAISE NOTICE 'again'; END $$")
    await asyncio.sleep(0)
    assert heard == ["again"]
    await connection.close()


@pytest.mark.parametrize("name", ["latin1", "LATIN1", "sjis"])
async def test_client_encoding_as_a_parameter(dsn: str, name: str) -> None:
    connection = await fastpg.connect(dsn, client_encoding=name)
    assert connection.get_settings().client_encoding == name.upper()
    word = "é" if "1" in name else "表"
    assert await connection.fetchrow(f"SELECT '{word}', $1::text", word) == (word, word)
    await connection.close()


# ------------------------------------------------------------------------ direct TLS


def welcome(version: str) -> bytes:
    return (
        message("R", b"\0\0\0\0") + parameter_status("server_version", version)
        + parameter_status("client_encoding", "UTF8") + message("K", b"\0\0\0\1key!") + ready()
    )  # fmt: skip


async def test_direct_tls_with_a_server_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSSLMODE", "PGSSLNEGOTIATION", "FASTPG_SECURITY"):
        monkeypatch.delenv(name, raising=False)
    write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    context.set_alpn_protocols(["postgresql"])
    profile = replace(PROFILES["strict"], channel_binding="disable", require_auth=None, sslmode="require")
    asked = [packet(), b"S", START_TLS, packet()]
    direct = [START_TLS, packet()]

    async def connect(server: FakeServer, **given: Any) -> None:
        connection = await asyncio.wait_for(
            fastpg.connect(server.dsn, **{"security": profile, "timeout": 10, **given}), 15
        )
        connection.terminate()

    with FakeServer(
        [*asked, welcome("16.4")], [*asked, welcome("17.2")], [*direct, welcome("17.2")], [*asked, welcome("17.2")],
        ssl_context=context,
    ) as server:  # fmt: skip
        for _ in range(3):
            await connect(server)
        await connect(server, security=replace(COMPAT, sslmode="require"))
        assert (server.host, server.port) in _direct
    # There is something else at this address now, which wants to be asked: no connection is lost by it.
    scripts = [receive(8), FIN], [*asked, welcome("16.4")], [*asked, welcome("16.4")]
    with FakeServer(*scripts, ssl_context=context) as server:
        _direct.add((server.host, server.port))
        for _ in range(2):
            await connect(server)
        assert (server.host, server.port) not in _direct and server.connections == 3


async def test_direct_tls_with_a_real_server(server_with: Callable[..., AnyServer]) -> None:
    server = server_with("tls")
    given = {"host": "localhost", "port": server.port, "user": server.user, "database": server.database}
    profile = replace(PROFILES["strict"], channel_binding="disable", require_auth=None, sslmode="require")
    _direct.clear()
    for _ in range(2):
        connection = await fastpg.connect(**given, security=profile)
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert bool(_direct) == (connection.get_server_version().major >= 17)
        await connection.close()
    _direct.clear()
