# SPDX-License-Identifier: MIT
"""The start-up dialogue without I/O: which sequences of messages let a server in, and which do not."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import struct
import sys
import warnings
from typing import Any

import pytest

from fastpg import dsn, exceptions
from fastpg._gss import GssContext, gss_contexts
from fastpg.exceptions import ClientConfigurationError, InterfaceError, ProtocolError
from fastpg.protocol.auth import Deferred, Handshake
from tests.messages import error, message, notice, parameter_status, ready
from tests.protocol.test_scram import ScramServer

PASSWORD = "pencil"
KEY = message("K", struct.pack("!ii", 42, 4711))


def params(**given: Any) -> Any:
    return dsn.parse(None, host="h", user="u", database="d", **given)


def auth(code: int, data: bytes = b"") -> bytes:
    return message("R", struct.pack("!i", code) + data)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PG", "FASTPG"))]:
        monkeypatch.delenv(name)


def handshake(
    password: str | None = PASSWORD, *, tls: bool = True, end_point: bytes | None = None, **given: Any
) -> Handshake:
    return Handshake(params(**given), password, tls=tls, end_point=end_point)


def sasl(*names: str) -> bytes:
    return auth(10, b"".join(name.encode() + b"\0" for name in names) + b"\0")


class Dialogue:
    """A server that gives the right next SASL message whenever the script names one."""

    def __init__(self, client: Handshake, *mechanisms: str, binding: bytes = b"", iterations: int = 4096) -> None:
        self.client = client
        self.mechanisms = mechanisms or ("SCRAM-SHA-256",)
        self.binding = binding
        self.iterations = iterations
        self.server: ScramServer | None = None
        self.answer: bytes = b""
        client.start()

    def bytes_of(self, step: str) -> bytes:
        if step == "10":
            return sasl(*self.mechanisms)
        if step == "11":
            if self.server is None:
                return auth(11, b"r=x,s=QUFB,i=16")
            return auth(11, self.server.first)
        if step == "12":
            if self.server is None or b",p=" not in self.answer:
                return auth(12, b"v=AAAA")
            return auth(12, self.server.final(self.answer, self.binding))
        return {"0": auth(0), "K": KEY, "Z": ready(), "3": auth(3), "5": auth(5, b"salt")}[step]

    def feed(self, step: str) -> None:
        answer = self.client.receive(self.bytes_of(step))
        while isinstance(answer, Deferred):
            answer.work()
            answer = self.client.resume()
        if answer:
            self.answer = answer[5:]
            if step == "10":
                _, rest = self.answer.split(b"\0", 1)
                self.server = ScramServer(PASSWORD, rest[4:], iterations=self.iterations)


def test_the_startup_packet() -> None:
    packet = handshake(server_settings={"application_name": "zwölf"}).start()
    assert struct.unpack_from("!ii", packet) == (len(packet), 0x30000)
    names = packet[8:].split(b"\0")
    assert names[:4] == [b"user", b"u", b"database", b"d"] and packet.endswith(b"\0\0")
    assert names[names.index(b"application_name") + 1] == "zwölf".encode()


def test_startup_packets_in_turn() -> None:
    """The packet of the last start-up is used again for the same parameters, and for no others."""
    first = params(server_settings={"application_name": "a"})
    latest = dataclasses.replace(first, max_protocol_version=(3, 2))
    others = [
        params(server_settings={"application_name": "b"}),
        dataclasses.replace(first, user="v"),
        dataclasses.replace(first, database="e"),
        latest,
    ]
    expected = Handshake(first, None).start()
    for other in others:
        packet = Handshake(other, None).start()
        assert packet != expected
        assert packet == Handshake(other, None).start()
        assert Handshake(first, None).start() == expected
    assert b"\0v\0" in Handshake(others[1], None).start() and b"\0e\0" in Handshake(others[2], None).start()
    assert struct.unpack_from("!ii", Handshake(latest, None).start())[1] == 0x30002
    small = dataclasses.replace(first, security=dataclasses.replace(first.security, max_startup_packet=20))
    with pytest.raises(ClientConfigurationError, match="the server accepts 20"):
        Handshake(small, None).start()
    changing = dataclasses.replace(first, server_settings={"application_name": "a"})
    assert b"\0a\0" in Handshake(changing, None).start()
    changing.server_settings["application_name"] = "z"
    assert b"\0z\0" in Handshake(changing, None).start()


def test_every_order_of_messages() -> None:
    """Of all the sequences, the server gets in by those that finish what they began, and by no other."""
    legal = set()
    steps = ("10", "11", "12", "0", "K", "Z")
    for length in range(1, 7):
        for order in itertools.permutations(steps, length):
            dialogue = Dialogue(handshake())
            try:
                for step in order:
                    dialogue.feed(step)
            except (ProtocolError, InterfaceError):
                continue
            # What comes after ReadyForQuery is the session's affair.
            if dialogue.client.done and order[-1] == "Z":
                legal.add(order)
    assert legal == {("10", "11", "12", "0", "K", "Z"), ("10", "11", "12", "0", "Z"), ("0", "K", "Z"), ("0", "Z")}


@pytest.mark.parametrize("order", list(itertools.product(("3", "5", "10", "11", "12", "0"), repeat=3)), ids="-".join)
def test_no_second_authentication(order: tuple[str, ...]) -> None:
    dialogue = Dialogue(handshake())
    try:
        for step in order:
            dialogue.feed(step)
    except (ProtocolError, InterfaceError):
        assert not dialogue.client.done
        return
    assert order == ("10", "11", "12") and not dialogue.client.authenticated


METHODS = {"none": ["0"], "password": ["3", "0"], "md5": ["5", "0"], "scram-sha-256": ["10", "11", "12", "0"]}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("required", [
    "none", "password", "md5", "scram-sha-256", "password,md5", "!none", "!password", "!md5,!password",
    "!scram-sha-256", "none,scram-sha-256", "gss",
])  # fmt: skip
def test_require_auth(method: str, required: str) -> None:
    named = {name.strip("!") for name in required.split(",")}
    allowed = (method in named) != required.startswith("!")
    dialogue = Dialogue(handshake(require_auth=required))
    try:
        for step in METHODS[method]:
            dialogue.feed(step)
    except InterfaceError as raised:
        assert not allowed and "require_auth" in str(raised)
        assert dialogue.answer == b""  # nothing was given away
    else:
        assert allowed and dialogue.client.authenticated


PLUS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")


@pytest.mark.parametrize("wanted", ["disable", "prefer", "require"])
@pytest.mark.parametrize("mechanisms", [PLUS, PLUS[::-1], PLUS[:1], PLUS[1:]], ids=" ".join)
@pytest.mark.parametrize("end_point", [None, b"e" * 32], ids=["no certificate hash", "certificate hash"])
def test_channel_binding(wanted: str, mechanisms: tuple[str, ...], end_point: bytes | None) -> None:
    usable = end_point is not None and PLUS[0] in mechanisms and wanted != "disable"
    fails = not usable if wanted == "require" else not usable and PLUS[1] not in mechanisms
    client = handshake(channel_binding=wanted, end_point=end_point)
    dialogue = Dialogue(client, *mechanisms, binding=(end_point or b"") if usable else b"")
    if fails:
        with pytest.raises(InterfaceError):
            dialogue.feed("10")
        return
    dialogue.feed("10")
    assert dialogue.server is not None
    assert dialogue.answer.startswith(PLUS[0 if usable else 1].encode() + b"\0")
    # 'y' is what uncovers somebody who took PLUS away.
    plain = b"y,," if end_point and wanted != "disable" and PLUS[0] not in mechanisms else b"n,,"
    assert dialogue.server.gs2 == (b"p=tls-server-end-point,," if usable else plain)
    for step in ("11", "12", "0", "Z"):
        dialogue.feed(step)
    assert client.done


@pytest.mark.parametrize("method", ["none", "password", "md5"])
def test_channel_binding_is_not_to_be_avoided(method: str) -> None:
    dialogue = Dialogue(handshake(channel_binding="require", end_point=b"e" * 32))
    with pytest.raises(InterfaceError, match="channel_binding=require"):
        for step in METHODS[method]:
            dialogue.feed(step)
    assert dialogue.answer == b""


def test_plus_without_tls() -> None:
    dialogue = Dialogue(handshake(tls=False), *PLUS)
    with pytest.raises(ProtocolError, match="without TLS"):
        dialogue.feed("10")


@pytest.mark.parametrize("names", [(), ("",), ("SCRAM-SHA-1",), ("PLAIN", "OAUTHBEARER"), ("scram-sha-256",)])
def test_unknown_mechanisms(names: tuple[str, ...]) -> None:
    client = handshake()
    client.start()
    with pytest.raises(InterfaceError, match="unsupported SASL"):
        client.receive(sasl(*names))


@pytest.mark.parametrize("code, name", [(2, "'kerberosv5'"), (4, "4"), (6, "6"), (7, "gss"), (9, "sspi"), (13, "13"),
                                        (99, "99"), (-1, "-1")])  # fmt: skip
def test_unknown_methods(code: int, name: str) -> None:
    client = handshake()
    client.start()
    with pytest.raises(InterfaceError, match=f"requested by the server: {name}"):
        client.receive(auth(code))


class Context:
    """A security context that is complete after so many tokens of the server's."""

    def __init__(self, rounds: int, last: bytes = b"") -> None:
        self.rounds = rounds
        self.last = last
        self.taken: list[bytes] = []

    @property
    def complete(self) -> bool:
        return len(self.taken) > self.rounds

    def step(self, token: bytes) -> bytes:
        self.taken.append(token)
        return self.last if self.complete else b"token %d" % len(self.taken)


