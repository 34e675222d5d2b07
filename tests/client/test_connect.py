# SPDX-License-Identifier: MIT
"""Connecting to a live server: every authentication, TLS, wrong parameters, several hosts, giving up, closing."""

from __future__ import annotations

import asyncio
import gc
import os
import pwd
import socket
import ssl
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastpg
from fastpg import exceptions
from fastpg.exceptions import ClientConfigurationError, InterfaceError
from fastpg.protocol import scram
from tests.fakeserver import FIN, FakeServer
from tests.server import AnyServer
from tools.pgserver import PASSWORD, free_port

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("PG", "FASTPG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def tls_server(server_with: Callable[..., AnyServer]) -> Any:
    return server_with("tls")


async def connect(server: AnyServer, **given: Any) -> fastpg.Connection:
    known = {"host": server.host, "port": server.port, "user": server.user, "database": server.database, "timeout": 20}
    return await asyncio.wait_for(fastpg.connect(**{**known, **given}), 30)


async def facts(server: AnyServer, **given: Any) -> tuple[Any, ...]:
    """The user, and whether the session is encrypted."""
    connection = await connect(server, **given)
    try:
        row = await connection.fetchrow(
            "SELECT session_user, ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()"
        )
        assert row is not None
        return tuple(row)
    finally:
        await connection.close()


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
@pytest.mark.parametrize("role", ["postgres", "scram_role", "md5_role", "password_role"])
@pytest.mark.filterwarnings("ignore:md5")
async def test_roles_and_modes(tls_server: Any, role: str, mode: str) -> None:
    password = None if role == "postgres" else PASSWORD
    found = await facts(tls_server, user=role, password=password, sslmode=mode)
    assert found == (role, mode in ("prefer", "require"))


@pytest.mark.parametrize("role", ["postgres", "scram_role", "md5_role", "password_role", "tls_role"])
async def test_verified_tls(tls_server: Any, role: str) -> None:
    for host in ("localhost", "127.0.0.1"):
        given = {"host": host, "sslmode": "verify-full", "sslrootcert": str(tls_server.certificate)}
        assert await facts(tls_server, user=role, password=PASSWORD, **given) == (role, True)


@pytest.mark.parametrize("mode, encrypted", [("disable", None), ("allow", True), ("prefer", True), ("require", True)])
async def test_a_role_that_needs_tls(tls_server: Any, mode: str, encrypted: bool | None) -> None:
    if encrypted is None:
        with pytest.raises(exceptions.InvalidAuthorizationSpecificationError):
            await connect(tls_server, user="tls_role", password=PASSWORD, sslmode=mode)
    else:
        assert await facts(tls_server, user="tls_role", password=PASSWORD, sslmode=mode) == ("tls_role", encrypted)


async def test_channel_binding(tls_server: Any) -> None:
    given = {"user": "scram_role", "password": PASSWORD, "sslmode": "require"}
    for wanted in ("disable", "prefer", "require"):
        assert await facts(tls_server, **given, channel_binding=wanted) == ("scram_role", True)
    for role in ("md5_role", "password_role", "postgres"):
        with pytest.raises(InterfaceError, match="channel_binding=require"):
            await connect(tls_server, **{**given, "user": role}, channel_binding="require")
    with pytest.raises(InterfaceError, match="channel_binding=require"):
        await connect(tls_server, **{**given, "sslmode": "disable"}, channel_binding="require")


async def test_strict(tls_server: Any) -> None:
    given = {"security": "strict", "host": "localhost", "sslrootcert": str(tls_server.certificate)}
    assert await facts(tls_server, user="scram_role", password=PASSWORD, **given) == ("scram_role", True)
    for role in ("postgres", "md5_role", "password_role"):
        with pytest.raises(InterfaceError):
            await connect(tls_server, user=role, password=PASSWORD, **given)


async def test_the_users_own_context(tls_server: Any) -> None:
    context = ssl.create_default_context(cafile=str(tls_server.certificate))
    given = {"user": "scram_role", "password": PASSWORD}
    assert await facts(tls_server, **given, host="localhost", ssl=context) == ("scram_role", True)
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(tls_server, **given, host="localhost", ssl=ssl.create_default_context())


async def test_a_wrong_name_in_the_certificate(tls_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"host": "db.example", "hostaddr": "127.0.0.1", "sslrootcert": str(tls_server.certificate)}
    assert (await facts(tls_server, **given, sslmode="verify-ca"))[1]
    with pytest.raises(ssl.SSLCertVerificationError, match="db.example"):
        await connect(tls_server, **given, sslmode="verify-full")


@pytest.mark.parametrize("role", ["scram_role", "md5_role", "password_role"])
@pytest.mark.parametrize("mode", ["disable", "prefer"])
@pytest.mark.filterwarnings("ignore:md5")
async def test_wrong_passwords(server: AnyServer, role: str, mode: str) -> None:
    for wrong in ("canary", "canary" * 100, "пароль-canary"):
        with pytest.raises(exceptions.InvalidPasswordError) as caught:
            await connect(server, user=role, password=wrong, sslmode=mode)
        assert "canary" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("wrong, kind", [
    ({"database": "no such database"}, exceptions.InvalidCatalogNameError),
    ({"user": "no such user"}, exceptions.InvalidAuthorizationSpecificationError),
    ({"server_settings": {"no_such_setting": "x"}}, exceptions.UndefinedObjectError),
    ({"options": "-c no_such_setting=x"}, exceptions.UndefinedObjectError),
    ({"server_settings": {"work_mem": "many"}}, exceptions.InvalidParameterValueError),
    ({"sslmode": "sometimes"}, ClientConfigurationError), ({"port": "x"}, ValueError), ({"port": 65536}, ValueError),
    ({"target_session_attrs": "x"}, ClientConfigurationError), ({"sslrootcert": "/no/such", "sslmode": "verify-ca"},
                                                                ClientConfigurationError),
    ({"host": "host.invalid"}, OSError), ({"host": "/no/such/directory"}, FileNotFoundError),
])  # fmt: skip
async def test_wrong_parameters(server: AnyServer, wrong: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await connect(server, **wrong)


async def test_nobody_listens(server: AnyServer) -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError, match=str(port)):
        await connect(server, port=port)
    with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{port}.*127.0.0.1:{port}"):
        await connect(server, host=["127.0.0.1"] * 2, port=port)


async def test_passwords_from_functions(server: AnyServer) -> None:
    calls = []

    def plain() -> str:
        calls.append("plain")
        return PASSWORD

    async def later() -> str:
        await asyncio.sleep(0)
        calls.append("later")
        return PASSWORD

    for function in (plain, later):
        assert (await facts(server, user="scram_role", password=function, sslmode="disable"))[0] == "scram_role"
    assert calls == ["plain", "later"]


async def test_the_password_file(server: AnyServer, tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    lines = ["# comment", "elsewhere:*:*:*:wrong", f"{server.host}:{server.port}:*:scram_role:{PASSWORD}"]
    file.write_text("\n".join([*lines, "*:*:*:*:wrong"]) + "\n")
    file.chmod(0o600)
    assert (await facts(server, user="scram_role", passfile=str(file), sslmode="disable"))[0] == "scram_role"
    with pytest.raises(exceptions.InvalidPasswordError):
        await connect(server, user="password_role", passfile=str(file), sslmode="disable")


async def test_no_password(server: AnyServer) -> None:
    with pytest.raises(InterfaceError, match="none was given"):
        await connect(server, user="scram_role", sslmode="disable")


async def test_the_second_login_derives_nothing(server: AnyServer) -> None:
    await facts(server, user="scram_role", password=PASSWORD, sslmode="disable")
    before = scram.derivations
    for _ in range(3):
        await facts(server, user="scram_role", password=PASSWORD, sslmode="disable")
    assert scram.derivations == before


async def test_require_auth(server: AnyServer) -> None:
    methods = {"postgres": "none", "scram_role": "scram-sha-256", "password_role": "password"}
    for role, method in methods.items():
        given = {"user": role, "password": PASSWORD, "sslmode": "disable"}
        assert (await facts(server, **given, require_auth=method))[0] == role
        with pytest.raises(InterfaceError, match="require_auth"):
            await connect(server, **given, require_auth=f"!{method}")


async def test_unix_socket(server: AnyServer) -> None:
    if not server.socket_dir:
        return
    connection = await connect(server, host=server.socket_dir, sslmode="require")
    assert await connection.fetchval("SELECT inet_client_addr()") is None
    await connection.close()
    owner = pwd.getpwuid(os.stat(f"{server.socket_dir}/.s.PGSQL.{server.port}").st_uid).pw_name
    await (await connect(server, host=server.socket_dir, requirepeer=owner)).close()
    with pytest.raises(InterfaceError, match=f"requirepeer asks for the user 'somebody'.*{owner}"):
        await connect(server, host=server.socket_dir, requirepeer="somebody")
    await (await connect(server, requirepeer="somebody")).close()  # not of TCP


async def test_several_hosts(server: AnyServer) -> None:
    with FakeServer([FIN]) as dead:
        ports = [free_port(), dead.port, server.port]
        given: dict[str, Any] = {"host": ["127.0.0.1"] * 3, "port": ports, "sslmode": "disable"}
        for wanted in ("any", "primary", "read-write", "prefer-standby"):
            assert (await facts(server, **given, target_session_attrs=wanted))[0] == "postgres"
        for wanted in ("standby", "read-only"):
            with pytest.raises((exceptions.TargetServerAttributeNotMatched, OSError)):
                await connect(server, **given, target_session_attrs=wanted)
        with pytest.raises(exceptions.TargetServerAttributeNotMatched):
            await connect(server, target_session_attrs="standby")
    options = {"server_settings": {"default_transaction_read_only": "on"}}
    assert (await facts(server, **options, target_session_attrs="read-only"))[0] == "postgres"
    with pytest.raises(exceptions.TargetServerAttributeNotMatched):
        await connect(server, **options, target_session_attrs="read-write")


async def test_a_socket_of_ones_own(server: AnyServer) -> None:
    sock = socket.create_connection((server.host, server.port))
    sock.setblocking(False)
    assert (await facts(server, sock=sock))[0] == "postgres"

    async def connector(host: str, port: int) -> socket.socket:
        sock = socket.create_connection((host, port))
        sock.setblocking(False)
        return sock

    assert (await facts(server, connector=connector))[0] == "postgres"


async def test_any_text_as_a_password(server: AnyServer) -> None:
    """Whatever the server stores for a password, we log in with it."""
    passwords = [" ", "a'b\\c", "pässwörd", "I\u00adX", "\u2168", "ﬁ", "密码", "🔑", "\u0627\u06281", "a\u00a0b", "%41"]
    admin = await connect(server)
    try:
        await admin.execute("SET password_encryption = 'scram-sha-256'")
        # pg_hba.conf names scram_role alone, so the exchange is had by changing that role's password.
        for password in [*passwords, "x" * 500]:
            quoted = await admin.fetchval("SELECT quote_literal($1::text)", password)
            await admin.execute(f"ALTER ROLE scram_role PASSWORD {quoted}")
            assert (await facts(server, user="scram_role", password=password, sslmode="disable"))[0] == "scram_role"
            with pytest.raises(exceptions.InvalidPasswordError):
                await connect(server, user="scram_role", password=password + "!", sslmode="disable")
    finally:
        await admin.execute(f"ALTER ROLE scram_role PASSWORD '{PASSWORD}'")
        await admin.close()


async def test_too_many_connections(server: AnyServer) -> None:
    admin = await connect(server)
    try:
        await admin.execute("ALTER ROLE password_role CONNECTION LIMIT 0")
        with pytest.raises(exceptions.TooManyConnectionsError):
            await connect(server, user="password_role", password=PASSWORD, sslmode="disable")
    finally:
        await admin.execute("ALTER ROLE password_role CONNECTION LIMIT -1")
        await admin.close()


@pytest.mark.parametrize("mode", ["disable", "require"])
async def test_cancelling_at_any_point(tls_server: Any, mode: str) -> None:
    """Cancelled after so many turns of the loop: no session is left on the server, no socket here."""
    given = {"user": "scram_role", "password": PASSWORD, "sslmode": mode, "application_name": "to be cancelled"}
    for turns in range(400):
        task = asyncio.ensure_future(connect(tls_server, **given))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            connection = await task
        except asyncio.CancelledError:
            continue
        await connection.close()
        break
    for seconds in (0.001, 0.002, 0.005, 0.01, 0.02, 0.04):
        try:
            connection = await fastpg.connect(
                host=tls_server.host, port=tls_server.port, database="postgres", timeout=seconds, **given
            )
        except asyncio.TimeoutError:
            continue
        await connection.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
        await asyncio.sleep(0.02)
    admin = await connect(tls_server)
    try:
        for _ in range(500):
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'to be cancelled'"
            if not (left := await admin.fetchval(query)):
                break
            await asyncio.sleep(0.01)
        assert left == 0
    finally:
        await admin.close()


async def test_closing(server: AnyServer) -> None:
    connection = await connect(server)
    pid = connection.get_server_pid()
    await connection.close()
    assert connection.is_closed()
    await connection.close()
    connection.terminate()
    with pytest.raises(InterfaceError, match="connection is closed"):
        await connection.fetch("SELECT 1")
    admin = await connect(server)
    try:
        for _ in range(500):
            if not await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the session is still there")
    finally:
        await admin.close()


async def test_cancelling_a_query_under_tls(tls_server: Any) -> None:
    connection = await connect(tls_server, sslmode="require")
    with pytest.raises(asyncio.TimeoutError):
        await connection.fetch("SELECT pg_sleep(30)", timeout=0.05)
    assert await asyncio.wait_for(connection.fetchval("SELECT 1"), 10) == 1
    await connection.close()


async def test_a_closed_connection_is_freed_at_once(server: AnyServer) -> None:
    # Each has its receive memory: that is not to wait for the garbage collector.
    connection = await connect(server, ssl=False)
    assert await connection.fetchval("SELECT $1::int", 1) == 1
    await connection.close()
    parts = [weakref.ref(connection), weakref.ref(connection._client)]
    gc.collect()
    gc.disable()
    try:
        del connection
        for _ in range(10):
            await asyncio.sleep(0)  # a transport lives for some turns after it has told of its end
        assert [part() for part in parts] == [None, None]
    finally:
        gc.enable()
