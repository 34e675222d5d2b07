# SPDX-License-Identifier: MIT
"""connect(): where its parameters come from, what it does with them, and what it says of wrong ones."""

from __future__ import annotations

import asyncio
import getpass
import os
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

import fastpg
from tests import messages as m
from tests.contract import covers, differs
from tests.fakeserver import FIN, STALL, FakeServer, message, packet
from tests.server import AnyServer
from tests.sidebyside import Diary, both, compare, compare_now

NONE: dict[str, Any] = dict.fromkeys((
    "dsn", "host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile", "direct_tls",
    "server_settings", "target_session_attrs", "krbsrvname", "gsslib",
))  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No PG* variables, and an empty home directory."""
    for name in list(os.environ):
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def parsed(diary: Diary, label: str, **given: Any) -> None:
    """Write down the addresses and the parameters that connect() would use."""

    def parse() -> Any:
        addresses, params = diary.driver.connect_utils._parse_connect_dsn_and_args(**{**NONE, **given})
        context = params.ssl
        if isinstance(context, ssl.SSLContext):
            context = (context.verify_mode.name, context.check_hostname, context.minimum_version.name)
        password = params.password if not callable(params.password) else "a function"
        return (
            addresses, params.user, password, params.database, context, params.sslmode.name,
            params.ssl_negotiation.value, params.server_settings, params.target_session_attrs.value, params.krbsrvname,
        )  # fmt: skip

    diary.try_now(label, parse)


@covers("connect(): DSN", "connect(): DSN query keys", "connect(): ports", "connect(): hosts")
def test_dsn() -> None:
    dsns = """
        postgresql://u:p@h:7/d postgres://u@h/d postgresql://u%40x:p%2Fq@h/d%20e postgresql://[::1]:7/d
        postgresql://u@h1:1,h2:2/d postgresql://u@h1,h2:2/d postgresql://u@/d?host=h&port=9
        postgresql://u@h/d?user=v&password=w postgresql://u@h/d?dbname=e postgresql://u@h/d?database=e
        postgresql://u@h/d?application_name=x&search_path=y postgresql://u@h/d?options=-c%20work_mem%3D8MB
        postgresql://u@h/d?sslmode=disable postgresql://u@h/d?sslmode=allow postgresql://u@h/d?sslmode=prefer
        postgresql://u@h/d?sslmode=require postgresql://u@h/d?target_session_attrs=read-write
        postgresql://u@h/d?krbsrvname=k postgresql://u@h/d?sslmode=require&sslnegotiation=direct
        postgresql://u@/d?host=h&port=1&port=2 postgresql://u@%2Ftmp%2Fx:7/d postgresql://u@h:7,h:8,h:9/d
        postgresql://u@%2Ftmp%2F.s.PGSQL.7/d postgresql://u@h/d?ssl_min_protocol_version=TLSv1.3&sslmode=require
        postgresql://u@[fe80::1%25eth0]:7/d postgresql://u@127.0.0.1/d
    """.split()

    def scenario(diary: Diary) -> None:
        for dsn in dsns:
            parsed(diary, dsn, dsn=dsn)
        for dsn in ("http://u@h/d", "localhost"):
            parsed(diary, dsn, dsn=dsn)

    compare_now(scenario)


@covers("connect(): hosts", "connect(): ports", "connect(): user and database", "connect(): several hosts")
def test_hosts_and_ports() -> None:
    def scenario(diary: Diary) -> None:
        for host in ("h", ["h1", "h2"], ("h1", "h2"), "/tmp/x", "/tmp/.s.PGSQL.5432", ["h", "/tmp"]):
            parsed(diary, f"host {host}", user="u", host=host, ssl=None)
        for port in (7, "7", [7, 8]):
            parsed(diary, f"port {port}", user="u", host=["h1", "h2"], port=port, ssl="disable")
        parsed(diary, "too many ports", user="u", host=["h1", "h2"], port=[1, 2, 3])
        parsed(diary, "too few hosts", user="u", host="h1", port=[1, 2])
        parsed(diary, "nothing", user="u")
        parsed(diary, "no user", host="h")
        parsed(diary, "a database", user="u", host="h", database="d")

    diary = compare_now(scenario)
    assert any("could not match 3 port numbers to 2 hosts" in entry for entry in diary.entries)
    assert any(f"'{getpass.getuser()}'" in entry for entry in diary.entries)


@covers("connect(): precedence", "connect(): environment")
def test_precedence(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    environment = {
        "PGHOST": "env-host", "PGPORT": "1001", "PGUSER": "env-user", "PGPASSWORD": "env-password",
        "PGDATABASE": "env-db", "PGSSLMODE": "disable", "PGTARGETSESSIONATTRS": "read-only", "PGKRBSRVNAME": "env-krb",
        # None of these is looked at.
        "PGCONNECT_TIMEOUT": "1",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    service = clean / "service.conf"
    service.write_text("[s]\nhost=service-host\nport=1002\nuser=service-user\npassword=service-password\n"
                       "dbname=service-db\n")  # fmt: skip
    keywords = {"host": "kw-host", "port": 1004, "user": "kw-user", "password": "kw-password", "database": "kw-db"}

    def scenario(diary: Diary) -> None:
        parsed(diary, "environment")
        dsn = "postgresql://?service=s"
        parsed(diary, "service", dsn=dsn, servicefile=service)
        full = "postgresql://dsn-user:dsn-password@dsn-host:1003/dsn-db"
        parsed(diary, "dsn", dsn=f"{full}?service=s", servicefile=service)
        parsed(diary, "keywords", dsn=full, **keywords)
        for name, value in keywords.items():
            parsed(diary, name, **{name: value})
            if name != "host":  # see test_host_beside_a_dsn
                parsed(diary, f"{name} and dsn", dsn=full, **{name: value})
                parsed(diary, f"{name} and service", dsn=dsn, servicefile=service, **{name: value})
        parsed(diary, "settings", dsn=f"{full}?a=b&c=d", server_settings={"c": "e"})
        parsed(diary, "attributes", target_session_attrs="any", krbsrvname="kw-krb")

    compare_now(scenario)


def addresses(driver: Any, **given: Any) -> Any:
    return driver.connect_utils._parse_connect_dsn_and_args(**{**NONE, "user": "u", "ssl": False, **given})[0]


@covers("connect(): precedence", "connect(): DSN query keys", "connect(): hosts")
@differs("Hosts and ports")
def test_host_beside_a_dsn() -> None:
    """A parameter that is given replaces that parameter of the DSN, and no other."""
    given: dict[str, Any] = {"dsn": "postgresql://dsn-host:1003/", "host": "other"}
    assert addresses(asyncpg, **given) == [("other", 5432)]
    assert addresses(fastpg, **given) == [("other", 1003)]
    assert addresses(asyncpg, dsn="postgresql://h/?port=7") == [("h", 5432)]
    assert addresses(fastpg, dsn="postgresql://h/?port=7") == [("h", 7)]
    # Lists with commas are lists everywhere.
    assert addresses(asyncpg, host="h1,h2") == [("h1,h2", 5432)]
    assert addresses(fastpg, host="h1,h2", port="7,8") == [("h1", 7), ("h2", 8)]


@covers("connect(): ports", "connect(): ssl", "connect(): validation")
@differs("Wrong parameters")
async def test_wrong_parameters(dsn: str) -> None:
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"dsn": "postgresql://u@h/d", "port": "x"}, ValueError),
        ({"dsn": "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/nowhere"}, FileNotFoundError),
        ({"dsn": dsn, "connection_class": 7}, TypeError),
    ]
    for given, kind in wrong:
        with pytest.raises(kind) as theirs:
            await asyncpg.connect(**given)
        assert not isinstance(theirs.value, asyncpg.InterfaceError)
        with pytest.raises(fastpg.InterfaceError):
            await fastpg.connect(**given)


@covers("connect(): service file", "defect: service files")
@differs("Service files")
def test_service_files(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    service = clean / ".pg_service.conf"
    service.write_text("[s]\nhost=service-host\nuser=service-user\n")

    right = [("service-host", 5432)]
    assert (
        addresses(asyncpg, dsn="postgresql://?service=s") == addresses(fastpg, dsn="postgresql://?service=s") == right
    )
    assert addresses(asyncpg, service="s") != right == addresses(fastpg, service="s")
    monkeypatch.setenv("PGSERVICE", "s")
    assert addresses(asyncpg, dsn="postgresql://") != right == addresses(fastpg, dsn="postgresql://")


@covers("connect(): passfile")
def test_passfile(clean: Path) -> None:
    path = clean / ".pgpass"
    path.write_text("# comment\nh:1:d:u:first\n*:*:*:u:second\nlocalhost:5432:*:*:socket\n")
    path.chmod(0o600)
    other = clean / "other"
    other.write_text("*:*:*:*:other\n")
    other.chmod(0o600)

    def scenario(diary: Diary) -> None:
        for dsn in ("postgresql://u@h:1/d", "postgresql://u@h:2/d", "postgresql://v@h:1/d", "postgresql://v@%2Ftmp/d"):
            parsed(diary, dsn, dsn=dsn)
            parsed(diary, dsn, dsn=dsn, passfile=str(other))
            parsed(diary, dsn, dsn=dsn, passfile=other)
        parsed(diary, "given", dsn="postgresql://u:p@h:1/d", ssl="disable")
        parsed(diary, "no file", dsn="postgresql://u@h:1/d", ssl="disable", passfile="/nowhere")

    compare_now(scenario)


@covers("connect(): passfile")
def test_unsafe_passfiles(clean: Path) -> None:
    path = clean / "open"
    path.write_text("*:*:*:*:secret\n")
    path.chmod(0o644)
    for driver in (asyncpg, fastpg):
        for file in (path, clean):
            with pytest.warns(UserWarning):
                found = driver.connect_utils._parse_connect_dsn_and_args(
                    **{**NONE, "dsn": "postgresql://u@h/d", "passfile": file}
                )
            assert found[1].password is None


@differs("Password files")
@covers("connect(): passfile", "defect: passwords and keys")
def test_passfile_like_libpq(clean: Path) -> None:
    path = clean / ".pgpass"
    path.write_text("h\\:1:5432:d:u:back\\\\slash\nh1:*:*:*:one\nh2:*:*:*:two\n")
    path.chmod(0o600)

    def password(driver: Any, dsn: str, **given: Any) -> Any:
        return driver.connect_utils._parse_connect_dsn_and_args(**{**NONE, "dsn": dsn, **given})[1].password

    assert password(asyncpg, "postgresql://u@/d", host="h:1") != "back\\slash"
    assert password(fastpg, "postgresql://u@/d", host=["h:1"]) == "back\\slash"
    # Each host of several has its own.
    from fastpg.dsn import parse

    targets = parse("postgresql://u@h1,h2/d").targets
    assert [target.password.reveal() for target in targets] == ["one", "two"]


@covers("connect(): ssl", "connect(): direct_tls")
def test_ssl(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    def scenario(diary: Diary) -> None:
        utils = diary.driver.connect_utils
        for mode in (None, True, False, "disable", "allow", "prefer", "require", utils.SSLMode.allow, "nonsense"):
            parsed(diary, f"ssl={mode!r}", dsn="postgresql://u@h/d", ssl=mode)
        parsed(diary, "socket", dsn="postgresql://u@%2Ftmp/d", ssl=None)
        parsed(diary, "context", dsn="postgresql://u@h/d", ssl=ssl.create_default_context())
        parsed(diary, "direct", dsn="postgresql://u@h/d", ssl="require", direct_tls=True)
        parsed(diary, "not direct", dsn="postgresql://u@h/d?sslnegotiation=direct", ssl="require", direct_tls=False)
        parsed(diary, "weak", dsn="postgresql://u@h/d", ssl="prefer", direct_tls=True)
        monkeypatch.setenv("PGSSLMODE", "require")
        parsed(diary, "environment", dsn="postgresql://u@h/d")
        monkeypatch.setenv("PGSSLNEGOTIATION", "direct")
        parsed(diary, "environment", dsn="postgresql://u@h/d")
        monkeypatch.delenv("PGSSLMODE")
        monkeypatch.delenv("PGSSLNEGOTIATION")

    compare_now(scenario)
    for driver in (asyncpg, fastpg):
        with pytest.raises(driver.exceptions.ClientConfigurationError, match="root certificate file .* does not exist"):
            addresses(driver, dsn="postgresql://u@h/d", ssl="verify-full")


@covers("connect(): validation")
async def test_validation(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        class NoConnection:
            pass

        for name in ("statement_cache_size", "max_cached_statement_lifetime", "max_cacheable_statement_size"):
            for value in (None, True, False, -1):
                await diary.attempt(f"{name}={value}", lambda name=name, value=value: diary.driver.connect(
                    diary.dsn, **{name: value}))  # fmt: skip
        for value in (0, -1, True, "x", "1.5"):
            if value != "1.5":
                await diary.attempt(f"command_timeout={value!r}", lambda value=value: diary.driver.connect(
                    diary.dsn, command_timeout=value))  # fmt: skip
        for value in (NoConnection, dict):
            await diary.attempt(f"connection_class={value}", lambda value=value: diary.driver.connect(
                diary.dsn, connection_class=value))  # fmt: skip
            await diary.attempt(f"record_class={value}", lambda value=value: diary.driver.connect(
                diary.dsn, record_class=value))  # fmt: skip
        for value in ({"a": 1}, {1: "a"}, "x", []):
            await diary.attempt(f"server_settings={value}", lambda value=value: diary.driver.connect(
                diary.dsn, server_settings=value))  # fmt: skip

    await compare(dsn, scenario)


@covers("connect(): server_settings", "connect(): other query keys", "connect(): startup packet")
async def test_settings(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected(server_settings={"application_name": "told", "work_mem": "5MB"}) as con:
            for name in ("application_name", "work_mem", "client_encoding"):
                diary.note(name, await con.fetchval(f"SHOW {name}"))
            await diary.seen("settings", con, "application_name", "usename", "datname", "state")
        join = "&" if "?" in diary.dsn else "?"
        diary.dsn += f"{join}application_name=key&options=-c%20work_mem%3D7MB&search_path=pg_catalog"
        async with diary.connected(server_settings={"search_path": "public"}) as con:
            for name in ("application_name", "work_mem", "search_path"):
                diary.note(name, await con.fetchval(f"SHOW {name}"))
        diary.dsn += "&no_such_setting=1"
        await diary.attempt("unknown", lambda: diary.driver.connect(diary.dsn))

    await compare(dsn, scenario)


@covers("defect: libpq's keys in a DSN", "connect(): other query keys")
@differs("libpq's parameters")
async def test_libpq_keys(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        join = "&" if "?" in dsn else "?"
        for key in ("connect_timeout=5", "channel_binding=prefer", "keepalives=1", "load_balance_hosts=disable"):
            diary.dsn = f"{dsn}{join}{key}"
            await diary.attempt(key, lambda: run(diary))

    async def run(diary: Diary) -> Any:
        async with diary.connected() as con:
            return await con.fetchval("SELECT 1")

    theirs, ours = await both(dsn, scenario)
    assert all("unrecognized configuration parameter" in entry for entry in theirs.entries)
    assert all("gave 1" in entry for entry in ours.entries)


@covers("connect(): DSN")
@differs("libpq's parameters")
async def test_key_value_strings(server: AnyServer) -> None:
    text = f"host={server.host} port={server.port} user={server.user} dbname={server.database} sslmode=disable"
    con = await fastpg.connect(text)
    assert await con.fetchval("SELECT 1") == 1
    await con.close()
    with pytest.raises(asyncpg.exceptions.ClientConfigurationError, match="invalid DSN: scheme is expected"):
        await asyncpg.connect(text)


@covers("connect(): hosts", "connect(): several hosts")
async def test_several_hosts(server: AnyServer) -> None:
    async def scenario(diary: Diary) -> None:
        given = {"user": server.user, "database": server.database, "ssl": False}
        con = await diary.driver.connect(host=[server.host, server.host], port=[1, server.port], **given)
        diary.note("second", con._addr == (server.host, server.port))
        con.terminate()
        await diary.attempt("no such database", lambda: diary.driver.connect(
            host=[server.host, server.host], port=[server.port, 1], **{**given, "database": "nope"}))  # fmt: skip
        if server.socket_dir:
            con = await diary.driver.connect(host=server.socket_dir, port=server.port, **given)
            diary.note("socket", con._addr == f"{server.socket_dir}/.s.PGSQL.{server.port}")
            con.terminate()

    await compare(server.dsn, scenario)


@covers("connect(): several hosts")
@differs("Texts of several hosts")
async def test_no_host_of_several(server: AnyServer, clean: Path) -> None:
    """The exception is of the class of the last host's, with its errno; ours names all hosts that were tried."""
    refused, absent = (server.host, 1), (str(clean), 1)
    texts: list[list[str]] = []

    async def scenario(diary: Diary) -> None:
        texts.append([])
        with FakeServer(*[[packet(), error_response("57P03"), FIN]] * 2) as starting:
            for last in (refused, absent, (starting.host, starting.port)):
                for first in (refused, absent):
                    hosts, ports = zip(first, last, strict=True)
                    try:
                        await diary.driver.connect(
                            host=list(hosts), port=list(ports), user="u", database="d", ssl=False
                        )
                    except Exception as error:
                        of = getattr(error, "errno", None), getattr(error, "sqlstate", None)
                        diary.note("raised", type(error).__name__, *of)
                        texts[-1].append(str(error))

    await compare(server.dsn, scenario)
    theirs, ours = texts
    assert not any("any host" in text for text in theirs)
    for text in ours[:4]:
        assert text.count("could not connect to any host: ") == text.count(";") == 1
    assert ours[4:] == theirs[4:]


