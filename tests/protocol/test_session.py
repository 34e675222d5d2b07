# SPDX-License-Identifier: MIT
"""The session without a server: framing, the FIFO, errors, hostile bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpg import exceptions
from fastpg.codecs.codec import builtin_handle
from fastpg.protocol.copy import CopyIn, CopyOut, IteratorSource, PushSource
from fastpg.protocol.oneshot import FirstExecute
from fastpg.protocol.operation import CloseStatements, Execute, ExecuteMany, Prepare, SimpleQuery, StatementPlan
from fastpg.protocol.row import RowPlan, RowSink
from fastpg.protocol.session import Session
from fastpg.sinks.record import RecordSink, ValueSink
from tests import messages as m


class Recorder:
    """A waiter that remembers."""

    def __init__(self) -> None:
        self.outcome: list[Any] = []

    def done(self) -> bool:
        return bool(self.outcome)

    def set_result(self, value: Any) -> None:
        assert not self.outcome
        self.outcome.append(value)

    def set_exception(self, error: BaseException) -> None:
        assert not self.outcome
        self.outcome.append(error)

    @property
    def value(self) -> Any:
        assert len(self.outcome) == 1, "not delivered"
        if isinstance(self.outcome[0], BaseException):
            raise self.outcome[0]
        return self.outcome[0]


class Listener:
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def on_parameter(self, *args: Any) -> None:
        self.events.append(("parameter", *args))

    def on_notice(self, *args: Any) -> None:
        self.events.append(("notice", *args))

    def on_notification(self, *args: Any) -> None:
        self.events.append(("notification", *args))


INT4, TEXT = 23, 25


def statement(parameters: tuple[int, ...] = (INT4,), columns: tuple[tuple[str, int], ...] = (("a", INT4), ("b", TEXT)),
              name: bytes = b"s1") -> StatementPlan:  # fmt: skip
    described = tuple((c.encode(), 0, 0, oid, -1, -1, 0) for c, oid in columns)
    plan = RowPlan(described, tuple(builtin_handle(oid) for _, oid in columns)) if columns else None
    return StatementPlan("select", name, parameters, tuple(builtin_handle(oid) for oid in parameters), plan)


def i4(value: int) -> bytes:
    return struct.pack("!i", value)


def split_messages(data: bytes) -> list[tuple[str, bytes]]:
    """Frontend bytes as (type, body)."""
    result = []
    while data:
        (length,) = struct.unpack("!i", data[1:5])
        result.append((chr(data[0]), data[5 : length + 1]))
        assert len(data) >= length + 1
        data = data[length + 1 :]
    return result


def test_simple_query_bytes_and_status() -> None:
    session, waiter = Session(), Recorder()
    session.submit(SimpleQuery("select 1", waiter))
    assert session.take_output() == b"Q\0\0\0\x0dselect 1\0"
    assert session.take_output() is None
    session.feed(m.row_description(("a", INT4)) + m.data_row(b"1") + m.command_complete("SELECT 1"))
    assert not waiter.done(), "the answer ends at ReadyForQuery"
    session.feed(m.ready("T"))
    assert waiter.value == "SELECT 1"
    assert session.tx_status == ord("T")
    assert session.pending == 0


def test_empty_query_gives_empty_status() -> None:
    session, waiter = Session(), Recorder()
    session.submit(SimpleQuery("", waiter))
    session.feed(m.message("I") + m.ready())
    assert waiter.value == ""


def test_prepare() -> None:
    session, waiter = Session(), Recorder()
    session.submit(Prepare(b"s1", "select $1", waiter))
    assert [tag for tag, _ in split_messages(session.take_output() or b"")] == ["P", "D", "S"]
    session.feed(m.parse_complete() + m.parameter_description(INT4) + m.row_description(("a", INT4)) + m.ready())
    oids, columns = waiter.value
    assert oids == (INT4,)
    assert columns[0][0] == b"a" and columns[0][3] == INT4


def test_execute_rows() -> None:
    session, waiter = Session(), Recorder()
    session.submit(Execute(statement(), (7,), RecordSink(None), waiter))
    sent = split_messages(session.take_output() or b"")
    assert [tag for tag, _ in sent] == ["B", "E", "S"]
    assert sent[0][1] == b"\0s1\0\0\1\0\1\0\1\0\0\0\4\0\0\0\7\0\1\0\1"
    rows = m.data_row(i4(1), b"x") + m.data_row(i4(2), None)
    session.feed(m.bind_complete() + rows + m.command_complete("SELECT 2") + m.ready())
    rows = waiter.value
    assert rows == [(1, "x"), (2, None)]
    assert rows[0]["a"] == 1 and rows[1]["b"] is None


def test_encode_error_leaves_no_byte_and_the_session_usable() -> None:
    session = Session()
    with pytest.raises(exceptions.DataError, match=r"invalid input for query argument \$1: 'x'"):
        session.submit(Execute(statement(), ("x",), RecordSink(None), Recorder()))
    assert session.take_output() is None
    assert session.pending == 0
    waiter = Recorder()
    session.submit(SimpleQuery("select 1", waiter))
    session.feed(m.command_complete("SELECT 1") + m.ready())
    assert waiter.value == "SELECT 1"


@pytest.mark.parametrize("args", [(), (1, 2)])
def test_wrong_number_of_arguments(args: tuple[int, ...]) -> None:
    with pytest.raises(exceptions.InterfaceError, match="the server expects 1 argument for this query"):
        Session().submit(Execute(statement(), args, RecordSink(None), Recorder()))


def test_nul_in_sql_is_refused_before_a_byte() -> None:
    session = Session()
    with pytest.raises(ValueError, match="NUL"):
        session.submit(SimpleQuery("select 1\0; drop", Recorder()))
    assert session.take_output() is None


def test_error_is_delivered_at_ready_and_the_next_operation_is_unharmed() -> None:
    session, first, second = Session(), Recorder(), Recorder()
    session.submit(Execute(statement(), (1,), RecordSink(None), first))
    session.submit(Execute(statement(), (2,), RecordSink(None), second))
    session.feed(m.error("22012", "division by zero"))
    assert not first.done()
    session.feed(m.ready())
    with pytest.raises(exceptions.DivisionByZeroError, match="division by zero"):
        _ = first.value
    session.feed(m.bind_complete() + m.data_row(i4(2), b"y") + m.command_complete("SELECT 1") + m.ready())
    assert second.value == [(2, "y")]


def test_pipeline_answers_go_to_their_own_operations() -> None:
    session = Session()
    waiters = [Recorder() for _ in range(50)]
    for number, waiter in enumerate(waiters):
        session.submit(Execute(statement(), (number,), ValueSink(), waiter))
    assert session.owed == 50
    for number in range(50):
        session.feed(
            m.bind_complete() + m.data_row(i4(number), b"") + m.command_complete("SELECT 1") + m.ready()
        )
    assert [waiter.value for waiter in waiters] == list(range(50))


def test_abandoned_operation_is_read_and_forgotten() -> None:
    session, lost, finished, second = Session(), Recorder(), Recorder(), Recorder()
    op = session.submit(Execute(statement(), (1,), RecordSink(None), lost))
    session.submit(Execute(statement(), (2,), ValueSink(), second))
    op.abandon(finished)
    session.feed(m.bind_complete() + m.data_row(i4(1), b"") + m.command_complete("SELECT 1") + m.ready())
    session.feed(m.bind_complete() + m.data_row(i4(2), b"") + m.command_complete("SELECT 1") + m.ready())
    assert not lost.done()
    assert finished.value is None
    assert second.value == 2


def test_operation_without_waiter() -> None:
    session, waiter = Session(), Recorder()
    session.submit(CloseStatements([b"a", b"b"]))
    session.submit(SimpleQuery("select 1", waiter))
    assert [tag for tag, _ in split_messages(session.take_output() or b"")] == ["C", "C", "S", "Q"]
    session.feed(m.close_complete() * 2 + m.ready() + m.command_complete("SELECT 1") + m.ready())
    assert waiter.value == "SELECT 1"


def test_execute_many_is_one_sync_and_collects_rows() -> None:
    session, waiter = Session(), Recorder()
    session.submit(ExecuteMany(statement(), [(1,), (2,)], RecordSink(None), waiter))
    assert [tag for tag, _ in split_messages(session.take_output() or b"")] == ["B", "E", "B", "E", "S"]
    for number in (1, 2):
        session.feed(m.bind_complete() + m.data_row(i4(number), b"") + m.command_complete("SELECT 1"))
    session.feed(m.ready())
    assert waiter.value == [(1, ""), (2, "")]


def test_execute_many_bad_first_elements_send_nothing() -> None:
    session = Session()
    with pytest.raises(exceptions.DataError, match=r"\$1 in element #1 of executemany\(\) sequence"):
        session.submit(ExecuteMany(statement(), [(1,), ("x",)], RecordSink(None), Recorder()))
    assert session.take_output() is None
    with pytest.raises(exceptions.DataError, match="element #0: expected a sequence, got int"):
        session.submit(ExecuteMany(statement(), [1], RecordSink(None), Recorder()))


def test_execute_many_failing_later_makes_the_server_undo_it() -> None:
    def source() -> Any:
        for _ in range(3000):
            yield ("x" * 1000,)
        raise RuntimeError("source failed")

    session, waiter = Session(), Recorder()
    session.submit(ExecuteMany(statement((TEXT,), ()), source(), RecordSink(None), waiter))
    sent = b""
    while (data := session.take_output()) is not None:
        sent += data
        session.feed(m.bind_complete() + m.command_complete("INSERT 0 1"))
    last = split_messages(sent)[-2:]
    assert last[0] == ("E", b"fastpg: executemany() was aborted\0\0\0\0\0")
    assert last[1][0] == "S"
    session.feed(m.error("34000", "portal does not exist") + m.ready())
    with pytest.raises(RuntimeError, match="source failed"):
        _ = waiter.value


def test_copy_from_stdin_as_a_query_is_refused() -> None:
    session, waiter = Session(), Recorder()
    session.submit(SimpleQuery("copy t from stdin", waiter))
    session.take_output()
    session.feed(m.copy_in_response())
    assert split_messages(session.take_output() or b"")[0][0] == "f"
    session.feed(m.error("57014", "COPY from stdin failed") + m.ready())
    with pytest.raises(exceptions.InterfaceError, match="copy_to_table"):
        _ = waiter.value
    assert session.failure is None


def test_copy_in_and_out() -> None:
    session, waiter = Session(), Recorder()
    session.submit(CopyIn("copy t from stdin", IteratorSource([b"1\n", b"2\n"]), waiter))
    session.take_output()
    session.feed(m.copy_in_response())
    assert split_messages(session.take_output() or b"") == [("d", b"1\n"), ("d", b"2\n"), ("c", b"")]
    session.feed(m.command_complete("COPY 2") + m.ready())
    assert waiter.value == "COPY 2"
    chunks: list[bytes] = []
    waiter = Recorder()
    session.submit(CopyOut("copy t to stdout", chunks.append, waiter))
    session.feed(m.copy_out_response() + m.copy_data(b"a") + m.copy_data(b"b") + m.copy_done())
    session.feed(m.command_complete("COPY 2") + m.ready())
    assert waiter.value == "COPY 2" and chunks == [b"a", b"b"]


def test_copy_in_from_a_pushing_producer_has_marks() -> None:
    drained: list[int] = []
    source = PushSource(lambda: drained.append(1))
    session, waiter = Session(), Recorder()
    session.submit(CopyIn("copy t from stdin", source, waiter))
    session.take_output()
    while not source.is_full:
        source.push(b"x" * 50_000)
    session.feed(m.copy_in_response())
    assert drained, "the producer is woken below the low-water mark"
    source.end(RuntimeError("producer failed"))
    sent = b""
    session.resume_parsing()
    while (data := session.take_output()) is not None:
        sent += data
        session.resume_parsing()
    assert split_messages(sent)[-1][0] == "f"
    session.feed(m.error("57014", "COPY from stdin failed") + m.ready())
    with pytest.raises(RuntimeError, match="producer failed"):
        _ = waiter.value


def test_sink_that_pauses() -> None:
    session, waiter = Session(), Recorder()
    chunks: list[bytes] = []
    session.submit(CopyOut("copy t to stdout", lambda data: chunks.append(data) or True, waiter))
    session.feed(m.copy_out_response() + m.copy_data(b"a") + m.copy_data(b"b") + m.copy_done())
    assert session.paused and chunks == [b"a"]
    session.feed(m.command_complete("COPY 2") + m.ready())
    assert chunks == [b"a"]
    while session.paused:
        session.resume_parsing()
    assert chunks == [b"a", b"b"] and waiter.value == "COPY 2"


# ------------------------------------------------------------ any way of splitting


def recorded() -> tuple[bytes, Callable[[Session], list[Recorder]]]:
    """A session of five operations: its backend bytes, and what queues the operations."""

    def start(session: Session) -> list[Recorder]:
        waiters = [Recorder() for _ in range(5)]
        session.submit(Prepare(b"s1", "select $1", waiters[0]))
        session.submit(Execute(statement(), (1,), RecordSink(None), waiters[1]))
        session.submit(Execute(statement(), (2,), RecordSink(None), waiters[2]))
        session.submit(SimpleQuery("begin", waiters[3]))
        session.submit(Execute(statement(), (3,), ValueSink("b"), waiters[4]))
        return waiters

    data = (
        m.parse_complete() + m.parameter_description(INT4) + m.row_description(("a", INT4), ("b", TEXT)) + m.ready()
        + m.bind_complete() + m.data_row(i4(1), b"one") + m.data_row(i4(2), "zwölf".encode())
        + m.command_complete("SELECT 2") + m.ready()
        + m.bind_complete() + m.error("22012", "division by zero") + m.ready()
        + m.command_complete("BEGIN") + m.ready("T")
        + m.bind_complete() + m.data_row(i4(3), b"three") + m.command_complete("SELECT 1") + m.ready("T")
    )  # fmt: skip
    return data, start


def outcomes(waiters: list[Recorder]) -> list[Any]:
    return [repr(waiter.outcome) for waiter in waiters]


def test_every_split_gives_the_same_results() -> None:
    data, start = recorded()
    session = Session()
    waiters = start(session)
    session.feed(data)
    expected = outcomes(waiters)
    assert all(waiter.done() for waiter in waiters)
    for at in range(1, len(data)):
        session = Session()
        waiters = start(session)
        session.feed(data[:at])
        session.feed(data[at:])
        assert outcomes(waiters) == expected, at
    session = Session()
    waiters = start(session)
    for byte in data:
        session.feed(bytes([byte]))
    assert outcomes(waiters) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 200), max_size=8))
def test_random_splits(cuts: list[int]) -> None:
    data, start = recorded()
    session = Session()
    waiters = start(session)
    for cut in cuts:
        session.feed(data[:cut])
        data = data[cut:]
    session.feed(data)
    assert all(waiter.done() for waiter in waiters)
    assert session.failure is None


def boundaries(data: bytes) -> list[int]:
    at, result = 0, [0]
    while at < len(data):
        at += 1 + struct.unpack("!i", data[at + 1 : at + 5])[0]
        result.append(at)
    return result


@pytest.mark.parametrize("extra", [m.notice(), m.parameter_status(), m.notification(), m.notice() * 1000])
def test_asynchronous_message_at_every_boundary(extra: bytes) -> None:
    data, start = recorded()
    session = Session()
    waiters = start(session)
    session.feed(data)
    expected = outcomes(waiters)
    for at in boundaries(data):
        listener = Listener()
        session = Session(None, ord("I"), listener)
        waiters = start(session)
        session.feed(data[:at] + extra + data[at:])
        assert outcomes(waiters) == expected
        assert len(listener.events) == len(boundaries(extra)) - 1


def test_every_truncation_then_loss_fails_every_waiter_once() -> None:
    data, start = recorded()
    for at in range(len(data)):
        session = Session()
        waiters = start(session)
        session.feed(data[:at])
        session.abort(exceptions.ConnectionDoesNotExistError("lost"))
        assert all(len(waiter.outcome) == 1 for waiter in waiters)
        assert session.pending == 0


def test_bit_flips_never_crash_nor_answer_twice() -> None:
    data, start = recorded()
    for position in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            session = Session()
            waiters = start(session)
            session.feed(bytes(broken))
            session.abort(exceptions.ConnectionDoesNotExistError("lost"))
            assert all(len(waiter.outcome) == 1 for waiter in waiters)


# -------------------------------------------------------------------- hostile peers


@pytest.mark.parametrize("tag", list("123ACDEGHIKNRSTVWZcdnstv") + ["?", "\0", "a"])
@pytest.mark.parametrize("length", [-(2**31), -(2 * 10**9), -1000, -5, -1, 0, 1, 2, 3])
def test_impossible_lengths(tag: str, length: int) -> None:
    session, waiter = Session(), Recorder()
    session.submit(Execute(statement(), (1,), RecordSink(None), waiter))
    session.feed(tag.encode() + struct.pack("!i", length))
    with pytest.raises(exceptions.ProtocolError):
        _ = waiter.value
    assert isinstance(session.failure, exceptions.ProtocolError)


@pytest.mark.parametrize("tag", list("123CIKRSZcnsv"))
def test_long_messages_are_refused_by_their_header(tag: str) -> None:
    session = Session()
    session.feed(tag.encode() + struct.pack("!i", 30001))
    assert isinstance(session.failure, exceptions.ProtocolError)


@pytest.mark.parametrize(
    "data",
    [
        m.ready(),
        m.data_row(i4(1), b"x"),
        m.command_complete("SELECT 1"),
        m.bind_complete(),
        m.row_description(("a", INT4)),
        m.message("R", i4(0)),
        m.message("K", i4(1) + i4(2)),
        m.copy_in_response(),
        b"HTTP/1.1 400 Bad Request",
    ],
)
def test_unexpected_messages_end_an_idle_session(data: bytes) -> None:
    session = Session()
    session.feed(data)
    assert isinstance(session.failure, exceptions.ProtocolError)
    with pytest.raises(exceptions.InterfaceError, match="connection is closed") as caught:
        session.submit(SimpleQuery("select 1"))
    assert caught.value.fastpg.outcome == "not_sent" and caught.value.__cause__ is session.failure


def test_surplus_ready_never_answers_the_next_query() -> None:
    session, first, second = Session(), Recorder(), Recorder()
    session.submit(SimpleQuery("a", first))
    session.feed(m.command_complete("SELECT 1") + m.ready() + m.ready())
    assert first.value == "SELECT 1"
    with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
        session.submit(SimpleQuery("b", second))


@pytest.mark.parametrize(
    "row",
    [
        m.data_row(i4(1)),
        m.data_row(i4(1), b"x", b"y"),
        m.data_row(),
        m.data_row(b"\0\0\1", b"x"),
        m.message("D", b""),
        m.message("D", b"\0"),
        m.message("D", b"\0\2\0\0"),
        m.message("D", b"\0\2" + i4(-2) + i4(-1)),
        m.message("D", b"\0\2" + i4(4) + i4(1) + i4(100) + b"x"),
        m.message("D", b"\0\2" + i4(-(2**31)) + i4(-1)),
        m.data_row(i4(1), b"x")[:1] + struct.pack("!i", 4 + 2 + 8 + 5 + 1) + m.data_row(i4(1), b"x")[5:] + b"!",
    ],
)
@pytest.mark.parametrize("sink", [RecordSink, ValueSink])
def test_malformed_rows(row: bytes, sink: Callable[..., RowSink]) -> None:
    session, waiter = Session(), Recorder()
    session.submit(Execute(statement(), (1,), sink(0), waiter) if sink is ValueSink else
                   Execute(statement(), (1,), sink(None), waiter))  # fmt: skip
    session.feed(m.bind_complete() + row + m.command_complete("SELECT 1") + m.ready())
    with pytest.raises(exceptions.ProtocolError):
        _ = waiter.value


def test_idle_error_is_remembered_as_the_reason() -> None:
    session = Session()
    session.feed(m.error("57P01", "terminating connection", "FATAL"))
    assert isinstance(session.last_error, exceptions.AdminShutdownError)
    assert session.failure is None


def test_a_claimed_length_allocates_nothing() -> None:
    session, waiter = Session(), Recorder()
    session.submit(Execute(statement(), (1,), RecordSink(None), waiter))
    session.feed(m.bind_complete() + b"D" + struct.pack("!i", 0x3FFFFFFE) + b"\0\2")
    assert session.failure is None
    session.abort(exceptions.ConnectionDoesNotExistError("lost"))


def test_large_messages_and_memory_of_the_buffer() -> None:
    session, waiter = Session(), Recorder()
    session.submit(Execute(statement(), (1,), RecordSink(None), waiter))
    big = b"x" * 3_000_000
    session.feed(m.bind_complete() + m.data_row(i4(1), big) + m.command_complete("SELECT 1") + m.ready())
    assert waiter.value[0]["b"] == big.decode()


def test_max_result_bytes() -> None:
    session, waiter = Session(), Recorder()
    session.max_result_bytes = 1000
    session.submit(Execute(statement(), (1,), RecordSink(None), waiter))
    session.feed(m.bind_complete() + m.data_row(i4(1), b"x" * 1000))
    with pytest.raises(exceptions.ProtocolError, match="max_result_bytes"):
        _ = waiter.value


def test_statistics_and_clock() -> None:
    session = Session()
    now = iter(range(100))
    finished: list[Any] = []
    session.clock = lambda: next(now)
    session.statistics = finished.append
    op = session.submit(SimpleQuery("select 1", Recorder()))
    session.feed(m.command_complete("SELECT 1") + m.ready())
    assert finished == [op] and op.queued_at == 0 and op.finished_at == 1 and op.serial == 1


# ----------------------------------------------------------- a guess that is checked

AB = (("a", INT4), ("b", TEXT))
PARSED = m.parse_complete() + m.parameter_description(INT4)
ANSWER = m.bind_complete() + m.data_row(i4(1), b"x") + m.command_complete("SELECT 1") + m.ready()


def plan_of(columns: Any) -> RowPlan:
    return RowPlan(columns, tuple(builtin_handle(column[3]) for column in columns))


def first_execute(replan: Any = plan_of) -> tuple[Session, Any, Recorder]:
    session, waiter = Session(), Recorder()
    operation = FirstExecute(statement(), (1,), RecordSink(None), replan, 0, waiter)
    session.submit(operation)
    sent = split_messages(session.take_output() or b"")
    assert [tag for tag, _ in sent] == ["P", "D", "B", "E", "S"]
    assert sent[0][1] == b"s1\0select\0\0\1" + i4(INT4), "the types that the arguments are encoded as"
    return session, operation, waiter


def test_first_execute() -> None:
    session, operation, waiter = first_execute()
    session.feed(PARSED + m.row_description(*AB) + ANSWER)
    assert waiter.value == [(1, "x")] and operation.parsed and operation.bound and not operation.misread


def test_first_execute_of_other_rows() -> None:
    session, operation, waiter = first_execute(plan_of)
    answer = m.bind_complete() + m.data_row(b"y") + m.command_complete("SELECT 1") + m.ready()
    session.feed(PARSED + m.row_description(("z", TEXT)) + answer)
    assert waiter.value == [("y",)] and waiter.value[0]["z"] == "y"
    assert operation.statement.plan.names == ("z",)


@pytest.mark.parametrize("replan", [plan_of, lambda columns: None])
def test_first_execute_of_rows_that_are_kept(replan: Any) -> None:
    # Asked for in binary, and money has only a text form; or nothing is known of the type.
    session, operation, waiter = first_execute(replan)
    session.feed(PARSED + m.row_description(("z", 790)) + ANSWER)
    assert waiter.value == [] and operation.misread and session.pending == 0
    assert operation.kept == [m.data_row(i4(1), b"x")] and [column[0] for column in operation.columns] == [b"z"]
    read = StatementPlan("select", b"s1", (INT4,), (builtin_handle(INT4),), plan_of(operation.columns))
    assert operation.read(read, [m.data_row(b"$1") + m.data_row(None)]) == [("$1",), (None,)]
    assert operation.statement is read


def test_first_execute_keeps_no_rows_that_nobody_reads() -> None:
    session = Session()
    operation = FirstExecute(statement(), (1,), RecordSink(None, keep=False), lambda columns: None, 0, Recorder())
    session.submit(operation)
    session.take_output()
    session.feed(PARSED + m.row_description(("z", 790)) + ANSWER)
    assert operation.misread and operation.kept == [] and operation.status == b"SELECT 1"


@pytest.mark.parametrize(
    "wrong",
    [
        ANSWER, PARSED + ANSWER, m.row_description(*AB), m.parse_complete() + m.parse_complete(), m.no_data(),
        PARSED + m.parameter_description(INT4) + m.row_description(*AB) + ANSWER,
        m.parse_complete() + m.row_description(*AB) + ANSWER, m.bind_complete(), PARSED + m.bind_complete(),
        PARSED + m.row_description(*AB) + m.row_description(*AB), PARSED + m.row_description(*AB) + m.ready(),
        PARSED + m.row_description(*AB) + m.data_row(i4(1), b"x"), PARSED + m.no_data() + ANSWER,
        PARSED + m.row_description(*AB) + m.command_complete("SELECT 1"),
    ],
)  # fmt: skip
def test_first_execute_answered_out_of_order(wrong: bytes) -> None:
    session, _, waiter = first_execute()
    session.feed(wrong)
    with pytest.raises(exceptions.ProtocolError):
        _ = waiter.value


@pytest.mark.parametrize(
    "operation",
    [
        lambda waiter: Execute(statement(), (1,), RecordSink(None), waiter),
        lambda waiter: Execute(statement(), (1,), RecordSink(None), waiter, 0, b"c", 1),
        lambda waiter: ExecuteMany(statement(), [(1,), (2,)], RecordSink(None), waiter),
        lambda waiter: SimpleQuery("SELECT 1", waiter),
    ],
)
def test_no_answer_is_no_empty_result(operation: Callable[[Any], Any]) -> None:
    session, waiter = Session(), Recorder()
    session.submit(operation(waiter))
    session.take_output()
    session.feed(m.ready())
    with pytest.raises(exceptions.ProtocolError, match="did not answer"):
        _ = waiter.value
BOUND, ROW, DONE = m.bind_complete(), m.data_row(i4(1), b"x"), m.command_complete("SELECT 1")
MORE = m.message("s")


@pytest.mark.parametrize(
    "answer",
    [
        ROW, DONE, MORE, m.parse_complete() + BOUND, BOUND + BOUND, BOUND + m.parse_complete(), BOUND + DONE + DONE,
        BOUND + DONE + ROW, BOUND + DONE + BOUND, BOUND + MORE, BOUND + DONE + MORE, BOUND + DONE + m.message("I"),
        BOUND + DONE + m.copy_out_response(),
    ],
)  # fmt: skip
def test_execute_answered_out_of_order(answer: bytes) -> None:
    session, waiter = Session(), Recorder()
    session.submit(Execute(statement(), (1,), RecordSink(None), waiter))
    session.feed(answer)
    with pytest.raises(exceptions.ProtocolError, match="unexpected"):
        _ = waiter.value


@pytest.mark.parametrize("answer", [BOUND, m.parse_complete() + m.parse_complete(), m.parse_complete() + DONE])
def test_a_statement_that_is_parsed_again_answered_out_of_order(answer: bytes) -> None:
    for operation in (Execute, ExecuteMany):
        session, waiter = Session(), Recorder()
        args: Any = (1,) if operation is Execute else [(1,)]
        session.submit(operation(statement(name=b""), args, RecordSink(None), waiter))
        session.feed(answer)
        with pytest.raises(exceptions.ProtocolError, match="unexpected"):
            _ = waiter.value


@pytest.mark.parametrize(("step", "answer"), [(1, BOUND + DONE), (1, BOUND + ROW), (2, BOUND), (2, MORE + ROW)])
def test_a_portal_answered_out_of_order(step: int, answer: bytes) -> None:
    session, waiter = Session(), Recorder()
    session.submit(Execute(statement(), (1,), RecordSink(None), waiter, 2, b"c", step))
    session.feed(answer)
    with pytest.raises(exceptions.ProtocolError, match="unexpected"):
        _ = waiter.value


@pytest.mark.parametrize("columns", [(("a", INT4), ("b", TEXT)), ()], ids=["rows", "no rows"])
@pytest.mark.parametrize(
    "answer", [ROW, DONE, BOUND + BOUND, BOUND + DONE + ROW, BOUND + DONE + DONE, BOUND + m.parse_complete()]
)
def test_execute_many_answered_out_of_order(answer: bytes, columns: tuple[tuple[str, int], ...]) -> None:
    session, waiter = Session(), Recorder()
    session.submit(ExecuteMany(statement(columns=columns), [(1,), (2,)], RecordSink(None), waiter))
    session.feed(answer)
    with pytest.raises(exceptions.ProtocolError, match="unexpected"):
        _ = waiter.value


def test_execute_many_has_rows_for_a_statement_without() -> None:
    session, waiter = Session(), Recorder()
    session.submit(ExecuteMany(statement(columns=()), [(1,), (2,)], RecordSink(None), waiter))
    session.feed(BOUND + ROW)
    with pytest.raises(exceptions.ProtocolError, match="unexpected DataRow"):
        _ = waiter.value


@pytest.mark.parametrize(
    "answer",
    [
        m.parameter_description(INT4), m.parse_complete() * 2, PARSED, PARSED + m.parameter_description(INT4),
        PARSED + m.no_data() * 2, PARSED + m.row_description(*AB) + m.no_data(),
        PARSED + m.no_data() + m.row_description(*AB),
    ],
)  # fmt: skip
def test_prepare_answered_out_of_order(answer: bytes) -> None:
    session, waiter = Session(), Recorder()
    session.submit(Prepare(b"s1", "select", waiter))
    session.feed(answer + m.ready())
    with pytest.raises(exceptions.ProtocolError):
        _ = waiter.value


@pytest.mark.parametrize("operation", [
    lambda waiter: SimpleQuery("select", waiter),
    lambda waiter: Execute(statement(), (1,), RecordSink(None), waiter),
    lambda waiter: ExecuteMany(statement(columns=()), [(1,)], RowSink(), waiter),
    lambda waiter: CopyIn("copy", IteratorSource([]), waiter),
    lambda waiter: CopyOut("copy", lambda data: None, waiter),
], ids=["simple", "execute", "many", "copy in", "copy out"])  # fmt: skip
def test_a_status_that_is_no_text(operation: Callable[[Recorder], Any]) -> None:
    session, waiter = Session(), Recorder()
    session.submit(operation(waiter))
    session.feed(m.message("C", b"\xff\xfe\0") + m.ready())
    assert isinstance(session.failure, exceptions.ProtocolError)
    with pytest.raises(exceptions.ProtocolError, match="CommandComplete"):
        assert waiter.value


@pytest.mark.parametrize("how", ["index", "float"])
def test_arguments_that_change_while_they_are_encoded(how: str) -> None:
    class Shrinking:
        def __index__(self) -> int:
            arguments.clear()
            return 1

        def __float__(self) -> float:
            arguments.clear()
            return 1.0

    oid = INT4 if how == "index" else 701
    session, waiter = Session(), Recorder()
    arguments: list[Any] = [Shrinking(), 1, 2]
    operation = ExecuteMany(statement((oid, oid, oid), ()), [arguments], RowSink(), waiter)
    with pytest.raises(exceptions.DataError, match=r"query argument \$2 in element #0"):
        session.submit(operation)
    assert session.take_output() is None and session.pending == 0
