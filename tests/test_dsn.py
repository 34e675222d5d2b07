# SPDX-License-Identifier: MIT
"""Connection parameters: sources, their order, refusals, and that no secret shows."""

from __future__ import annotations

import os
import pickle
import ssl
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastpg import dsn as dsn_module
from fastpg._conninfo import PARAMETERS, parse_connection_string
from fastpg.dsn import ConnectParams, RequireAuth, Target, parse
from fastpg.exceptions import ClientConfigurationError
from fastpg.security import PROFILES, Secret

CANARY = "c4n4ry-s3cret"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in list(os.environ):
        if name.startswith("PG") or name in ("FASTPG_SECURITY", "SSLKEYLOGFILE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "osuser")
    return tmp_path


def where(params: ConnectParams) -> list[tuple[str, int]]:
    return [(target.host, target.port) for target in params.targets]


def password(target: Target) -> str | None:
    return target.password.reveal() if isinstance(target.password, Secret) else None


def test_defaults() -> None:
    params = parse()
    assert params.user == params.database == "osuser"
    assert [t.socket_path for t in params.targets] == [
        f"{directory}/.s.PGSQL.5432" for directory in dsn_module.SOCKET_DIRECTORIES
    ] + [None]
    assert where(params)[-1] == ("localhost", 5432)
    assert params.sslmode == "prefer" and params.ssl_context is None
    assert params.server_settings == {"client_encoding": "UTF8"}
    assert (params.keepalives, params.keepalives_idle, params.tcp_user_timeout) == (True, 60, 120_000)
    assert params.max_protocol_version == (3, 0) and params.connect_timeout is None
    assert params.require_auth is None and params.channel_binding == "prefer"
    assert params.ssl_min_protocol_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://h", [("h", 5432)]),
        ("postgres://h:1/d", [("h", 1)]),
        ("postgresql://a:1,b,[::1]:3/d", [("a", 1), ("b", 5432), ("::1", 3)]),
        ("postgresql://a,b/d?port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://a,b/d?port=7", [("a", 7), ("b", 7)]),
        ("postgresql://[fe80::1%25eth0]:3/d", [("fe80::1%eth0", 3)]),
        ("postgresql://%2Ftmp/d", [("/tmp", 5432)]),
        ("postgresql:///d?host=/tmp&port=9", [("/tmp", 9)]),
        ("postgresql://h:1?port=2&host=b", [("h", 1)]),
        ("host=a,b port=1,2", [("a", 1), ("b", 2)]),
        ("  host = 'a'\tport\n=\n1", [("a", 1)]),
    ],
)
def test_hosts_of_strings(text: str, expected: list[tuple[str, int]]) -> None:
    assert where(parse(text)) == expected


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"host": "a"}, [("a", 5432)]),
        ({"host": "a,b", "port": "1,2"}, [("a", 1), ("b", 2)]),
        ({"host": ["a", "b"], "port": [1, 2]}, [("a", 1), ("b", 2)]),
        ({"host": ("a", "b"), "port": 3}, [("a", 3), ("b", 3)]),
        ({"host": "a", "port": 0}, [("a", 5432)]),
        ({"hostaddr": "10.0.0.1,10.0.0.2"}, [("10.0.0.1", 5432), ("10.0.0.2", 5432)]),
        ({"host": "::1"}, [("::1", 5432)]),
    ],
)
def test_hosts_of_keywords(keywords: dict[str, Any], expected: list[tuple[str, int]]) -> None:
    assert where(parse(**keywords)) == expected


def test_socket_targets() -> None:
    (target,) = parse(host="/tmp/.s.PGSQL.5433").targets
    assert target.is_unix and target.socket_path == "/tmp/.s.PGSQL.5433"
    (target,) = parse(host="@name").targets
    assert target.socket_path == "\0name/.s.PGSQL.5432"
    (target,) = parse(host="/tmp", hostaddr="10.0.0.1").targets
    assert not target.is_unix and target.address == "10.0.0.1" and target.socket_path is None
    assert parse(host="/tmp").sslmode == "disable"
    assert parse(host="/tmp,h").sslmode == "prefer"


