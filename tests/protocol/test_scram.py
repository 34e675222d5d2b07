# SPDX-License-Identifier: MIT
"""SCRAM-SHA-256, the client's side, against servers honest and hostile. No I/O."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpg.exceptions import InterfaceError, ProtocolError
from fastpg.protocol import scram
from fastpg.protocol.scram import ScramClient, saslprep

SALT = b"0123456789abcdef"
NONCE = "rOprNGfwEbeRWgbNEkqO"


class ScramServer:
    """The other side, with its own arithmetic."""

    def __init__(self, password: str, first: bytes, *, salt: bytes = SALT, iterations: int = 16) -> None:
        self.salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
        self.gs2, self.bare = (first[: first.index(b"n=")], first[first.index(b"n=") :])
        self.nonce = self.bare.split(b"r=")[1].decode() + "server"
        self.first = f"r={self.nonce},s={base64.b64encode(salt).decode()},i={iterations}".encode()

    def final(self, answer: bytes, binding: bytes = b"") -> bytes:
        """Check the proof; the server's final message."""
        without, proof = answer.rsplit(b",p=", 1)
        channel, nonce = without.split(b",")
        assert base64.b64decode(channel[2:]) == self.gs2 + binding
        assert nonce == b"r=" + self.nonce.encode()
        message = b",".join([self.bare, self.first, without])
        key = hmac.digest(self.salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        assert base64.b64decode(proof) == bytes(a ^ b for a, b in zip(key, signature, strict=True))
        verifier = hmac.digest(hmac.digest(self.salted, b"Server Key", "sha256"), message, "sha256")
        return b"v=" + base64.b64encode(verifier)


def exchanged(password: str = "pencil") -> tuple[ScramClient, ScramServer]:
    client = ScramClient(password, nonce=NONCE)
    return client, ScramServer(password, client.first())


def test_the_vector_of_rfc_7677() -> None:
    client = ScramClient("pencil", nonce=NONCE)
    # The RFC's user name goes into both sides' AuthMessage; PostgreSQL's is empty, so the exchange is recomputed.
    assert client.first() == b"n,,n=,r=rOprNGfwEbeRWgbNEkqO"
    salted = scram.derive(b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    message = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    client.server_first(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert client.derive() == salted
    assert client._auth_message == message.replace("n=user", "n=")
    client._auth_message = message
    assert client.final().endswith(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client.server_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert client.verified


@pytest.mark.parametrize("binding, offered, header", [
    (None, False, b"n,,"), (None, True, b"y,,"), (b"\x01" * 32, False, b"p=tls-server-end-point,,"),
])  # fmt: skip
def test_an_honest_server(binding: bytes | None, offered: bool, header: bytes) -> None:
    client = ScramClient("pencil", binding=binding, supports_binding=offered)
    server = ScramServer("pencil", client.first())
    assert server.gs2 == header
    assert client.mechanism == ("SCRAM-SHA-256-PLUS" if binding else "SCRAM-SHA-256")
    if not client.server_first(server.first):
        client.derive()
    assert not client.verified
    client.server_final(server.final(client.final(), binding or b""))
    assert client.verified


def test_every_exchange_has_its_own_nonce() -> None:
    assert len({ScramClient("pencil").first() for _ in range(100)}) == 100


def test_the_second_login_derives_nothing() -> None:
    client, server = exchanged("never used elsewhere")
    assert not client.server_first(server.first)
    client.derive()
    before = scram.derivations
    client, server = exchanged("never used elsewhere")
    assert client.server_first(server.first)
    client.server_final(server.final(client.final()))
    assert client.verified and scram.derivations == before
    client, server = exchanged("never used elsewhere!")
    assert not client.server_first(server.first)


R = b"r=" + NONCE.encode()
S = b",s=" + base64.b64encode(SALT)


@pytest.mark.parametrize("first", [
    b"", b"r=", b"\xff\xfe", b"e=other-error",
    R + S + b",i=16",  # the nonce is ours alone
    b"r=other" + S + b",i=16", b"r=x" + NONCE.encode() + S + b",i=16", R[:-1] + b"xx" + S + b",i=16",
    R + b"x,s=,i=16", R + b"x,s=!!!!,i=16", R + b"x,s=QQ,i=16", R + b"x,s====,i=16",
    R + b"x" + S + b",i=0", R + b"x" + S + b",i=-1", R + b"x" + S + b",i=", R + b"x" + S + b",i=x",
    R + b"x" + S + b",i=016", R + b"x" + S + b",i=1" + b"0" * 30, R + b"x" + S + b",i=1.5",
    R + b"x" + S + "\uff0c\uff49=16".encode(), R + b"x" + S + ",i=\u0661\u0666".encode(),
    R + b"x" + S, R + b"x,i=16", S[1:] + b"," + R + b"x,i=16", R + b"x,i=16" + S,
    b"m=ext," + R + b"x" + S + b",i=16", R + b"x y" + S + b",i=16", R + b"x" + S + b",i=16\n",
    R + b"x" * 2000 + S + b",i=16", R + b"x,s=" + b"QUFB" * 1000 + b",i=16", R + b"x" + S + b",i=16," + b"x" * 9000,
])  # fmt: skip
def test_a_malformed_first_message(first: bytes) -> None:
    client = ScramClient("pencil", nonce=NONCE)
    client.first()
    with pytest.raises(ProtocolError, match="malformed SCRAM message"):
        client.server_first(first)


@given(st.binary(max_size=200))
def test_any_bytes_at_all(data: bytes) -> None:
    client = ScramClient("pencil", nonce=NONCE)
    client.first()
    with pytest.raises((ProtocolError, InterfaceError)):
        client.server_first(data)
    client, server = exchanged()
    client.server_first(server.first)
    client.derive()
    client.final()
    with pytest.raises((ProtocolError, InterfaceError)):
        client.server_final(data)
    assert not client.verified


def test_the_server_does_not_choose_our_work() -> None:
    for count, refused in ((100_000, False), (100_001, True), (2**31 - 1, True), (9_999_999_999, True)):
        client = ScramClient("pencil", nonce=NONCE)
        client.first()
        first = R + b"x" + S + f",i={count}".encode()
        before = scram.derivations
        if refused:
            with pytest.raises(InterfaceError, match=f"asks for {count} .* scram_max_iterations allows 100000"):
                client.server_first(first)
        else:
            client.server_first(first)
        assert scram.derivations == before
    client = ScramClient("pencil", nonce=NONCE, min_iterations=4096)
    client.first()
    with pytest.raises(InterfaceError, match="at least 4096 are required"):
        client.server_first(R + b"x" + S + b",i=4095")


@pytest.mark.parametrize("change", [
    lambda final: b"v=" + base64.b64encode(bytes(32)),
    lambda final: final[:-5] + (b"A" if final[-5:-4] != b"A" else b"B") + final[-4:],
    lambda final: b"v=" + base64.b64encode(base64.b64decode(final[2:])[:-1]),
    lambda final: b"v=AAAA",
])  # fmt: skip
def test_a_server_that_does_not_know_the_password(change: object) -> None:
    client, server = exchanged()
    client.server_first(server.first)
    client.derive()
    final = server.final(client.final())
    with pytest.raises(InterfaceError, match="does not know the password"):
        client.server_final(change(final))  # type: ignore[operator]
    assert not client.verified


@pytest.mark.parametrize("final", [b"", b"v=", b"v=!", b"x=AAAA", b"v=A", b"\xff", b" v=AAAA"])
def test_a_malformed_final_message(final: bytes) -> None:
    client, server = exchanged()
    client.server_first(server.first)
    client.derive()
    client.final()
    with pytest.raises(ProtocolError):
        client.server_final(final)
    assert not client.verified


def test_the_servers_own_error() -> None:
    client, server = exchanged()
    client.server_first(server.first)
    client.derive()
    client.final()
    with pytest.raises(InterfaceError, match="rejected the SCRAM exchange: invalid-proof"):
        client.server_final(b"e=invalid-proof")


@pytest.mark.parametrize("text, prepared", [
    ("", b""), ("secret", b"secret"), ("I\u00adX", b"IX"), ("\u00aa", b"a"), ("\u2168", b"IX"),
    ("a\u00a0b", b"a b"), ("\u0627\u0628", "\u0627\u0628".encode()),
    ("\u06271", "\u06271".encode()), ("x\u0007é", "x\u0007é".encode()),  # forbidden: as it is
    ("caf\udce9", b"caf\xe9"),  # not UTF-8 where it came from
])  # fmt: skip
def test_saslprep(text: str, prepared: bytes) -> None:
    assert saslprep(text) == prepared


def test_nothing_tells_the_password() -> None:
    client, server = exchanged("canary-in-the-mine")
    client.server_first(server.first)
    client.derive()
    assert "canary" not in repr(client)
    assert b"canary" not in b"".join([*scram._cache, *scram._cache.values()])
