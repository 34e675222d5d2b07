# SPDX-License-Identifier: MIT
"""Mutated server streams for the session.

A script of operations, the stream with which a server would answer it, some damage to that stream, and what must hold
all the same: feeding never raises; every operation is delivered exactly once, at the latest when the connection ends;
the session is dead or waits; it dies of a ProtocolError only; what it sends is whole messages; no operation gets a row
that came in another one's turn. The damage of one session in eight is none: there every result must be right.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from fastpg.codecs.codec import builtin_handle
from fastpg.codecs.registry import Registry
from fastpg.exceptions import (
    ConnectionDoesNotExistError,
    InterfaceError,
    PostgresError,
    ProtocolError,
    UnrepresentableValueError,
)
from fastpg.protocol.copy import CopyIn, CopyOut, IteratorSource, PushSource
from fastpg.protocol.oneshot import FirstExecute, OneShot
from fastpg.protocol.operation import CloseStatements, Execute, ExecuteMany, Prepare, SimpleQuery, StatementPlan
from fastpg.protocol.row import RowPlan, RowSink
from fastpg.protocol.session import Session
from fastpg.sinks.record import RecordSink, ValueSink
from tests import messages as m

#: How an operation may fail, whatever the server does.
FAILURES = (ProtocolError, InterfaceError, PostgresError, UnrepresentableValueError)
INT4, TEXT, MONEY = 23, 25, 790
COLUMNS = (("a", INT4), ("b", TEXT))
outcomes: Counter[str] = Counter()


def summary() -> str:
    """What became of the operations."""
    return ", ".join(f"{count} {name}" for name, count in outcomes.most_common())


class Found(Exception):
    """Something that must not happen."""


def statement(columns: tuple[tuple[str, int], ...] = COLUMNS) -> StatementPlan:
    described = tuple((name.encode(), 0, 0, oid, -1, -1, 0) for name, oid in columns)
    plan = RowPlan(described, tuple(builtin_handle(oid) for _, oid in columns)) if columns else None
    return StatementPlan("select", b"s1", (INT4,), (builtin_handle(INT4),), plan)


def plan_of(columns: tuple[Any, ...]) -> RowPlan:
    """A plan for whatever columns the server describes."""
    lookup = Registry().lookup_or_text
    return RowPlan(columns, tuple(lookup(column[3]) for column in columns))


def plan_in_text(columns: tuple[Any, ...]) -> RowPlan:
    """One whose rows are to come in text form, and so not as those of a guess do."""
    return RowPlan(columns, (Registry().lookup_or_text(MONEY),) * len(columns))


SELECT, INSERT, FLAWED = statement(), statement(()), statement((("a", 1082), ("b", 1114)))


class Waiter:
    """Remembers what it was given; being given anything twice is a finding."""

    def __init__(self) -> None:
        self.outcome: list[Any] = []

    def done(self) -> bool:
        return bool(self.outcome)

    def set_result(self, value: Any) -> None:
        if self.outcome:
            raise Found("delivered twice")
        self.outcome.append(value)

    set_exception = set_result


class Listener:
    def on_parameter(self, name: str, value: str) -> None: ...
    def on_notice(self, fields: dict[str, str]) -> None: ...
    def on_notification(self, pid: int, channel: bytes, payload: bytes) -> None: ...


class Step:
    """One operation, the messages that answer it, and its right result."""

    def __init__(self, number: int, dice: random.Random) -> None:
        self.number = number
        self.dice = dice
        self.waiter = Waiter()
        self.given: list[bytes] = []
        self.expected: Any = None
        self.tags = [number * 100 + i for i in range(dice.choice((0, 1, 2, 7)))]
        self.kind = dice.choice(KINDS)
        self.operation, self.answer = getattr(self, self.kind)()
        if dice.randrange(8) == 0 and self.kind != "flawed":
            # It fails on the way.
            self.answer = [*self.answer[: dice.randrange(len(self.answer))], m.error("22012", "no", R="x")]
            self.expected = PostgresError
        self.answer.append(m.ready(dice.choice("ITE")))

    def rows(self) -> list[bytes]:
        return [m.data_row(struct.pack("!i", tag), str(tag).encode()) for tag in self.tags]

    def done(self) -> bytes:
        return m.command_complete(f"SELECT {len(self.tags)}")

    def simple(self) -> tuple[Any, list[bytes]]:
        self.expected = f"SELECT {len(self.tags)}"
        return SimpleQuery("select", self.waiter), [m.row_description(*COLUMNS), *self.rows(), self.done()]

    def prepare(self) -> tuple[Any, list[bytes]]:
        described = self.dice.choice((m.no_data(), m.row_description(*COLUMNS)))
        return Prepare(b"s1", "select", self.waiter), [m.parse_complete(), m.parameter_description(INT4), described]

    def execute(self) -> tuple[Any, list[bytes]]:
        self.expected = [(tag, str(tag)) for tag in self.tags]
        answer = [m.bind_complete(), *self.rows(), self.done()]
        return Execute(SELECT, (7,), RecordSink(None), self.waiter, self.dice.choice((0, 1, 9))), answer

    def one_shot(self) -> tuple[Any, list[bytes]]:
        self.expected = [(tag, str(tag)) for tag in self.tags]
        around = m.close_complete()
        answer = [around, m.parse_complete(), m.bind_complete(), *self.rows(), self.done(), around]
        return OneShot(SELECT, (7,), RecordSink(None), self.waiter), answer

    def first(self) -> tuple[Any, list[bytes]]:
        self.expected = [(tag, str(tag)) for tag in self.tags]
        described = [m.parse_complete(), m.parameter_description(INT4), m.row_description(*COLUMNS)]
        replan = self.dice.choice((plan_of, plan_in_text, lambda columns: None))
        operation = FirstExecute(SELECT, (7,), RecordSink(None), replan, 0, self.waiter)
        return operation, [*described, m.bind_complete(), *self.rows(), self.done()]

    def value(self) -> tuple[Any, list[bytes]]:
        self.expected = self.tags[0] if self.tags else None
        return Execute(SELECT, (7,), ValueSink(0), self.waiter), [m.bind_complete(), *self.rows(), self.done()]

    def flawed(self) -> tuple[Any, list[bytes]]:
        # Legal values that Python does not have: the operation fails, the session lives.
        rows = [m.data_row(struct.pack("!i", 2**31 - 5), None) for _ in range(2)]
        self.expected = UnrepresentableValueError
        return Execute(FLAWED, (7,), RecordSink(None), self.waiter), [m.bind_complete(), *rows, self.done()]

    def portal(self) -> tuple[Any, list[bytes]]:
        return Execute(SELECT, (7,), RowSink(), self.waiter, 0, b"p", 1), [m.bind_complete()]

    def fetch(self) -> tuple[Any, list[bytes]]:
        self.expected = [(tag, str(tag)) for tag in self.tags]
        end = self.dice.choice((m.message("s"), self.done()))
        return Execute(SELECT, (), RecordSink(None), self.waiter, 5, b"p", 2), [*self.rows(), end]

    def many(self) -> tuple[Any, list[bytes]]:
        answer = [m.bind_complete(), m.command_complete("INSERT 0 1")] * 3
        return ExecuteMany(INSERT, [(1,), (2,), (3,)], RowSink(), self.waiter), answer

    def close(self) -> tuple[Any, list[bytes]]:
        return CloseStatements([b"s1", b"s2"], self.waiter), [m.close_complete()] * 2

    def copy_in(self) -> tuple[Any, list[bytes]]:
        source: Any
        if self.dice.randrange(2):
            source = IteratorSource([b"a\n", b"b\n" * 50])
        else:
            source = PushSource()
            source.push(b"a\n")
            source.end()
        self.expected = "COPY 2"
        return CopyIn("copy", source, self.waiter), [m.copy_in_response(), m.command_complete("COPY 2")]

    def copy_out(self) -> tuple[Any, list[bytes]]:
        data = [m.copy_data(str(tag).encode()) for tag in self.tags]

        def sink(chunk: bytes) -> bool:
            self.given.append(chunk)
            return self.dice.randrange(3) == 0

        self.expected = "COPY 2"
        answer = [m.copy_out_response(), *data, m.copy_done(), m.command_complete("COPY 2")]
        return CopyOut("copy", sink, self.waiter), answer

    def received(self) -> set[int]:
        """The tags of the rows that it got."""
        tags = set()
        for chunk in self.given:
            if chunk.isdigit():
                tags.add(int(chunk))
        outcome = self.waiter.outcome[0] if self.waiter.outcome else None
        if isinstance(outcome, list):
            for row in outcome:
                if row[0] is not None:
                    tags.add(row[0])
                if row[1] is not None and str(row[0]) != row[1]:
                    raise Found(f"a row of parts of two: {row!r}")
        elif self.kind == "value" and isinstance(outcome, int):
            tags.add(outcome)
        return tags

    def check_right(self) -> None:
        """After an undamaged stream."""
        (outcome,) = self.waiter.outcome
        if isinstance(self.expected, type):
            if not isinstance(outcome, self.expected):
                raise Found(f"{self.kind} gave {outcome!r}, not {self.expected.__name__}")
        elif isinstance(outcome, BaseException) or (self.expected is not None and outcome != self.expected):
            raise Found(f"{self.kind} gave {outcome!r}, not {self.expected!r}")


KINDS = ("simple", "prepare", "execute", "one_shot", "first", "value", "flawed", "portal", "fetch", "many", "close",
         "copy_in", "copy_out")  # fmt: skip
ANYTIME = (
    m.notice(), m.parameter_status("a", "b"), m.notification(), m.parameter_status("client_encoding", "LATIN1"),
    m.message("N", b"SWARNING\0C01000\0Mx\0\0"),
)  # fmt: skip
ANYTHING = (
    *ANYTIME, m.ready(), m.error("57P01", "bye", "FATAL"), m.error(), m.parse_complete(), m.bind_complete(),
    m.close_complete(), m.no_data(), m.parameter_description(INT4), m.parameter_description(),
    m.row_description(*COLUMNS), m.row_description(), m.data_row(), m.data_row(None, None),
    m.data_row(b"\0\0\0\1", b"\xff"), m.data_row(b"\0", b""), m.copy_in_response(), m.copy_out_response(),
    m.copy_data(b"x"), m.copy_done(), m.command_complete("COPY 1"), m.message("C", b"\xff\xfe\0"), m.message("I"),
    m.message("s"), m.message("W", b"\0\0\0"), m.message("V", b"\0\0\0\0"), m.message("R", b"\0\0\0\0"),
    m.message("K", b"\0" * 8), m.message("v", b"\0" * 8), m.message("E", b"\0"), m.message("S", b"\xff\0\xff\0"),
    m.message("!"), m.message("A", b"\0\0\0\1\0\0"),
)  # fmt: skip
LENGTHS = (0, 1, 3, 4, 5, 6, 29_999, 30_001, 2**20 + 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 2, 2**31 + 4)


def rearranged(stream: list[bytes], dice: random.Random) -> list[bytes]:
    """Whole messages dropped, doubled, swapped, put in."""
    stream = list(stream)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(stream) or 1)
        roll = dice.randrange(5)
        if not stream or roll == 4:
            stream.insert(at, dice.choice(ANYTHING))
        elif roll == 0:
            del stream[at]
        elif roll == 1:
            stream.insert(at, stream[at])
        elif roll == 2:
            other = dice.randrange(len(stream))
            stream[at], stream[other] = stream[other], stream[at]
        else:
            stream[at : at + dice.randrange(4)] = []
    return stream


def damaged(stream: list[bytes], dice: random.Random) -> list[bytes]:
    """Bits flipped, lengths that lie, bytes lost and put in, an end too early."""
    if not stream:
        return stream
    stream = list(stream)
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.randrange(len(stream))
        message = bytearray(stream[at])
        roll = dice.randrange(7)
        spot = dice.randrange(len(message) or 1)
        if not message or roll == 0:
            message += dice.randbytes(dice.randrange(1, 20))
        elif roll == 1:
            message[spot] ^= 1 << dice.randrange(8)
        elif roll == 2:
            length = dice.choice((*LENGTHS, len(message), len(message) - 2))
            message[1:5] = struct.pack("!I", length & 0xFFFFFFFF)
        elif roll == 3 and len(message) > 7:
            # A length or a count within.
            spot = dice.randrange(5, len(message) - 1)
            wide = dice.choice((2, 4))
            message[spot : spot + wide] = dice.choice(LENGTHS).to_bytes(4, "big")[-wide:]
        elif roll == 4:
            del message[spot : spot + dice.randrange(1, 6)]
        elif roll == 5:
            message[spot:spot] = dice.randbytes(dice.randrange(1, 6))
        else:
            # The body shorter or longer, and the length says so.
            body = bytes(message[5:])
            body = body[: dice.randrange(len(body) + 1)] if dice.randrange(2) else body + dice.randbytes(3)
            message[1:] = struct.pack("!i", len(body) + 4) + body
        stream[at] = bytes(message)
    if dice.randrange(6) == 0:
        whole = b"".join(stream)
        return [whole[: dice.randrange(len(whole) + 1)]]
    return stream


def turns(stream: list[bytes]) -> dict[int, set[int]]:
    """Tag of a row -> the numbers of the operations in whose turn it comes: as many as ReadyForQuery came before."""
    result: dict[int, set[int]] = {}
    turn = 0
    for message in stream:
        if message[:1] == b"Z":
            turn += 1
        elif message[:1] == b"D" and len(message) > 15:
            result.setdefault(int.from_bytes(message[11:15], "big"), set()).add(turn)
        elif message[:1] == b"d" and message[5:].isdigit():
            result.setdefault(int(message[5:]), set()).add(turn)
    return result


def check_framing(sent: bytes) -> None:
    while sent:
        length = int.from_bytes(sent[1:5], "big")
        if len(sent) < 5 or length < 4 or length + 1 > len(sent) or sent[:1] not in b"QPBEDSCHcdfX":
            raise Found(f"sent {sent[:40]!r}, which is no message")
        sent = sent[length + 1 :]


class Play:
    """One session."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.session = Session(None, 73, Listener())
        self.sent = b""
        self.steps: list[Step] = []

    def take(self) -> None:
        self.sent += self.session.take_output() or b""

    def feed(self, data: bytes) -> None:
        session, at = self.session, 0
        while at < len(data):
            n = len(data) if self.dice.randrange(3) else self.dice.randrange(1, 30)
            session.feed(data[at : at + n])
            at += n
            for _ in range(10_000):
                if not session.paused:
                    break
                session.resume_parsing()
            else:
                raise Found("paused without end")
            if self.dice.randrange(3):
                self.take()

    def run(self) -> None:
        dice, session = self.dice, self.session
        clean = dice.randrange(8) == 0
        self.steps = [Step(number, dice) for number in range(dice.choice((1, 2, 2, 3, 5)))]
        for step in self.steps:
            session.submit(step.operation)
        stream = [message for step in self.steps for message in step.answer]
        for _ in range(dice.choice((0, 0, 1, 3))):
            stream.insert(dice.randrange(len(stream) + 1), dice.choice(ANYTIME))
        if clean:
            for message in stream:
                self.feed(message)
            self.take()
            for step in self.steps:
                step.check_right()
            if session.failure is not None or session.pending or session.owed:
                raise Found(f"after an undamaged stream: {session.failure!r}, {session.pending} pending")
        else:
            self.run_damaged(stream)
        self.end()

    def run_damaged(self, stream: list[bytes]) -> None:
        dice = self.dice
        whole = dice.randrange(3) == 0
        stream = rearranged(stream, dice) if whole or dice.randrange(4) == 0 else stream
        allowed = turns(stream) if whole else None
        stream = stream if whole else damaged(stream, dice)
        if dice.randrange(8) == 0:
            step = dice.choice(self.steps)
            if not step.operation.done:
                step.waiter = Waiter()
                step.operation.abandon(step.waiter)
        if dice.randrange(2):
            self.feed(b"".join(stream))
        else:
            for message in stream:
                self.feed(message)
        self.take()
        if allowed is not None:
            for step in self.steps:
                for tag in step.received():
                    if step.number not in allowed.get(tag, ()) and tag < len(self.steps) * 100:
                        raise Found(f"operation {step.number} got row {tag}, which came in turn {allowed.get(tag)}")

    def end(self) -> None:
        session = self.session
        if session.failure is None and session.pending == 0:
            session.feed(m.ready())
            # The rest of a message may have come before it: then it is the body of that.
            if session.failure is not None and not isinstance(session.failure, ProtocolError):
                raise Found(f"a surplus ReadyForQuery gave {session.failure!r}")
            outcomes["surplus refused" if session.failure is not None else "in the middle of a message"] += 1
        dead = session.failure
        if dead is not None and not isinstance(dead, ProtocolError):
            raise Found(f"the session died of {type(dead).__name__}: {dead}")
        session.abort(ConnectionDoesNotExistError("end"))
        if session.pending or session.failure is None:
            raise Found("the end of the connection is not its end")
        for step in self.steps:
            if not step.waiter.outcome:
                raise Found(f"{step.kind} was never delivered")
            outcome = step.waiter.outcome[0]
            if isinstance(outcome, BaseException) and not isinstance(outcome, FAILURES):
                raise Found(f"{step.kind} failed with {type(outcome).__name__}: {outcome}")
            outcomes[type(outcome).__name__ if isinstance(outcome, BaseException) else "results"] += 1
        session.feed(m.ready())
        self.take()
        check_framing(self.sent)


def run(seed: int, count: int, begin: Callable[[str], None]) -> Iterator[tuple[int, str]]:
    """Play that many sessions; yields (number, what is wrong or "")."""
    outcomes.clear()
    for number in range(1, count + 1):
        if number % 500 == 1:
            begin(f"sessions, from number {number} of seed {seed}")
        yield number, play(seed, number)


def play(seed: int, number: int) -> str:
    """One session; what is wrong, or ""."""
    try:
        Play(random.Random(f"{seed} session {number}")).run()
    except Found as found:
        return f"session {number} of seed {seed}: {found}"
    except Exception as error:
        return f"session {number} of seed {seed}: {type(error).__name__}: {error}"
    return ""