def gss(context: Context, **given: Any) -> tuple[Handshake, list[bool]]:
    kinds: list[bool] = []

    def make(negotiate: bool) -> Context:
        kinds.append(negotiate)
        return context

    client = Handshake(params(**given), None, gss=make)
    client.start()
    return client, kinds


def drive(client: Handshake, data: bytes) -> bytes:
    answer = client.receive(data)
    while isinstance(answer, Deferred):
        answer.work()
        answer = client.resume()
    return answer or b""


@pytest.mark.parametrize("code", [7, 9])
@pytest.mark.parametrize("together", [False, True])
def test_gss(code: int, together: bool) -> None:
    context = Context(2)
    client, kinds = gss(context, require_auth="gss" if code == 7 else "sspi")
    parts = [auth(code), auth(8, b"one"), auth(8, b"two"), auth(0), KEY + ready()]
    sent = [drive(client, part) for part in ([b"".join(parts)] if together else parts)]
    assert b"".join(sent) == message("p", b"token 1") + message("p", b"token 2")
    assert context.taken == [b"", b"one", b"two"] and kinds == [code == 9]
    assert client.done


def test_gss_tokens_of_the_last_step_are_sent() -> None:
    client, _ = gss(Context(1, last=b"last"))
    drive(client, auth(7))
    assert drive(client, auth(8, b"one")) == message("p", b"last")