@covers("connect(): several hosts", "connect(): target_session_attrs")
@pytest.mark.parametrize("code", ["57P03", "53300", "3D000"])
async def test_which_errors_try_the_next_host(server: AnyServer, code: str) -> None:
    """Only a server that is starting up is passed over."""

    async def scenario(diary: Diary) -> None:
        with FakeServer([packet(), error_response(code), FIN]) as fake:
            given = {"user": server.user, "database": server.database, "ssl": False}
            call = diary.driver.connect(host=[fake.host, server.host], port=[fake.port, server.port], **given)
            try:
                con = await call
            except Exception as error:
                diary.note(code, "raised", type(error).__name__, getattr(error, "sqlstate", None))
            else:
                diary.note(code, "went on to", con._addr == (server.host, server.port))
                con.terminate()

    await compare(server.dsn, scenario)


def error_response(code: str) -> bytes:
    body = b"SFATAL\0VFATAL\0C" + code.encode() + b"\0Mnot now\0\0"
    return b"E" + (len(body) + 4).to_bytes(4, "big") + body


@covers("connect(): target_session_attrs")
async def test_target_session_attrs(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        attributes = diary.driver.connect_utils.SessionAttribute
        for wanted in ("any", "primary", "read-write", "prefer-standby", attributes.primary):
            async with diary.connected(target_session_attrs=wanted) as con:
                diary.note(wanted, await con.fetchval("SELECT 1"), con._params.target_session_attrs == wanted)
        for wanted in ("standby", "read-only"):
            try:
                await diary.driver.connect(diary.dsn, target_session_attrs=wanted)
            except diary.driver.InternalClientError as error:
                diary.note(wanted, "raised", type(error).__name__)
        async with diary.connected(
            target_session_attrs="read-only", server_settings={"default_transaction_read_only": "on"}
        ) as con:
            diary.note(await con.fetchval("SHOW transaction_read_only"))

    await compare(dsn, scenario)


@covers("defect: text of a wrong target_session_attrs")
@differs("Texts about target_session_attrs")
async def test_wrong_target_session_attrs(dsn: str) -> None:
    texts = []
    for driver in (asyncpg, fastpg):
        with pytest.raises(driver.exceptions.TargetServerAttributeNotMatched) as unmatched:
            await driver.connect(dsn, target_session_attrs="standby")
        texts.append(str(unmatched.value))
    assert "<SessionAttribute.standby: 'standby'>" in texts[0]
    assert texts[1] == texts[0].replace("<SessionAttribute.standby: 'standby'>", "'standby'")
    texts = []
    for driver in (asyncpg, fastpg):
        with pytest.raises(driver.exceptions.ClientConfigurationError) as caught:
            await driver.connect(dsn, target_session_attrs="nonsense")
        texts.append(str(caught.value))
    assert "<built-in method" in texts[0] or "<bound method" in texts[0]
    assert "'nonsense'" in texts[1] and "method" not in texts[1]


@covers("connect(): password", "connect(): authentication")
async def test_passwords(server: AnyServer) -> None:
    async def scenario(diary: Diary) -> None:
        asked: list[str] = []

        def function() -> str:
            asked.append("function")
            return "secret"

        async def coroutine() -> str:
            asked.append("coroutine")
            return "secret"

        given = {"host": server.host, "port": server.port, "database": server.database, "ssl": False}
        for role in ("scram_role", "md5_role", "password_role"):
            for password in ("secret", function, coroutine):
                con = await diary.driver.connect(user=role, password=password, **given)
                diary.note(role, await con.fetchval("SELECT current_user"), con._params.password is password
                           or con._params.password == password)  # fmt: skip
                con.terminate()
            for password in ("wrong", lambda: "wrong"):
                await diary.attempt(role, lambda role=role, password=password: diary.driver.connect(
                    user=role, password=password, **given))  # fmt: skip
        diary.note(asked)

    await compare(server.dsn, scenario)


@covers("connect(): password", "connect(): authentication")
@differs("No password")
async def test_no_password(server: AnyServer) -> None:
    """Nothing is sent in the place of a password that nobody has given."""
    given = {"host": server.host, "port": server.port, "database": server.database, "ssl": False}
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(user="scram_role", **given)
    with pytest.raises(fastpg.InterfaceError, match="asks for a password and none was given"):
        await fastpg.connect(user="scram_role", **given)


@covers("connect(): authentication")
@differs("Channel binding")
async def test_channel_binding(server_with: Any) -> None:
    """The server says in its log only; the plus variant is seen by what the client can demand."""
    server = server_with("tls")
    given = {"host": server.host, "port": server.port, "user": "scram_role", "password": "secret", "ssl": "require",
             "database": server.database}  # fmt: skip
    con = await fastpg.connect(**given, channel_binding="require")
    await con.close()
    with pytest.raises(TypeError, match="channel_binding"):
        await asyncpg.connect(**given, channel_binding="require")


@differs("Passwords in clear")
async def test_a_password_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a server that is elsewhere: here it is said to be."""
    monkeypatch.setattr(sys.modules["fastpg.connect"], "is_loopback", lambda peer: False)

    async def asked(driver: Any, code: int, salt: bytes = b"", **given: Any) -> tuple[str, int]:
        with FakeServer([packet(), m.authentication(code, salt), message(), FIN]) as fake:
            try:
                await driver.connect(
                    host=fake.host, port=fake.port, user="u", password="p", database="d", ssl=False, **given
                )
            except Exception as error:
                return type(error).__name__, len(fake.received[0]) - 1
        raise AssertionError("it cannot succeed")

    sent, refused = ("ConnectionDoesNotExistError", 1), ("InterfaceError", 0)
    assert await asked(asyncpg, 3) == sent
    assert await asked(fastpg, 3) == refused
    assert await asked(fastpg, 3, allow_cleartext_password=True) == sent
    assert await asked(asyncpg, 5, b"salt") == sent
    with pytest.warns(fastpg.InterfaceWarning, match="md5 authentication over an unencrypted connection"):
        assert await asked(fastpg, 5, b"salt") == sent


@differs("Work for passwords")
async def test_many_iterations() -> None:
    def first(iterations: int) -> Any:
        def reply(received: list[bytes]) -> bytes:
            nonce = received[-1].rpartition(b"r=")[2]
            return m.authentication(11, b"r=" + nonce + b"more,s=c2FsdHNhbHQ=,i=%d" % iterations)

        return reply

    async def asked(driver: Any, iterations: int) -> tuple[str, int]:
        mechanisms = m.authentication(10, b"SCRAM-SHA-256\0\0")
        with FakeServer([packet(), mechanisms, message(), first(iterations), message(), FIN]) as fake:
            try:
                await driver.connect(host=fake.host, port=fake.port, user="u", password="p", database="d", ssl=False)
            except Exception as error:
                return type(error).__name__, len(fake.received[0]) - 2
        raise AssertionError("it cannot succeed")

    answered, refused = ("ConnectionDoesNotExistError", 1), ("InterfaceError", 0)
    assert await asked(asyncpg, 100_001) == answered and await asked(fastpg, 100_001) == refused
    assert await asked(asyncpg, 100_000) == answered and await asked(fastpg, 100_000) == answered
    assert await asked(asyncpg, 4095) == answered
    with pytest.warns(fastpg.InterfaceWarning, match="4095 iterations, fewer than RFC 7677's 4096"):
        assert await asked(fastpg, 4095) == answered


@differs("Limits of the start")
async def test_a_long_start() -> None:
    def script(count: int) -> list[Any]:
        chatter = m.authentication(0) + m.parameter_status("x", "y" * 20_000) * count
        return [packet(), chatter + m.logged_in()[len(m.authentication(0)):], STALL]  # fmt: skip

    for count, limited in ((40, False), (60, True)):
        for driver in (asyncpg, fastpg):
            with FakeServer(script(count)) as fake:
                call = driver.connect(host=fake.host, port=fake.port, user="u", database="d", ssl=False)
                if limited and driver is fastpg:
                    with pytest.raises(fastpg.ProtocolError, match="sent too much before the session was ready"):
                        await call
                else:
                    (await call).terminate()


@covers("connect(): authentication")
async def test_unknown_authentication() -> None:
    def request(code: int, rest: bytes = b"") -> bytes:
        return b"R" + (8 + len(rest)).to_bytes(4, "big") + code.to_bytes(4, "big") + rest

    async def scenario(diary: Diary) -> None:
        for reply in (request(2), request(6), request(99), request(10, b"SCRAM-X\0\0"), request(10, b"SCRAM-X\0Y\0\0")):
            with FakeServer([packet(), reply]) as fake:
                await diary.attempt(str(reply[8]), lambda fake=fake: diary.driver.connect(
                    host=fake.host, port=fake.port, user="u", password="p", database="d", ssl=False))  # fmt: skip

    await compare("", scenario)


@covers("connect(): connection_class is called", "tools: buildpg")
async def test_connection_class(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        class Mixin:
            def greet(self) -> str:
                return f"hello from {self.get_server_version().major > 9}"  # type: ignore[attr-defined]

        class Own(Mixin, diary.driver.Connection):  # type: ignore[misc, name-defined]
            __slots__ = ("made_with",)

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.made_with = (len(args), sorted(kwargs))

        async with diary.connected(connection_class=Own) as con:
            diary.note(con.made_with, con.greet(), type(con).__name__, isinstance(con, diary.driver.Connection))
            diary.note(con._loop is asyncio.get_running_loop(), con._transport is not None)

    await compare(dsn, scenario)


@covers("connect(): parameters and configuration", "tools: _addr and _transport")
async def test_what_a_connection_knows(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        parts = urlsplit(dsn)
        async with diary.connected(
            command_timeout=7, statement_cache_size=9, server_settings={"work_mem": "5MB"}
        ) as con:
            params, config = con._params, con._config
            diary.note(con._addr == (parts.hostname, parts.port), params.user, params.database, params.password)
            diary.note(params.target_session_attrs == "any", params.krbsrvname, params.gsslib)
            diary.note(params.ssl_negotiation == "postgres", params.server_settings["work_mem"])
            diary.note(config.command_timeout, config.statement_cache_size, config.max_cached_statement_lifetime,
                       config.max_cacheable_statement_size)  # fmt: skip
            diary.note(con._transport.get_extra_info("socket").getpeername() == con._addr)
            diary.note("_transport" in diary.driver.Connection.__slots__)

    await compare(dsn, scenario)


@covers("connect(): parameters and configuration")
@differs("Secrets in _params")
async def test_secrets(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected(password="a secret") as con:
            diary.note(con._params.password, "a secret" in repr(con._params), isinstance(con._params, tuple))

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["a secret True True"] and ours.entries == ["a secret False False"]


@covers("connect(): socket")
@differs("Keepalives")
async def test_socket(dsn: str) -> None:
    import socket

    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            sock = con._transport.get_extra_info("socket")
            diary.note("nodelay", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) > 0)
            diary.note("keepalive", sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) > 0)

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["nodelay True", "keepalive False"]
    assert ours.entries == ["nodelay True", "keepalive True"]


@covers("connect(): loop")
def test_loop(dsn: str) -> None:
    """loop= may be given, and need not be; a connection belongs to the loop that it was made on."""

    def scenario(diary: Diary) -> None:
        async def run() -> None:
            diary.dsn = dsn
            for given in ({}, {"loop": asyncio.get_running_loop()}):
                async with diary.connected(**given) as con:
                    diary.note(con._loop is asyncio.get_running_loop(), await con.fetchval("SELECT 1"))

        asyncio.run(run())

    compare_now(scenario)


@covers("connect(): precedence")
async def test_timeout(dsn: str) -> None:
    """timeout= covers the whole call, all hosts together."""

    async def scenario(diary: Diary) -> None:
        with FakeServer([STALL]) as fake:
            for timeout in (0.2, 0, -1):
                call = diary.driver.connect(
                    host=[fake.host] * 2, port=[fake.port] * 2, user="u", database="d", ssl=False, timeout=timeout
                )
                try:
                    await call
                except asyncio.TimeoutError as error:
                    diary.note(timeout, "raised TimeoutError", isinstance(error, OSError))

    await compare(dsn, scenario)


@differs("Texts of timeouts")
async def test_text_of_a_timeout(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        with FakeServer([STALL]) as fake, pytest.raises(asyncio.TimeoutError) as caught:
            await diary.driver.connect(fake.dsn, ssl=False, timeout=0.2)
        diary.entries.append(str(caught.value).replace(str(fake.port), "PORT"))

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == [""] and ours.entries == ["timeout while authenticating with 127.0.0.1:PORT"]


@covers("connect(): ssl")
async def test_no_tls_there(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        with FakeServer([packet(), b"N"]) as fake:
            await diary.attempt("refused", lambda: attempt(diary, fake))

    async def attempt(diary: Diary, fake: Any) -> Any:
        try:
            return await diary.driver.connect(host=fake.host, port=fake.port, user="u", database="d", ssl="require")
        except ConnectionError as error:
            return "rejected SSL upgrade" in str(error), isinstance(error, OSError)

    await compare(dsn, scenario)
