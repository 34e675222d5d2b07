# SPDX-License-Identifier: MIT
"""Connecting compared with libpq itself: the same session, or a failure of the same kind.

What differs on purpose:

- sslmode=prefer does not go on in clear when a password was refused under TLS: nobody gets in either way, the server's
  last word is another one;
- sslmode=prefer does not verify: with a root certificate at hand libpq does, and goes on in clear where that fails;
- a root certificate that was named must exist with sslmode=require too;
- port 0 is tried, and refused by the system.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastpg
from fastpg import exceptions
from tests.fakeserver import FIN, FakeServer
from tests.server import AnyServer
from tools.pgserver import PASSWORD, free_port, write_certificate

pq = pytest.importorskip("psycopg.pq")

FACTS = """
SELECT session_user::text, current_database()::text, s.ssl::text, current_setting('application_name'),
       current_setting('search_path'), current_setting('DateStyle'), current_setting('TimeZone'),
       coalesce(inet_server_port()::text, 'socket')
FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()
"""
# What libpq says, by kind; the first that fits.
KINDS = {
    "authentication": (
        "no password supplied", "password authentication failed", "role \"", "pg_hba.conf rejects",
        "no pg_hba.conf entry",
    ),
    "parameter": (
        "invalid sslmode", "invalid channel_binding", "invalid require_auth", "require_auth method", "weak sslmode",
    ),
    "database": ("database \"",),
    "method": ("require_auth", "channel binding", "authentication method requirement"),
    "tls": ("certificate", "SSL error", "server does not support SSL", "SSL SYSCALL", "host name"),
    "setting": ("unrecognized configuration parameter", "invalid value for parameter"),
    "unreachable": (
        "Connection refused", "could not translate", "could not parse network address", "No such file",
        "closed the connection",
    ),
    "attributes": ("session is", "server is"),
    "malformed": ("invalid", "could not match"),
}


def by_libpq(given: dict[str, Any]) -> tuple[str, ...]:
    words = []
    for key, value in given.items():
        name = {"database": "dbname"}.get(key, key)
        quoted = str(value).replace("\\", "\\\\").replace("'", "\\'")
        words.append(f"{name}='{quoted}'")
    # Not PGconn.connect(): it keeps the interpreter's lock while it waits, so a server in this process cannot answer.
    connection = pq.PGconn.connect_start(" ".join(words).encode())
    try:
        waiting = None if connection.status == pq.ConnStatus.BAD else pq.PollingStatus.WRITING
        while waiting in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
            reading, sock = waiting == pq.PollingStatus.READING, connection.socket
            ready = select.select([sock] if reading else [], [] if reading else [sock], [], 20)
            assert any(ready), f"libpq waits in vain: {given}"
            waiting = connection.connect_poll()
        if connection.status != pq.ConnStatus.OK:
            text = connection.error_message.decode("utf-8", "replace")
            # Of several attempts the last one counts.
            for kind, marks in KINDS.items():
                if any(mark in text for mark in marks):
                    return (kind,)
            return (f"unknown: {text}",)
        result = connection.exec_(FACTS.encode())
        assert result.ntuples == 1, result.error_message
        return tuple((result.get_value(0, i) or b"").decode() for i in range(result.nfields))
    finally:
        connection.finish()


def kind_of(error: BaseException) -> str:
    """Our exceptions in the same words."""
    text = str(error)
    if isinstance(error, exceptions.InvalidAuthorizationSpecificationError):
        # libpq does not send an empty password, the server refuses ours: nobody gets in either way.
        return "authentication"
    if isinstance(error, exceptions.InvalidCatalogNameError):
        return "database"
    if isinstance(error, (exceptions.UndefinedObjectError, exceptions.InvalidParameterValueError)):
        return "setting"
    if isinstance(error, exceptions.TargetServerAttributeNotMatched):
        return "attributes"
    if isinstance(error, ssl.SSLError) or "rejected SSL upgrade" in text or "root certificate file" in text:
        return "tls"
    if isinstance(error, (exceptions.ClientConfigurationError, ValueError)):
        return "parameter"
    if isinstance(error, exceptions.InterfaceError) and ("require_auth" in text or "channel_binding" in text):
        return "method"
    if isinstance(error, exceptions.InterfaceError) and "none was given" in text:
        return "authentication"
    if isinstance(error, (OSError, exceptions.ConnectionDoesNotExistError)):
        return "unreachable"
    return f"unknown: {error!r}"


async def by_fastpg(given: dict[str, Any]) -> tuple[str, ...]:
    try:
        connection = await asyncio.wait_for(fastpg.connect(**given, timeout=20), 30)
    except Exception as error:
        return (kind_of(error),)
    try:
        row = await connection.fetchrow(FACTS)
        assert row is not None
        return tuple(row)
    finally:
        await connection.close()


async def compare(cases: list[dict[str, Any]]) -> int:
    """Both on every case; how many sessions there were."""
    sessions = 0
    wrong = []
    for given in cases:
        loop = asyncio.get_running_loop()
        expected = await loop.run_in_executor(None, by_libpq, given)
        found = await by_fastpg(given)
        sessions += len(expected) > 1
        if len(expected) == 1 == len(found):
            expected = ("parameter",) if expected == ("malformed",) else expected
        if found != expected:
            wrong.append((given, found, expected))
    assert not wrong, "\n".join(f"{given}\n  fastpg: {found}\n  libpq:  {expected}" for given, found, expected in wrong)
    return sessions


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("PG", "FASTPG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGGSSENCMODE", "disable")


@pytest.fixture(scope="session")
def tls_server(server_with: Callable[..., AnyServer]) -> Any:
    return server_with("tls")


@pytest.fixture
def base(tls_server: Any) -> dict[str, Any]:
    address = {"host": "localhost", "hostaddr": "127.0.0.1", "port": tls_server.port}
    return {**address, "user": "postgres", "database": "postgres"}


MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
ROLES = ["postgres", "scram_role", "md5_role", "password_role", "tls_role", "no_such_role"]

pytestmark = pytest.mark.filterwarnings("ignore:md5")


async def test_roles(base: dict[str, Any], tls_server: Any) -> None:
    cases = [
        {**base, "user": role, "sslmode": mode, "sslrootcert": str(tls_server.certificate),
         **({} if password is None else {"password": password})}
        for role, password, mode in itertools.product(ROLES, [PASSWORD, "wrong", "", None], MODES)
    ]  # fmt: skip
    assert await compare(cases) >= 40


async def test_certificates(base: dict[str, Any], tls_server: Any, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    roots = [None, str(tls_server.certificate), str(tmp_path / "server.crt"), "/no/such/file"]
    hosts = [{}, {"host": "127.0.0.1"}, {"host": "db.example"}, {"host": "LOCALHOST"}, {"host": "localhost."}]
    cases = [
        {**base, **host, "sslmode": mode, **({"sslrootcert": root} if root else {})}
        for root, host, mode in itertools.product(roots, hosts, MODES)
        if not (mode == "verify-full" and host.get("host") == "localhost.")  # ours has no dot at the end for TLS
        and not (mode == "prefer" and root == roots[2]) and not (mode == "require" and root == roots[3])
    ]
    assert await compare(cases) >= 40


async def test_methods(base: dict[str, Any], tls_server: Any) -> None:
    cases = [
        {**base, "user": role, "password": PASSWORD, "sslmode": mode, "channel_binding": binding,
         "require_auth": method}
        for role, mode, binding, method in itertools.product(
            ROLES[:4], ["disable", "prefer", "require"], ["disable", "prefer", "require"],
            ["none", "password", "md5", "scram-sha-256", "!password", "!scram-sha-256,!none", "gss,none"],
        )
    ]  # fmt: skip
    assert await compare(cases) >= 60


async def test_settings(base: dict[str, Any]) -> None:
    some: list[dict[str, Any]] = [
        {}, {"application_name": "me"}, {"application_name": "zwölf'\\ "}, {"fallback_application_name": "fall"},
        {"application_name": "me", "fallback_application_name": "fall"}, {"options": "-c search_path=a,b"},
        {"options": "-c DateStyle=German -c TimeZone=Asia/Tokyo"}, {"options": "--search_path=x\\ y"},
        {"options": "-c no_such=1"}, {"options": "-c work_mem=many"}, {"database": "no such database"},
        {"database": "template1"}, {"user": "scram_role", "password": PASSWORD, "database": "template1"},
        {"client_encoding": "UTF8"}, {"keepalives": "0"}, {"keepalives_idle": "5"}, {"tcp_user_timeout": "1000"},
        {"connect_timeout": "5"}, {"connect_timeout": "0"}, {"load_balance_hosts": "random"},
        {"sslmode": "sometimes"}, {"channel_binding": "maybe"}, {"require_auth": "x"}, {"target_session_attrs": "x"},
        {"require_auth": "md5,!none"}, {"port": "65536"}, {"port": "x"}, {"hostaddr": "x"},
        {"load_balance_hosts": "x"}, {"sslnegotiation": "x"}, {"sslnegotiation": "direct", "sslmode": "prefer"},
        {"ssl_min_protocol_version": "TLSv1.3", "sslmode": "require"}, {"ssl_min_protocol_version": "SSLv3"},
        {"ssl_min_protocol_version": "TLSv1.3", "ssl_max_protocol_version": "TLSv1.2"},
        {"ssl_max_protocol_version": "TLSv1.2", "sslmode": "require"}, {"sslcertmode": "disable"}, {"sslsni": "0"},
    ]  # fmt: skip
    assert await compare([{**base, **given} for given in some]) >= 15


async def test_environment(
    base: dict[str, Any], tls_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "passwords"
    file.write_text(f"localhost:{tls_server.port}:*:scram_role:{PASSWORD}\n*:*:*:*:wrong\n")
    file.chmod(0o600)
    given = {"host": base["host"], "user": "scram_role"}
    variables = {"PGPORT": str(base["port"]), "PGDATABASE": "postgres", "PGHOSTADDR": ""}
    for more in (
        {}, {"PGPASSWORD": PASSWORD}, {"PGPASSWORD": "wrong"}, {"PGPASSFILE": str(file)}, {"PGAPPNAME": "env"},
        {"PGPASSWORD": PASSWORD, "PGOPTIONS": "-c search_path=env"}, {"PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"},
        {"PGPASSWORD": PASSWORD, "PGSSLMODE": "require"}, {"PGPASSWORD": PASSWORD, "PGTZ": "Asia/Tokyo"},
        {"PGPASSWORD": PASSWORD, "PGDATESTYLE": "German"}, {"PGPASSWORD": PASSWORD, "PGREQUIREAUTH": "md5"},
        {"PGPASSWORD": PASSWORD, "PGCHANNELBINDING": "require"}, {"PGPASSWORD": PASSWORD, "PGDATABASE": "template1"},
        {"PGPASSWORD": PASSWORD, "PGAPPNAME": "env"}, {"PGPASSWORD": PASSWORD, "PGTARGETSESSIONATTRS": "standby"},
        {"PGPASSWORD": PASSWORD, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(tls_server.certificate)},
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            for name, value in {**variables, **more}.items():
                patch.setenv(name, value)
            await compare([given])


async def test_hosts(base: dict[str, Any], tls_server: Any) -> None:
    with FakeServer([FIN]) as dead:
        closed = free_port()
        hosts = [
            ["127.0.0.1", tls_server.port], ["127.0.0.1", closed], ["127.0.0.1", dead.port],
            [tls_server.socket_dir, tls_server.port], ["/no/such/directory", tls_server.port],
        ]  # fmt: skip
        cases = [
            {"host": f"{a[0]},{b[0]}", "port": f"{a[1]},{b[1]}", "user": "postgres", "database": "postgres",
             "sslmode": "disable", "target_session_attrs": wanted}
            for a, b in itertools.product(hosts, hosts) for wanted in ("any", "primary", "standby")
        ]  # fmt: skip
        cases = [case for case in cases if str(dead.port) not in case["port"]]
        assert await compare(cases) >= 10
        cases = [{**base, "port": port, "sslmode": mode} for port in (closed, dead.port) for mode in MODES[:4]]
        assert await compare(cases) == 0


async def test_requirepeer(base: dict[str, Any], tls_server: Any) -> None:
    import pwd

    owner = pwd.getpwuid(os.stat(f"{tls_server.socket_dir}/.s.PGSQL.{tls_server.port}").st_uid).pw_name
    given = {"host": tls_server.socket_dir, "port": tls_server.port, "user": "postgres", "database": "postgres"}
    assert await compare([{**given, "requirepeer": owner}, {**base, "requirepeer": "somebody"}]) == 2
    assert by_libpq({**given, "requirepeer": "somebody"})[0].startswith("unknown: ")
    with pytest.raises(exceptions.InterfaceError, match="requirepeer"):
        await fastpg.connect(**given, requirepeer="somebody")