@pytest.mark.parametrize(
    "steps, text",
    [
        ([auth(7), auth(0)], "before proving who it is"),
        ([auth(7), auth(8, b"one"), auth(8, b"two")], "unexpected Authentication"),
        ([auth(7), auth(7)], "unexpected Authentication"),
        ([auth(7), auth(3)], "unexpected Authentication"),
        ([auth(7), auth(11, b"x")], "unexpected Authentication"),
        ([auth(7), auth(8, b"one"), auth(0), auth(8, b"two")], "unexpected Authentication"),
    ],
)
def test_gss_out_of_order(steps: list[bytes], text: str) -> None:
    client, _ = gss(Context(1))
    with pytest.raises(ProtocolError, match=text):
        for step in steps:
            drive(client, step)


def test_gss_continue_without_a_start() -> None:
    client, kinds = gss(Context(1))
    with pytest.raises(InterfaceError, match="unsupported authentication method"):
        drive(client, auth(8, b"one"))
    assert kinds == []


@pytest.mark.parametrize("given", [{"require_auth": "scram-sha-256"}, {"channel_binding": "require"}])
def test_gss_is_refused_before_it_starts(given: dict[str, Any]) -> None:
    client, kinds = gss(Context(1), **given)
    with pytest.raises(InterfaceError, match="gss"):
        drive(client, auth(7))
    assert kinds == []


def test_gss_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for lib, package in (("gssapi", "gssapi"), ("sspi", "sspilib")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InterfaceError, match=f"install the '{package}' package"):
            GssContext(lib, "postgres", "h").step(b"")
    unix = dsn.parse(None, host="/tmp", user="u", database="d")
    with pytest.raises(InterfaceError, match="host name"):
        gss_contexts(unix, unix.targets[0])(False)


def test_md5_is_the_servers_formula() -> None:
    client = handshake()
    client.start()
    inner = hashlib.md5(b"pencilu").hexdigest().encode()
    outer = hashlib.md5(inner + b"salt").hexdigest().encode()
    assert client.receive(auth(5, b"salt")) == message("p", b"md5" + outer + b"\0")


