# SPDX-License-Identifier: MIT
"""Mutated start-ups for the handshake.

It may go on, wait or refuse with an error of its own; it must never let a server in that has not proved, where SCRAM is
required, that it knows the password.
"""

from __future__ import annotations

import functools
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from fastpg import dsn
from fastpg.exceptions import InterfaceError, PostgresError, ProtocolError
from fastpg.protocol.auth import Deferred, Handshake
from tests import messages as m
from tests.protocol.test_scram import ScramServer
from tools.fuzz.sessions import ANYTHING, damaged

NONCE = "rOprNGfwEbeRWgbNEkqO"
PASSWORD = "pencil"
outcomes: Counter[str] = Counter()


def summary() -> str:
    """What became of them."""
    return ", ".join(f"{count} {name}" for name, count in outcomes.most_common())


def auth(code: int, data: bytes = b"") -> bytes:
    return m.message("R", struct.pack("!i", code) + data)


@functools.cache
def params(**given: Any) -> Any:
    return dsn.parse(None, host="h", user="u", database="d", **given)


def client(**given: Any) -> Handshake:
    handshake = Handshake(params(**given), PASSWORD, tls=True, nonce=NONCE)
    handshake.start()
    return handshake


@functools.cache
def scram() -> tuple[bytes, ...]:
    """The server's side of an exchange, which a fixed nonce makes the same each time."""
    handshake = client()
    offer = auth(10, b"SCRAM-SHA-256\0\0")
    first = handshake.receive(offer)
    assert isinstance(first, bytes)
    server = ScramServer(PASSWORD, first[5:].split(b"\0", 1)[1][4:])
    challenge = auth(11, server.first)
    answer = handshake.receive(challenge)
    assert isinstance(answer, bytes)
    return offer, challenge, auth(12, server.final(answer[5:]))


END = (auth(0), m.parameter_status("server_version", "15.1"), m.message("K", struct.pack("!ii", 42, 4711)), m.ready())
SCRIPTS: dict[str, Callable[[], tuple[bytes, ...]]] = {
    "scram": lambda: (*scram(), *END),
    "trust": lambda: END,
    "password": lambda: (auth(3), *END),
    "md5": lambda: (auth(5, b"salt"), *END),
    "negotiated": lambda: (m.message("v", struct.pack("!ii", 0, 0)), *END),
    "refused": lambda: (m.notice(), m.error("28P01", "no", "FATAL")),
}


def play(seed: int, number: int) -> str:
    """One start-up; what is wrong, or ""."""
    dice = random.Random(f"{seed} start-up {number}")
    name = dice.choice(["scram", *SCRIPTS])
    given: dict[str, Any] = {"require_auth": "scram-sha-256"} if name == "scram" else {}
    handshake = client(**given)
    stream = list(SCRIPTS[name]())
    clean = dice.randrange(16) == 0
    if not clean:
        if dice.randrange(3) == 0:
            at = dice.randrange(len(stream))
            stream[at : at + dice.randrange(2)] = [dice.choice((*ANYTHING, *scram(), *END))] * dice.randrange(3)
        if dice.randrange(4):
            stream = damaged(stream, dice)
    data = b"".join(stream)
    at = 0
    try:
        while at < len(data):
            n = len(data) if dice.randrange(2) else dice.randrange(1, 40)
            if isinstance(handshake.receive(data[at : at + n]), Deferred):
                outcomes["long work"] += 1
                break
            at += n
        outcomes["let in" if handshake.done else "waiting"] += 1
    except (ProtocolError, InterfaceError, PostgresError) as error:
        outcomes[type(error).__name__] += 1
        if clean and name != "refused":
            return f"start-up {number} of seed {seed}: an honest {name} gave {error!r}"
    except Exception as error:
        return f"start-up {number} of seed {seed}, {name}: {type(error).__name__}: {error}"
    if clean and name != "refused" and not handshake.done:
        return f"start-up {number} of seed {seed}: an honest {name} was not let in"
    exchange = handshake._scram
    if name == "scram" and (handshake.done or handshake.authenticated) and (exchange is None or not exchange.verified):
        return f"start-up {number} of seed {seed}: let in a server that proved nothing"
    return ""


def run(seed: int, count: int, begin: Callable[[str], None]) -> Iterator[tuple[int, str]]:
    """Play that many start-ups; yields (number, what is wrong or "")."""
    outcomes.clear()
    for number in range(1, count + 1):
        if number % 500 == 1:
            begin(f"start-ups, from number {number} of seed {seed}")
        yield number, play(seed, number)
