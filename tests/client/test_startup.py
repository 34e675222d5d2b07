# SPDX-License-Identifier: MIT
"""Connecting to servers that misbehave: one clear exception, no hang, nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastpg
from fastpg import exceptions
from fastpg.exceptions import (
    ClientConfigurationError,
    ConnectionDoesNotExistError,
    InterfaceError,
    ProtocolError,
)  # fmt: skip
from tests.fakeserver import FIN, RESET, STALL, START_TLS, FakeServer, message, packet, pause, receive
from tests.messages import command_complete, data_row, error, notice, parameter_status, ready, row_description
from tests.messages import message as backend
from tools.pgserver import free_port, write_certificate

MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
OK = backend("R", bytes(4))
KEY = backend("K", struct.pack("!ii", 42, 4711))
WELCOME = OK + parameter_status("server_version", "15.18") + KEY + ready()
HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("PG", "FASTPG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


async def connect(server: FakeServer | None = None, **given: Any) -> fastpg.Connection:
    """connect() that fails the test instead of hanging."""
    if server is not None:
        given = {"host": server.host, "port": server.port, **given}
    given = {"user": "u", "database": "d", "timeout": 10, "sslmode": "disable", **given}
    return await asyncio.wait_for(fastpg.connect(**given), 15)


async def refused(kind: type[BaseException], server: FakeServer | None = None, **given: Any) -> BaseException:
    """The exception of a connect() that must fail; `kind` exactly, and not the time limit of connect() above."""
    with pytest.raises(kind) as caught:
        await connect(server, **given)
    return caught.value


async def test_a_server_that_welcomes() -> None:
    with FakeServer([packet(), WELCOME]) as server:
        connection = await connect(server, server_settings={"application_name": "me"})
        assert connection.get_server_pid() == 42
        connection.terminate()
    assert b"application_name\0me\0" in server.received[0][0]


@pytest.mark.parametrize("split", [1, 2, 7, [1], [5], [9], [12]])
async def test_every_piece_of_the_welcome(split: Any) -> None:
    with FakeServer([packet(), WELCOME], split=split) as server:
        connection = await connect(server)
        assert connection.get_settings().server_version == "15.18"
        connection.terminate()


@pytest.mark.parametrize("answer", [
    HTTP, b"\0" * 100, b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x03\0\x02\x02\x28", b"Efork failed\0", b"\xff" * 4000,
    b"J\0\0\0\x0a5.5.5-10.11\0",
])  # fmt: skip
async def test_a_server_that_is_not_postgresql(answer: bytes) -> None:
    for mode in ("disable", "prefer", "require"):
        with FakeServer([packet(), answer, FIN]) as server:
            stuffed = mode == "disable" or answer.startswith(b"S")
            await refused(ProtocolError if stuffed else ConnectionError, server, sslmode=mode)
            assert server.connections == 1


@pytest.mark.parametrize("end", [FIN, RESET])
@pytest.mark.parametrize("sent", [b"", b"R", OK, OK + KEY, WELCOME[:-1]], ids=len)
async def test_a_server_that_dies(sent: bytes, end: str) -> None:
    with FakeServer([packet(), sent, pause(0.02), end]) as server:
        raised = await refused(ConnectionDoesNotExistError, server)
    assert str(raised) == "connection was closed in the middle of operation"


async def test_a_server_that_dies_at_once() -> None:
    with FakeServer([FIN]) as server:
        await refused(ConnectionDoesNotExistError, server)
        await refused(ConnectionError, server, sslmode="prefer")
        await refused(ConnectionError, server, sslmode="require")


@pytest.mark.parametrize("script, stage", [
    ([STALL], "authenticating with"), ([packet(), STALL], "authenticating with"),
    ([packet(), b"R", STALL], "authenticating with"), ([packet(), OK, STALL], "authenticating with"),
    ([packet(), WELCOME[:-1], STALL], "authenticating with"),
])  # fmt: skip
@pytest.mark.parametrize("how", ["timeout", "connect_timeout"])
async def test_a_silent_server(script: list[Any], stage: str, how: str) -> None:
    with FakeServer(script) as server:
        limit = {"timeout": 0.3} if how == "timeout" else {"timeout": None, "connect_timeout": "0.3"}
        raised = await refused(asyncio.TimeoutError, server, **limit)
    assert stage in str(raised) and str(server.port) in str(raised)


@pytest.mark.parametrize("script", [
    [STALL], [packet(), STALL], [packet(), b"S", STALL], [packet(), b"S", pause(0.02), receive(5), b"\x16", STALL],
])  # fmt: skip
@pytest.mark.parametrize("mode", ["prefer", "require"])
async def test_a_server_silent_about_tls(script: list[Any], mode: str) -> None:
    with FakeServer(script) as server:
        raised = await refused(asyncio.TimeoutError, server, sslmode=mode, timeout=0.5)
    assert "negotiating TLS with" in str(raised)


@pytest.mark.parametrize("limit", [0, -1])
async def test_no_time_at_all(limit: float) -> None:
    with FakeServer([packet(), WELCOME]) as server:
        await refused(asyncio.TimeoutError, server, timeout=limit)
        assert server.connections == 0


# -- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    write_certificate(directory)
    return directory


@pytest.fixture(scope="module")
def tls_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
    return context


ANSWERS = {
    "S": b"S", "N": b"N", "E": error("28P01", "reset your password at evil.example", "FATAL"), "E alone": b"E",
    "garbage": b"X", "NUL": b"\0", "S+ok": b"S" + WELCOME, "S+1": b"Sx", "N+ok": b"N" + WELCOME, "N+1": b"Nx",
    "S+S": b"SS", "HTTP": HTTP,
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_to_sslrequest(mode: str, name: str, certificate: Path) -> None:
    root = {"sslrootcert": str(certificate / "server.crt")} if mode.startswith("verify") else {}
    if mode in ("disable", "allow"):
        # Nobody asks for TLS here.
        with FakeServer([packet(), WELCOME]) as server:
            (await connect(server, sslmode=mode)).terminate()
            assert server.received[0][0][4:8] == struct.pack("!i", 0x30000)
        return
    plain = [packet(), WELCOME]
    with FakeServer([packet(), ANSWERS[name], *(plain if name == "N" else [STALL])], plain) as server:
        if name == "N" and mode == "prefer":
            (await connect(server, sslmode=mode)).terminate()
            assert server.connections == 1
        elif name == "N":
            raised = await refused(ConnectionError, server, sslmode=mode, **root)
            assert str(raised) == f'PostgreSQL server at "127.0.0.1:{server.port}" rejected SSL upgrade'
        elif name == "S":
            await refused(asyncio.TimeoutError, server, sslmode=mode, timeout=0.5, **root)
        else:
            stuffed = name in ("S+ok", "S+1", "N+ok", "N+1", "S+S")
            raised = await refused(ProtocolError if stuffed else ConnectionError, server, sslmode=mode, **root)
            assert "evil" not in str(raised) and server.connections == 1
        # Nothing went out in clear after the request, but by prefer's own rule.
        assert server.received[0][0] == struct.pack("!ii", 8, 80877103)


@pytest.mark.parametrize("answer", [b"S", b"N"])
@pytest.mark.parametrize("gap", [0.0, 0.005, 0.05])
@pytest.mark.parametrize("early", [WELCOME, b"x" * 64, error("28P01", "evil", "FATAL")], ids=["welcome", "x", "error"])
async def test_bytes_put_in_before_tls(answer: bytes, gap: float, early: bytes) -> None:
    """In a segment of their own they may come before our side has begun TLS or after; they never count as a session."""
    with FakeServer([packet(), answer, pause(gap), early, STALL]) as server:
        raised = await refused(Exception, server, sslmode="require", timeout=2)
    assert isinstance(raised, (ProtocolError, ssl.SSLError, ConnectionError)) and "evil" not in str(raised)


async def test_a_session_under_tls(tls_context: ssl.SSLContext, certificate: Path) -> None:
    script = [packet(), b"S", START_TLS, packet(), WELCOME]
    with FakeServer(script, ssl_context=tls_context) as server:
        for mode in ("prefer", "require", "verify-ca", "verify-full"):
            root = {"sslrootcert": str(certificate / "server.crt")} if mode.startswith("verify") else {}
            connection = await connect(server, sslmode=mode, **root)
            connection.terminate()
    assert server.connections == 4


async def test_a_certificate_that_nobody_vouches_for(tls_context: ssl.SSLContext, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    with FakeServer([packet(), b"S", START_TLS, packet(), WELCOME], ssl_context=tls_context) as server:
        for mode in ("verify-ca", "verify-full"):
            given = {"sslmode": mode, "sslrootcert": str(tmp_path / "server.crt")}
            raised = await refused(ssl.SSLCertVerificationError, server, **given)
            assert "certificate verify failed" in str(raised)
        context = ssl.create_default_context()
        await refused(ssl.SSLCertVerificationError, server, sslmode=None, ssl=context)
        assert server.connections == 3


async def test_direct_tls_needs_its_protocol(tls_context: ssl.SSLContext, certificate: Path) -> None:
    given = {"sslmode": "require", "sslnegotiation": "direct"}
    with FakeServer([START_TLS, packet(), WELCOME], ssl_context=tls_context) as server:
        raised = await refused(InterfaceError, server, **given)
        assert "'postgresql'" in str(raised)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
    context.set_alpn_protocols(["postgresql"])
    with FakeServer([START_TLS, packet(), WELCOME], ssl_context=context) as server:
        (await connect(server, **given)).terminate()
    for mode in ("disable", "allow", "prefer"):
        await refused(ClientConfigurationError, server, sslmode=mode, sslnegotiation="direct")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_refused_client_certificate_ends_it(
    version: ssl.TLSVersion, certificate: Path, tmp_path: Path
) -> None:
    write_certificate(tmp_path)  # one that the server's authority did not sign
    own = {"sslcert": str(tmp_path / "server.crt"), "sslkey": str(tmp_path / "server.key")}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
    context.load_verify_locations(certificate / "server.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version
    with FakeServer([packet(), b"S", START_TLS, packet(), WELCOME], [packet(), WELCOME], ssl_context=context) as server:
        # The alert, or the reset that overtook it.
        lost = (ssl.SSLError, ConnectionError, ConnectionDoesNotExistError)
        await refused(lost, server, sslmode="prefer", **own)  # type: ignore[arg-type]
        assert server.connections == 1


async def test_prefer_goes_on_without_tls_where_tls_fails() -> None:
    """A server that speaks another TLS than we do."""
    failing = [packet(), b"S", receive(5), b"\x15\x03\x03\0\x02\x02\x46", FIN]
    with FakeServer(failing, [packet(), WELCOME]) as server:
        (await connect(server, sslmode="prefer")).terminate()
        assert server.connections == 2
    with FakeServer(failing, [packet(), WELCOME]) as server:
        await refused(ssl.SSLError, server, sslmode="require")
        assert server.connections == 1


@pytest.mark.parametrize("code, asked, tries", [
    ("28000", b"", 2), ("28000", backend("R", struct.pack("!i", 3)), 1),
    ("28P01", backend("R", struct.pack("!i", 3)), 1), ("3D000", b"", 1), ("53300", b"", 1),
])  # fmt: skip
async def test_prefer_does_not_send_the_password_again(
    code: str, asked: bytes, tries: int, tls_context: ssl.SSLContext
) -> None:
    reply = [message()] if asked else []
    script = [packet(), b"S", START_TLS, packet(), asked, *reply, error(code, "no", "FATAL"), FIN]
    with FakeServer(script, [packet(), WELCOME], ssl_context=tls_context) as server:
        if tries == 2:
            (await connect(server, sslmode="prefer", password="pencil")).terminate()
        else:
            raised = await refused(exceptions.PostgresError, server, sslmode="prefer", password="pencil")
            assert raised.sqlstate == code  # type: ignore[attr-defined]
        assert server.connections == tries


async def test_allow_tries_tls_second(tls_context: ssl.SSLContext) -> None:
    refusing = [packet(), error("28000", "no encryption", "FATAL"), FIN]
    with FakeServer(refusing, [packet(), b"S", START_TLS, packet(), WELCOME], ssl_context=tls_context) as server:
        (await connect(server, sslmode="allow")).terminate()
        assert server.connections == 2


async def test_strict_never_goes_on_without_tls() -> None:
    strict = {"security": "strict", "channel_binding": "disable", "require_auth": "none"}
    for mode in ("allow", "prefer"):
        with FakeServer([packet(), b"N", packet(), WELCOME]) as server:
            raised = await refused(ConnectionError, server, sslmode=mode, **strict)
            assert str(raised) == f'PostgreSQL server at "127.0.0.1:{server.port}" rejected SSL upgrade'
            assert server.received[0] == [struct.pack("!ii", 8, 80877103)]


# -- what we send ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\0a", "a\0b", "a\0"])
@pytest.mark.parametrize("name", ["user", "database", "options", "application_name", "server_settings", "host"])
async def test_nul_is_refused_before_a_byte_is_sent(name: str, text: str) -> None:
    with FakeServer([packet(), WELCOME]) as server:
        value: Any = {"search_path": text} if name == "server_settings" else text
        await refused(ClientConfigurationError, server, **{name: value})
        if name == "server_settings":
            await refused(ClientConfigurationError, server, server_settings={text: "x"})
        assert server.connections == 0


@pytest.mark.parametrize("text", ["\0a", "a\0b", "a\0"])
@pytest.mark.parametrize("method", [3, 5])
async def test_nul_in_a_password(text: str, method: int) -> None:
    request = backend("R", struct.pack("!i", method) + (b"salt" if method == 5 else b""))
    for password in (text, lambda: text):
        with FakeServer([packet(), request, STALL]) as server:
            await refused(ClientConfigurationError, server, password=password)
            assert len(server.received) <= 1 and all(len(got) == 1 for got in server.received)


async def test_a_packet_too_long_for_the_server() -> None:
    with FakeServer([packet(), WELCOME]) as server:
        await refused(ClientConfigurationError, server, server_settings={"search_path": "x" * 10_000})
        assert server.connections == 0


# -- what the server says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag, length", [("R", 70_000), ("E", 30_001), ("S", 30_001), ("N", 2**31 - 1), ("K", -5)])
async def test_impossible_messages(tag: str, length: int) -> None:
    with FakeServer([packet(), tag.encode() + struct.pack("!i", length) + b"x" * 100, STALL]) as server:
        await refused(ProtocolError, server)


@pytest.mark.parametrize("code, kind", [
    ("28P01", exceptions.InvalidPasswordError), ("28000", exceptions.InvalidAuthorizationSpecificationError),
    ("3D000", exceptions.InvalidCatalogNameError), ("42501", exceptions.InsufficientPrivilegeError),
    ("53300", exceptions.TooManyConnectionsError), ("57P03", exceptions.CannotConnectNowError),
    ("57P01", exceptions.AdminShutdownError), ("08P01", exceptions.ProtocolViolationError),
    ("ZZ999", exceptions.PostgresError),
])  # fmt: skip
@pytest.mark.parametrize("end", [FIN, STALL])
async def test_the_servers_errors(code: str, kind: type[Exception], end: str) -> None:
    for before in (b"", notice("warned"), OK, OK + KEY):
        with FakeServer([packet(), before + error(code, "the reason", "FATAL"), end]) as server:
            raised = await refused(kind, server)
            assert str(raised) == "the reason" and raised.sqlstate == code  # type: ignore[attr-defined]


async def test_an_older_protocol() -> None:
    older = backend("v", struct.pack("!ii", 0x30000, 0))
    with FakeServer([packet(), older + WELCOME]) as server:
        (await connect(server, max_protocol_version="3.2")).terminate()
        await refused(ProtocolError, server, min_protocol_version="3.2", max_protocol_version="3.2")


# -- several hosts -----------------------------------------------------------------------------------------------


async def test_the_first_host_that_answers() -> None:
    busy = [packet(), error("57P03", "starting up", "FATAL"), FIN]
    with FakeServer(busy) as first, FakeServer([FIN]) as second, FakeServer([packet(), WELCOME]) as third:
        ports = [free_port(), first.port, second.port, third.port]
        connection = await connect(host=["127.0.0.1"] * 4, port=ports)
        connection.terminate()
        assert [server.connections for server in (first, second, third)] == [1, 1, 1]
        raised = await refused(OSError, host=["127.0.0.1"] * 3, port=ports[:3])
        assert "starting up" in str(raised) and str(ports[0]) in str(raised)


async def test_an_error_that_another_host_would_not_mend() -> None:
    wrong = [packet(), error("28P01", "wrong password", "FATAL"), FIN]
    with FakeServer(wrong) as first, FakeServer([packet(), WELCOME]) as second:
        await refused(exceptions.InvalidPasswordError, host=["127.0.0.1"] * 2, port=[first.port, second.port])
        assert second.connections == 0


async def test_connect_timeout_is_each_hosts_own() -> None:
    with FakeServer([packet(), STALL]) as first, FakeServer([packet(), WELCOME]) as second:
        given: dict[str, Any] = {"host": ["127.0.0.1"] * 2, "port": [first.port, second.port]}
        (await connect(**given, timeout=None, connect_timeout="0.5")).terminate()
        await refused(asyncio.TimeoutError, **given, timeout=0.3)
        raised = await refused(
            asyncio.TimeoutError, host=["127.0.0.1"] * 2, port=[first.port] * 2, timeout=None, connect_timeout="0.3"
        )
        assert str(raised).count("authenticating with") == 2


def answer(value: bytes) -> bytes:
    return row_description(("x", 25)) + data_row(value) + command_complete("SELECT 1") + ready()


def answering(*values: bytes) -> list[Any]:
    return [packet(), OK + KEY + ready(), *[step for value in values for step in (message(), answer(value))]]


@pytest.mark.parametrize("wanted, chosen", [("any", 0), ("primary", 1), ("standby", 0), ("prefer-standby", 0)])
async def test_target_session_attrs_of_an_old_server(wanted: str, chosen: int) -> None:
    """One that reports nothing, so it has to be asked."""
    with FakeServer(answering(b"t")) as standby, FakeServer(answering(b"f")) as primary:
        connection = await connect(
            host=["127.0.0.1"] * 2, port=[standby.port, primary.port], target_session_attrs=wanted
        )
        assert connection._addr[1] == (standby, primary)[chosen].port
        connection.terminate()


@pytest.mark.parametrize("wanted, chosen", [("read-write", 1), ("read-only", 0), ("primary", 1), ("standby", None)])
async def test_target_session_attrs_of_a_new_server(wanted: str, chosen: int | None) -> None:
    def reporting(read_only: str) -> list[Any]:
        status = parameter_status("in_hot_standby", "off")
        status += parameter_status("default_transaction_read_only", read_only)
        return [packet(), OK + status + KEY + ready()]

    with FakeServer(reporting("on")) as first, FakeServer(reporting("off")) as second:
        given: dict[str, Any] = {"host": ["127.0.0.1"] * 2, "port": [first.port, second.port]}
        if wanted == "primary":
            chosen = 0
        if chosen is None:
            await refused(exceptions.TargetServerAttributeNotMatched, **given, target_session_attrs=wanted)
        else:
            connection = await connect(**given, target_session_attrs=wanted)
            assert connection._addr[1] == (first, second)[chosen].port
            connection.terminate()


async def test_a_question_that_fails() -> None:
    wrong = [packet(), OK + KEY + ready(), message(), error("42501", "not allowed") + ready()]
    with FakeServer(wrong) as server:
        await refused(exceptions.InsufficientPrivilegeError, server, target_session_attrs="primary")
    with FakeServer([packet(), OK + KEY + ready(), message(), FIN], answering(b"f")) as server:
        given: dict[str, Any] = {"host": ["127.0.0.1"] * 2, "port": [server.port] * 2}
        (await connect(**given, target_session_attrs="primary")).terminate()
        assert server.connections == 2


async def test_what_comes_with_the_answer_is_not_lost() -> None:
    late = parameter_status("TimeZone", "Mars/Olympus")
    script = [packet(), OK + KEY + ready(), message(), late + answer(b"f") + notice("late")]
    with FakeServer(script) as server:
        connection = await connect(server, target_session_attrs="primary")
        assert connection.get_settings().TimeZone == "Mars/Olympus"
        connection.terminate()


# -- giving up ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script, given", [
    ([STALL], {}), ([packet(), OK, STALL], {}), ([packet(), STALL], {"sslmode": "require"}),
    ([packet(), b"S", STALL], {"sslmode": "require"}),
    ([packet(), OK + KEY + ready(), message(), STALL], {"target_session_attrs": "primary"}),
])  # fmt: skip
async def test_cancelling_leaves_nothing_open(script: list[Any], given: dict[str, Any]) -> None:
    with FakeServer(script) as server:
        task = asyncio.ensure_future(connect(server, **given))
        wanted = script.count(packet()) + script.count(message())
        for _ in range(5000):
            if server.connections and len(server.received[0]) >= wanted:
                break
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
    assert task.cancelled()


async def test_a_password_function_that_hangs() -> None:
    async def forever() -> str:
        await asyncio.sleep(60)
        return ""

    with FakeServer([STALL]) as server:
        await refused(asyncio.TimeoutError, server, password=forever, timeout=0.1)


@pytest.mark.parametrize("given", [b"bytes", 1, ["x"]])
async def test_a_password_function_that_gives_no_text(given: Any) -> None:
    with FakeServer([STALL]) as server:
        await refused(ClientConfigurationError, server, password=lambda: given)


async def test_a_password_function_that_raises() -> None:
    def fail() -> str:
        raise LookupError("no such secret")

    with FakeServer([STALL]) as server:
        await refused(LookupError, server, password=fail)


@pytest.fixture(autouse=True)
def no_stray_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that only the loop's exception handler would see."""
    yield
    with contextlib.suppress(KeyError):
        assert not [record.getMessage() for record in caplog.get_records("call") if record.name == "asyncio"]