def test_passwords_in_clear() -> None:
    client = handshake(tls=False)
    client.start()
    with pytest.raises(InterfaceError, match="allow_cleartext_password"):
        client.receive(auth(3))
    for accepted in (handshake(tls=True), handshake(tls=False, allow_cleartext_password=True)):
        accepted.start()
        assert accepted.receive(auth(3)) == message("p", b"pencil\0")
    with pytest.warns(exceptions.InterfaceWarning, match="md5"):
        client = handshake(tls=False)
        client.start()
        client.receive(auth(5, b"salt"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        local = Handshake(params(), PASSWORD, local=True)
        local.start()
        assert local.receive(auth(5, b"salt"))


@pytest.mark.parametrize("password", ["a\0b", "\0", "x\0", "canary\ud800"])
@pytest.mark.parametrize("request_", [auth(3), auth(5, b"salt"), sasl("SCRAM-SHA-256")], ids=["clear", "md5", "scram"])
def test_passwords_that_cannot_be_sent(password: str, request_: bytes) -> None:
    client = handshake(password)
    client.start()
    with pytest.raises(ClientConfigurationError, match="the password") as caught:
        client.receive(request_)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "canary" not in str(chain) + repr(chain)
        chain = chain.__cause__ or chain.__context__


def test_without_a_password() -> None:
    client = handshake(None)
    client.start()
    with pytest.raises(InterfaceError, match="none was given"):
        client.receive(sasl("SCRAM-SHA-256"))


def test_trust_with_a_password() -> None:
    client = handshake()
    client.start()
    client.receive(auth(0) + ready())
    assert client.done
    strict = params(security="strict", sslmode="require", channel_binding="disable", require_auth="none")
    client = Handshake(strict, "x", tls=True)
    client.start()
    with pytest.raises(InterfaceError, match="did not ask for it"):
        client.receive(auth(0))


WHOLE = auth(0) + parameter_status("server_version", "15.18") + notice("hello") + KEY + ready("I")


def test_every_split() -> None:
    for cut in range(len(WHOLE) + 1):
        client = handshake()
        client.start()
        for piece in (WHOLE[:cut], WHOLE[cut:]):
            assert client.receive(piece) is None
        assert client.done and client.backend_pid == 42 and client.secret_key == struct.pack("!i", 4711)
        assert client.parameters == {"server_version": "15.18"} and client.tx_status == ord("I")
        assert [fields["M"] for fields in client.notices] == ["hello"] and client.leftover == b""
    client = handshake()
    client.start()
    for i in range(len(WHOLE)):
        assert not client.done
        client.receive(WHOLE[i : i + 1])
    assert client.done
    client.receive(b"more")
    assert client.leftover == b"more" == client.take() and client.leftover == b""


def test_long_work_is_not_done_here() -> None:
    client = handshake()
    dialogue = Dialogue(client, iterations=10_001)
    dialogue.feed("10")
    deferred = client.receive(dialogue.bytes_of("11"))
    assert isinstance(deferred, Deferred)
    deferred.work()
    answer = client.resume()
    assert isinstance(answer, bytes) and b",p=" in answer


@pytest.mark.parametrize("tag", "RESNKZv")
@pytest.mark.parametrize("length", [-(2**31), -1, 0, 3, 2**31 - 1, 70_000])
def test_impossible_lengths(tag: str, length: int) -> None:
    for before in (b"", auth(0)):
        client = handshake()
        client.start()
        with pytest.raises(ProtocolError, match="does not speak PostgreSQL's protocol"):
            client.receive(before + tag.encode() + struct.pack("!i", length))


@pytest.mark.parametrize("body", [
    b"R\0\0\0\x04", b"R\0\0\0\x07\0\0\0", auth(0) + auth(0), auth(0) + auth(3), auth(5, b"sal"),
    parameter_status(), KEY, ready(), auth(0) + ready("X"), auth(0) + message("Z"), auth(0) + message("Z", b"II"),
    auth(0) + message("S", b"a\0b"), auth(0) + message("S", b"a\0"), auth(0) + message("S", b"a\0b\0c\0"),
    auth(0) + KEY + KEY, auth(0) + message("K"), auth(0) + message("K", bytes(4)), auth(0) + message("K", bytes(7)),
    auth(0) + message("K", bytes(9)), auth(0) + message("K", bytes(260)), message("E", b"SFATAL"), message("N", b"x"),
    message("D", b"\0\0"), message("T", b"\0\0"), b"HTTP/1.1 400 Bad Request\r\n", b"\0", b"\x15\x03\x03\0\x02\x02\x28",
    message("v", struct.pack("!ii", 0x30000, 1)), message("v", struct.pack("!ii", 0x40000, 0)), message("v"),
    message("v", struct.pack("!ii", 0x30000, -1)), auth(0) + message("v", struct.pack("!ii", 0x30000, 0)),
    message("v", struct.pack("!ii", 0x30000, 0)) * 2, message("v", struct.pack("!ii", 9, 0)),
])  # fmt: skip
def test_malformed(body: bytes) -> None:
    client = handshake()
    client.start()
    with pytest.raises((ProtocolError, InterfaceError)):
        client.receive(body)
    assert not client.done


@pytest.mark.parametrize("size", [0, 3, 4, 5, 32, 256, 257])
def test_long_keys(size: int) -> None:
    client = handshake(max_protocol_version="3.2")
    assert struct.unpack_from("!ii", client.start())[1] == 0x30002
    data = auth(0) + message("K", bytes(4) + b"k" * size) + ready()
    if 4 <= size <= 256:
        client.receive(data)
        assert client.done and client.secret_key == b"k" * size
    else:
        with pytest.raises(ProtocolError, match="BackendKeyData"):
            client.receive(data)


def test_an_older_protocol() -> None:
    client = handshake(max_protocol_version="3.2")
    client.start()
    client.receive(message("v", struct.pack("!ii", 0x30000, 0)) + auth(0) + KEY + ready())
    assert client.done and client.protocol_version == 0x30000
    client = handshake(min_protocol_version="3.2", max_protocol_version="3.2")
    client.start()
    with pytest.raises(ProtocolError, match="offers protocol 3.0"):
        client.receive(message("v", struct.pack("!ii", 0x30000, 0)))


@pytest.mark.parametrize("code, kind", [
    ("28P01", exceptions.InvalidPasswordError), ("28000", exceptions.InvalidAuthorizationSpecificationError),
    ("3D000", exceptions.InvalidCatalogNameError), ("53300", exceptions.TooManyConnectionsError),
    ("57P03", exceptions.CannotConnectNowError), ("42501", exceptions.InsufficientPrivilegeError),
])  # fmt: skip
@pytest.mark.parametrize("before", [b"", auth(3), auth(0), auth(0) + KEY])
def test_the_servers_error(code: str, kind: type[Exception], before: bytes) -> None:
    client = handshake()
    client.start()
    with pytest.raises(kind) as caught:
        client.receive(before + error(code, "no", "FATAL"))
    assert str(caught.value) == "no"


@pytest.mark.parametrize("text", ["пароль".encode("cp1251"), "é".encode("latin1"), "表".encode("sjis"), b"\xff" * 9])
def test_an_error_in_another_encoding(text: bytes) -> None:
    client = handshake()
    client.start()
    with pytest.raises(exceptions.InvalidPasswordError, match=r"no: .*\\x"):
        client.receive(message("E", b"SFATAL\0C28P01\0Mno: " + text + b"\0\0"))


def test_a_server_that_never_ends() -> None:
    client = handshake()
    client.start()
    client.receive(auth(0))
    with pytest.raises(ProtocolError, match="too much"):
        for _ in range(1000):
            client.receive(parameter_status("a", "x" * 20_000))
    client = handshake()
    client.start()
    for _ in range(1000):
        client.receive(notice("x"))
    assert len(client.notices) == 100


def test_nothing_is_shown() -> None:
    client = handshake("canary")
    client.start()
    client.receive(auth(3))
    assert "canary" not in repr(client)


PARAMETERS_OF_A_SERVER = message("S", b"a\0b\0") + message("S", "ü\0".encode() + b"\xff\0")


@pytest.mark.parametrize("more", [b"", message("S", b"a\0c\0") + message("S", b"d\0e\0")])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_one_server_says_is_not_another_ones(more: bytes, size: int) -> None:
    for said, known in (
        (PARAMETERS_OF_A_SERVER, {"a": "b", "ü": "\\xff"}),
        (message("S", b"x\0y\0"), {"x": "y"}),
        (PARAMETERS_OF_A_SERVER + more, {"a": "c", "ü": "\\xff", "d": "e"} if more else {"a": "b", "ü": "\\xff"}),
        (PARAMETERS_OF_A_SERVER, {"a": "b", "ü": "\\xff"}),
    ):
        client = handshake(None)
        data = auth(0) + said + message("K", b"\0\0\0\1\0\0\0\2") + message("Z", b"I")
        for i in range(0, len(data), size):
            client.receive(data[i : i + size])
        assert client.done and client.parameters == known
        client.parameters["a"] = "changed"