def test_percent_decoding() -> None:
    params = parse("postgresql://u%40x:p%2F%3A@h/d%20b?application_name=x%26y")
    assert (params.user, params.database) == ("u@x", "d b")
    assert password(params.targets[0]) == "p/:"
    assert params.server_settings["application_name"] == "x&y"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo://h", """invalid DSN: scheme is expected to be either "postgresql" or "postgres", got 'foo'"""),
        ("h", """invalid DSN: scheme is expected to be either "postgresql" or "postgres", got ''"""),
        ("postgresql:h", "scheme is expected"),
        ("postgresql://a,b,c/?port=1,2", "could not match 2 port numbers to 3 hosts"),
        (
            "postgresql://h?sslmode=zz",
            "`sslmode` parameter must be one of: disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ("postgresql://h?sslnegotiation=zz", "`sslnegotiation` parameter must be one of: postgres, direct"),
        ("postgresql://h?sslnegotiation=direct", "direct TLS requires sslmode=require, verify-ca, or verify-full"),
        ("postgresql://h?target_session_attrs=zz", "one of 'any', 'primary', 'standby', .*, got 'zz'"),
        ("postgresql://h?gsslib=zz", "gsslib parameter must be either 'gssapi' or 'sspi', got 'zz'"),
        ("postgresql://h?ssl_min_protocol_version=zz", "No such TLS version: zz"),
        ("postgresql://h?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "above"),
        ("postgresql://h:abc", "invalid port number"),
        ("postgresql://h:99999", "invalid port number"),
        ("postgresql://[::1", "IPv6"),
        ("postgresql://[]", "IPv6"),
        ("postgresql://[::1]x", "IPv6"),
        ("postgresql://h?a", "without"),
        ("postgresql://u:p@@h", "%40"),
        ("postgresql://a@b@c/d", "%40"),
        ("postgresql://h?user=%00", "NUL"),
        ("postgresql://h/%ff", "UTF-8"),
        ("host=h foo=1", "unknown connection parameter 'foo'"),
        ("host", "scheme"),
        ("host=h port", "missing"),
        ("host='h", "unterminated"),
        ("host=h connect_timeout=x", "connect_timeout"),
        ("host=h keepalives_idle=1x", "keepalives_idle"),
        ("host=h require_auth=md5,md5", "twice"),
        ("host=h require_auth=md5,!gss", "mix"),
        ("host=h require_auth=x", "require_auth"),
        ("host=h channel_binding=x", "channel_binding"),
        ("host=h max_protocol_version=4", "max_protocol_version"),
        ("host=h min_protocol_version=3.2 max_protocol_version=3.0", "above"),
        ("host=a,b hostaddr=1.2.3.4", "could not match 1 hostaddr values to 2 hosts"),
        ("host=h scram_client_key=abc", "32 bytes"),
        ("host=h gssencmode=require", "not supported"),
        ("host=h sslrootcert=system sslmode=require", "verify-full"),
        ("host=h client_encoding=EUC_TW", "no codec for 'EUC_TW'"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ClientConfigurationError, match=message):
        parse(text)


def test_refused_keywords() -> None:
    with pytest.raises(ClientConfigurationError, match="could not match 2 port numbers to 3 hosts"):
        parse(host=["a", "b", "c"], port=[1, 2])
    for bad in ([1], {"a": 1}, {1: "a"}):
        with pytest.raises(
            ClientConfigurationError, match=r"server_settings is expected to be None or a Dict\[str, str\]"
        ):
            parse(host="h", server_settings=bad)
    with pytest.raises(ClientConfigurationError, match="`sslmode` parameter must be one of"):
        parse(host="h", ssl="zz")
    with pytest.raises(TypeError, match="frobnicate"):
        parse(frobnicate=1)
    with pytest.raises(ClientConfigurationError, match="10000"):
        parse(host="h", server_settings={"a": "x" * 10_000})
    with pytest.raises(ClientConfigurationError):
        parse(host="h", server_settings={"user": "bob"})
    assert issubclass(ClientConfigurationError, ValueError)


@pytest.mark.parametrize(
    "keywords",
    [
        {name: value}
        for name in (*PARAMETERS, "database", "ssl", "dsn")
        for value in ("\0x", "x\0user\0admin", "x\0")
    ]
    + [{"server_settings": {"a\0": "b"}}, {"server_settings": {"a": "b\0"}}, {"host": ["a", "b\0"]}],
)  # fmt: skip
def test_nul_is_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(ClientConfigurationError, match="NUL"):
        parse(**keywords)
    with pytest.raises(ClientConfigurationError):
        parse(host="h", password="\udcff")


def test_precedence(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    (clean / ".pg_service.conf").write_text("[s]\nuser=service\ndbname=service\nhost=service\nport=3\n")
    monkeypatch.setenv("PGUSER", "env")
    monkeypatch.setenv("PGDATABASE", "env")
    monkeypatch.setenv("PGHOST", "env")
    monkeypatch.setenv("PGPORT", "4")
    monkeypatch.setenv("PGAPPNAME", "env")
    text = "postgresql://string@string/?service=s"
    params = parse(text, user="keyword")
    assert (params.user, params.database, where(params)) == ("keyword", "service", [("string", 3)])
    assert parse(text).user == "string"
    assert parse(service="s").user == "service"
    assert parse().user == "env" and where(parse()) == [("env", 4)]
    assert parse().server_settings["application_name"] == "env"
    monkeypatch.setenv("PGSERVICE", "s")
    assert parse().user == "service"
    assert where(parse("postgresql://h")) == [("h", 3)]
    # An empty value in a string means the default and hides what is below, in a URI it counts as not given.
    assert parse("user=").user == "osuser"
    assert parse("postgresql://?user=").user == "service"


def test_service_files(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    own, system = clean / "own.conf", clean / "pg_service.conf"
    own.write_text("# comment\n[a]\nhost = a\nsslmode=require\nhost=later\n\n[b]\nfoo=1\n[c]\nservice=a\n[d]\nx\n")
    system.write_text("[z]\nhost=z\n")
    monkeypatch.setenv("PGSYSCONFDIR", str(clean))
    params = parse(service="a", servicefile=str(own))
    assert where(params)[0][0] == "a" and params.sslmode == "require"
    monkeypatch.setenv("PGSERVICEFILE", str(own))
    assert where(parse("service=a"))[0][0] == "a"
    assert where(parse(service="z"))[0][0] == "z"
    for name, message in (("b", "'foo'"), ("c", "another"), ("d", "line 12"), ("nope", '"nope" not found')):
        with pytest.raises(ClientConfigurationError, match=message):
            parse(service=name)
    with pytest.raises(ClientConfigurationError, match="does not exist"):
        parse(service="a", servicefile=str(clean / "missing"))


def test_environment_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGTZ": "Europe/Riga", "PGDATESTYLE": "ISO, DMY", "PGGEQO": "default", "PGOPTIONS": "-c a=b",
        "PGCLIENTENCODING": "LATIN1", "PGCONNECT_TIMEOUT": "7", "PGCHANNELBINDING": "require",
        "PGREQUIREAUTH": "!password,!md5", "PGLOADBALANCEHOSTS": "random", "PGSSLSNI": "0",
        "PGREQUIREPEER": "postgres", "PGMAXPROTOCOLVERSION": "latest", "PGTARGETSESSIONATTRS": "standby",
        "PGHOSTADDR": "10.0.0.9",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    params = parse()
    assert params.server_settings == {
        "client_encoding": "UTF8", "TimeZone": "Europe/Riga", "datestyle": "ISO, DMY", "options": "-c a=b",
    }  # fmt: skip
    assert params.connect_timeout == 7 and params.channel_binding == "require" and not params.sslsni
    assert params.require_auth is not None
    assert params.require_auth.allows("scram-sha-256") and not params.require_auth.allows("md5")
    assert params.load_balance_hosts == "random" and params.requirepeer == "postgres"
    assert params.max_protocol_version == (3, 2) and params.target_session_attrs == "standby"
    assert params.targets[0].address == "10.0.0.9"
    assert parse("postgresql://h").targets[0].address == "h"  # the address must not redirect a named host
    assert parse(server_settings={"timezone": "UTC"}).server_settings["timezone"] == "UTC"
    assert "TimeZone" not in parse(server_settings={"timezone": "UTC"}).server_settings


def test_every_variable_of_the_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variable in PARAMETERS.items():
        if variable is None or name in ("service", "servicefile", "client_encoding"):
            continue
        with monkeypatch.context() as patch:
            patch.setenv(variable, "1\n")
            resolver = dsn_module._Resolver(None, {}, os.environ)
            assert resolver.get(name) == "1\n", name


def test_settings_of_a_uri() -> None:
    text = "postgresql://h?foo=1&options=-c work_mem=8MB&connect_timeout=3&keepalives=0&application_name=a"
    params = parse(text, server_settings={"FOO": "2"}, application_name="b")
    assert params.server_settings == {
        "client_encoding": "UTF8", "FOO": "2", "options": "-c work_mem=8MB", "application_name": "b",
    }  # fmt: skip
    assert params.connect_timeout == 3 and not params.keepalives
    assert parse("host=h fallback_application_name=f").server_settings["application_name"] == "f"
    assert parse("host=h replication=database").server_settings["replication"] == "database"
    params = parse(host="h", server_settings={"application_name": "s"})
    assert params.server_settings["application_name"] == "s"


def test_ssl_keyword() -> None:
    context = ssl.create_default_context()
    params = parse("postgresql://h?sslmode=disable", ssl=context)
    assert params.ssl_context is context and params.sslmode == "require"
    params = parse(host="h", ssl=True)
    assert params.sslmode == "verify-full" and params.ssl_context is not None and params.ssl_context.check_hostname
    assert parse(host="h", ssl=False).sslmode == "disable"
    assert parse(host="h", ssl="verify-ca").sslmode == "verify-ca"
    assert parse(host="h", ssl="require", direct_tls=True).sslnegotiation == "direct"
    assert parse("host=h sslmode=require sslnegotiation=direct", direct_tls=False).sslnegotiation == "postgres"
    assert parse("host=h sslrootcert=system").sslmode == "verify-full"


def test_timeouts_and_versions() -> None:
    assert parse("host=h connect_timeout=0").connect_timeout is None
    assert parse("host=h connect_timeout=-1").connect_timeout is None
    assert parse(host="h", connect_timeout=1.5).connect_timeout == 1.5
    for bad in ("nan", "inf", "1e30"):
        with pytest.raises(ClientConfigurationError):
            parse(host="h", connect_timeout=bad)
    assert parse("host=h min_protocol_version=3.2").max_protocol_version == (3, 2)
    assert parse("host=h require_auth=gss,md5").require_auth == RequireAuth(frozenset({"gss", "md5"}))


@pytest.mark.skipif(sys.platform == "win32", reason="no permissions to check there")
def test_passfile(clean: Path) -> None:
    path = clean / "pass"
    path.write_text(
        "# comment\nshort:1\nh\\:1:*:d\\\\b:*:esc\\:aped\\\\\nh:5:*:*:five\r\n"
        "localhost:*:*:*:local\n\\*:*:*:*:star\n*:*:*:*:rest:x\n"
    )
    path.chmod(0o600)

    def found(**keywords: Any) -> list[str | None]:
        return [password(t) for t in parse(passfile=str(path), user="u", **keywords).targets]

    assert found(host="h:1", database="d\\b") == ["esc:aped\\"]
    assert found(host=["h", "h", "i"], port=[5, 6, 5]) == ["five", "rest", "rest"]
    assert found(host="/tmp,localhost") == ["local", "local"]
    assert found(host="*") == ["star"]
    assert found(host="h", port=5, password="own") == ["own"]
    path.chmod(0o640)
    with pytest.warns(UserWarning, match="group or by others"):
        assert found(host="h") == [None]
    with pytest.warns(UserWarning, match="plain file"):
        assert [t.password for t in parse(host="h", passfile=str(clean)).targets] == [None]
    fifo = clean / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.warns(UserWarning, match="plain file"):
        parse(host="h", passfile=str(fifo))
    assert parse(host="h", passfile=str(clean / "missing")).targets[0].password is None
    default = clean / ".pgpass"
    default.write_text("*:*:*:*:byhome")
    default.chmod(0o600)
    assert password(parse(host="h").targets[0]) == "byhome"


def test_password_functions_are_kept() -> None:
    async def coroutine() -> str:
        return "x"

    for function in (coroutine, lambda: "x"):
        assert [t.password for t in parse("postgresql://u:p@a,b/d", password=function).targets] == [function] * 2
    assert password(parse("postgresql://u:p@h", password="").targets[0]) == ""
    assert parse("postgresql://u:@h").targets[0].password is None
    with pytest.raises(ClientConfigurationError, match="password is expected to be a str, got bytes"):
        parse(host="h", password=b"x")


def test_strict_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    params = parse(host="h", security="strict")
    assert params.sslmode == "verify-full" and params.channel_binding == "require"
    assert params.require_auth == RequireAuth(frozenset({"scram-sha-256"}))
    assert params.max_protocol_version == (3, 2) and params.keepalives_idle == 30
    assert parse(host="/tmp", security="strict").channel_binding == "prefer"
    assert params.security is PROFILES["strict"] and params.security.max_result_bytes == 4 * 1024**3
    monkeypatch.setenv("FASTPG_SECURITY", "strict")
    assert parse(host="h").security.name == "strict"
    assert parse(host="h", security="compat").security.name == "compat"
    for text in (
        "postgresql://h?foo=1", "postgresql://h?host=b", "postgresql://h?user=a+b", "postgresql://h#x",
        "postgresql://u:100%sure@h", "postgresql://h?user=a=b", "postgresql://h?user=a@b", "POSTGRES://h",
        "postgresql://h/d\n", " postgresql://h",
    ):  # fmt: skip
        with pytest.raises(ClientConfigurationError, match="invalid DSN"):
            parse(text)
        assert parse(text, security="compat")
    for name in ("role", "session_authorization", "options"):
        with pytest.raises(ClientConfigurationError, match=name):
            parse(host="h", server_settings={name: "x"})
    monkeypatch.setenv("FASTPG_SECURITY", "other")
    with pytest.raises(ClientConfigurationError, match="compat, strict"):
        parse(host="h")


def test_untrusted_strings() -> None:
    for name in ("sslkey", "passfile", "service", "sslrootcert", "sslkeylogfile"):
        for text in (f"postgresql://h?{name}=/x", f"host=h {name}=/x"):
            with pytest.raises(ClientConfigurationError, match=name):
                parse(text, untrusted_dsn=True)
    with pytest.raises(ClientConfigurationError, match="'options' is not allowed"):
        parse("postgresql://h/d?options=x", allowed_dsn_keys=["host", "database"])
    assert parse("postgresql://h/d", allowed_dsn_keys=["host", "database"]).database == "d"


FAILURES: list[Callable[[], Any]] = [
    lambda: parse(f"postgresql://u:{CANARY}@h:x/d"),
    lambda: parse(f"postgresql://u:{CANARY}/x@h/d"),
    lambda: parse(f"postgresql://u:{CANARY}%ff@h/d"),
    lambda: parse(f"postgresql://u:{CANARY}%00@h/d"),
    lambda: parse(f"postgresql://h?password={CANARY}&a"),
    lambda: parse(f"postgresql://h?password={CANARY}&sslmode=x"),
    lambda: parse(f"host=h password='x {CANARY}"),
    lambda: parse(f"host=h password=x {CANARY}"),
    lambda: parse(f"foo://u:{CANARY}@h"),
    lambda: parse(f"u:{CANARY}@h"),
    lambda: parse(host="h", password=CANARY, port="x"),
    lambda: parse(host="h", password=CANARY + "\0"),
    lambda: parse(host="h", password=CANARY + "\udcff"),
    lambda: parse(host="h", password=[CANARY]),
    lambda: parse(host="h", sslpassword=CANARY, sslmode="x"),
    lambda: parse(host="h", scram_client_key=CANARY),
    lambda: parse(host="h", password=CANARY, nonsense=1),
]


@pytest.mark.parametrize("number", range(len(FAILURES)))
def test_no_secret_in_errors(number: int) -> None:
    with pytest.raises((ClientConfigurationError, TypeError)) as info:
        FAILURES[number]()
    error = info.value
    assert CANARY not in repr(error) + str(error) + repr(error.args)
    assert error.__cause__ is None and error.__context__ is None
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in frames.stack:
        if frame.filename.endswith(("dsn.py", "_conninfo.py")) and "test_dsn" not in frame.filename:
            assert CANARY not in repr(frame.locals)


def test_no_secret_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", CANARY)
    for params in (
        parse(f"postgresql://u:{CANARY}@h/d?sslpassword={CANARY}&oauth_client_secret={CANARY}"),
        parse(host="h"),
    ):
        assert password(params.targets[0]) == CANARY
        assert CANARY not in repr(params) + str(params) + f"{params}"
        with pytest.raises(TypeError):
            pickle.dumps(params)
    assert CANARY not in repr(parse_connection_string(f"postgresql://u:{CANARY}@h?x={CANARY}"))
    secret = Secret(CANARY)
    assert CANARY not in f"{secret!r}{secret!s}{secret}" and secret == Secret(CANARY) != Secret("other")
