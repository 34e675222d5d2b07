# SPDX-License-Identifier: MIT
"""COPY without a server: every order of messages, sources, sinks, records in binary."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpg import exceptions
from fastpg.codecs.codec import builtin_handle
from fastpg.codecs.registry import Registry
from fastpg.protocol.copy import BufferSink, CopyIn, CopyOut, IteratorSource, PushSource
from fastpg.protocol.copy_records import RecordEncoder, RecordSource
from fastpg.protocol.operation import SimpleQuery
from fastpg.protocol.row import RowPlan
from fastpg.protocol.session import Session
from tests import messages as m
from tests.protocol.test_session import Recorder, split_messages

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
FAILED = m.error("57014", "COPY from stdin failed")


def begin(source: Any) -> tuple[Session, CopyIn, Recorder]:
    session, waiter = Session(), Recorder()
    operation = CopyIn("copy t from stdin", source, waiter)
    session.submit(operation)
    assert split_messages(session.take_output() or b"") == [("Q", b"copy t from stdin\0")]
    return session, operation, waiter


def works(session: Session) -> bool:
    """The session takes and answers another query."""
    assert session.failure is None and session.pending == 0 and session.owed == 0
    waiter = Recorder()
    session.submit(SimpleQuery("select 1", waiter))
    assert split_messages(session.take_output() or b"") == [("Q", b"select 1\0")]
    session.feed(m.command_complete("SELECT 1") + m.ready())
    return bool(waiter.value == "SELECT 1")


def output(session: Session) -> list[tuple[str, bytes]]:
    """Everything the session writes until it has no more."""
    data = b""
    while True:
        session.resume_parsing()
        more = session.take_output()
        if more is None:
            return split_messages(data)
        data += more


def test_an_error_before_copy_in_response() -> None:
    ran = []
    source = PushSource(lambda: ran.append(1))
    session, operation, waiter = begin(source)
    session.feed(m.error("42P01", "no such table") + m.ready())
    with pytest.raises(exceptions.UndefinedTableError):
        _ = waiter.value
    assert not operation.started and source.is_aborted and ran
    assert works(session)


def test_an_error_before_copy_in_response_with_another_operation_behind() -> None:
    session, _, waiter = begin(PushSource())
    after = Recorder()
    session.submit(SimpleQuery("select 2", after))
    assert session.take_output() is None, "it waits for the COPY to end"
    session.feed(m.error("42P01", "no such table") + m.ready())
    assert split_messages(session.take_output() or b"") == [("Q", b"select 2\0")]
    session.feed(m.command_complete("SELECT 2") + m.ready())
    assert after.value == "SELECT 2"
    with pytest.raises(exceptions.UndefinedTableError):
        _ = waiter.value


@pytest.mark.parametrize("at_once", [True, False])
def test_an_error_while_data_is_sent_stops_the_sending(at_once: bool) -> None:
    source = PushSource()
    session, _, waiter = begin(source)
    session.feed(m.copy_in_response())
    source.push(b"1\n")
    assert output(session) == [("d", b"1\n")]
    source.push(b"x\n")
    answer = [m.error("22P02", "not a number"), m.ready()]
    for part in [b"".join(answer)] if at_once else answer:
        session.feed(part)
    assert source.is_aborted and session.take_output() is None
    assert source.push(b"dropped") == 7 and not source.is_full
    assert session.take_output() is None
    with pytest.raises(exceptions.InvalidTextRepresentationError):
        _ = waiter.value
    assert works(session)


def test_an_error_after_copy_done() -> None:
    session, _, waiter = begin(IteratorSource([b"1\n"]))
    session.feed(m.copy_in_response())
    assert output(session) == [("d", b"1\n"), ("c", b"")]
    session.feed(m.error("23505", "duplicate") + m.ready())
    with pytest.raises(exceptions.UniqueViolationError):
        _ = waiter.value
    assert works(session)


def test_an_error_that_crosses_copy_fail() -> None:
    source = PushSource()
    session, _, waiter = begin(source)
    session.feed(m.copy_in_response())
    source.end(KeyError("mine"))
    assert [tag for tag, _ in output(session)] == ["f"]
    session.feed(m.error("22P02", "not a number") + m.ready())
    with pytest.raises(KeyError, match="mine"):
        _ = waiter.value
    assert works(session)


def test_a_source_that_fails_is_answered_by_copy_fail() -> None:
    def chunks() -> Any:
        yield b"1\n"
        raise KeyError("m" * 20_000)

    session, _, waiter = begin(IteratorSource(chunks()))
    session.feed(m.copy_in_response())
    sent = output(session)
    assert [tag for tag, _ in sent] == ["f"] and len(sent[0][1]) < 100
    session.feed(FAILED + m.ready())
    with pytest.raises(KeyError, match="mmm"):
        _ = waiter.value
    assert works(session)


def test_what_is_pushed_before_a_failure_is_not_sent() -> None:
    source = PushSource()
    session, _, _ = begin(source)
    source.push(b"1\n")
    source.end(KeyError("mine"))
    session.feed(m.copy_in_response())
    assert [tag for tag, _ in output(session)] == ["f"]


def test_an_abandoned_copy_in() -> None:
    source = PushSource()
    session, operation, _ = begin(source)
    session.feed(m.copy_in_response())
    finished = Recorder()
    operation.abandon(finished)
    assert [tag for tag, _ in output(session)] == ["f"]
    assert source.is_aborted
    session.feed(FAILED + m.ready())
    assert finished.value is None
    assert works(session)


def test_abandoned_before_copy_in_response() -> None:
    session, operation, _ = begin(IteratorSource([b"1\n"]))
    finished = Recorder()
    operation.abandon(finished)
    assert output(session) == []
    session.feed(m.copy_in_response())
    assert [tag for tag, _ in output(session)] == ["f"]
    session.feed(FAILED + m.ready())
    assert finished.value is None
    assert works(session)


def test_a_pushing_producer_hears_when_it_is_wanted() -> None:
    heard = []
    source = PushSource(lambda: heard.append(1))
    session, operation, _ = begin(source)
    assert not heard
    session.feed(m.copy_in_response(3))
    assert heard and operation.started and operation.columns == 3


def test_no_copy_at_all() -> None:
    session, _, waiter = begin(IteratorSource([]))
    session.feed(m.command_complete("SELECT 1") + m.ready())
    with pytest.raises(exceptions.InterfaceError, match="not a COPY ... FROM STDIN"):
        _ = waiter.value
    assert works(session)


def test_two_copies_in_one_statement() -> None:
    session, _, waiter = begin(IteratorSource([b"1\n"]))
    session.feed(m.copy_in_response())
    output(session)
    session.feed(m.command_complete("COPY 1") + m.copy_in_response())
    assert [tag for tag, _ in output(session)] == ["f"]
    session.feed(FAILED + m.ready())
    with pytest.raises(exceptions.InterfaceError, match="more than one COPY"):
        _ = waiter.value
    assert works(session)


@pytest.mark.parametrize(
    "answer",
    [
        m.copy_in_response() + m.command_complete("COPY 0"),
        m.copy_in_response() + m.ready(),
        m.copy_in_response() + m.copy_in_response(),
        m.copy_in_response() + m.copy_data(b"x"),
        m.copy_in_response() + m.copy_done(),
        m.copy_in_response() + m.data_row(b"x"),
        m.copy_out_response(),
        m.copy_data(b"x"),
    ],
)
def test_hostile_answers_to_copy_in(answer: bytes) -> None:
    session, _, waiter = begin(PushSource())
    session.feed(answer)
    assert isinstance(session.failure, exceptions.ProtocolError)
    with pytest.raises(exceptions.ProtocolError):
        _ = waiter.value


def test_the_status_is_that_of_the_copy() -> None:
    session, _, waiter = begin(IteratorSource([b"1\n"]))
    session.feed(m.command_complete("SET") + m.copy_in_response())
    output(session)
    session.feed(m.command_complete("COPY 1") + m.command_complete("RESET") + m.ready())
    assert waiter.value == "COPY 1" and works(session)
    session, _, _, waiter, _ = begin_out()
    session.feed(m.command_complete("SET") + m.copy_out_response() + m.copy_data(b"1\n") + m.copy_done())
    session.feed(m.command_complete("COPY 1") + m.command_complete("RESET") + m.ready())
    assert waiter.value == "COPY 1" and works(session)


@pytest.mark.parametrize("chunk", ["text", 3, None, [b"x"]])
def test_chunks_that_are_no_bytes(chunk: Any) -> None:
    with pytest.raises(TypeError, match="a bytes-like object is required"):
        PushSource().push(chunk)
    session, _, waiter = begin(IteratorSource([chunk]))
    session.feed(m.copy_in_response())
    session.feed(FAILED + m.ready())
    with pytest.raises(TypeError, match=f"not '{type(chunk).__name__}'"):
        _ = waiter.value


def test_large_chunks_are_split() -> None:
    data = bytes(range(256)) * 8192
    session, _, _ = begin(IteratorSource([memoryview(data)]))
    session.feed(m.copy_in_response())
    sent = output(session)
    assert b"".join(body for tag, body in sent if tag == "d") == data
    assert max(len(body) for _, body in sent) <= 512 * 1024 and sent[-1] == ("c", b"")


@pytest.mark.parametrize("push", [True, False])
def test_chunks_of_all_sizes(push: bool) -> None:
    sizes = [0, 1, 16_383, 16_384, 3, 524_288, 20_000, 20_000, 524_289, 5]
    chunks = [bytes([i]) * size for i, size in enumerate(sizes)]
    source = PushSource() if push else IteratorSource(chunks)
    session, _, waiter = begin(source)
    session.feed(m.copy_in_response())
    if push:
        for chunk in chunks:
            source.push(chunk)
        source.end()
    sent = output(session)
    assert b"".join(body for tag, body in sent if tag == "d") == b"".join(chunks) and sent[-1] == ("c", b"")
    session.feed(m.command_complete("COPY 1") + m.ready())
    assert waiter.value == "COPY 1" and works(session)


# ---------------------------------------------------------------- COPY TO STDOUT


def begin_out() -> tuple[Session, BufferSink, list[int], Recorder, CopyOut]:
    session, waiter, arrived = Session(), Recorder(), list[int]()
    sink = BufferSink(lambda: arrived.append(1))
    operation = CopyOut("copy t to stdout", sink, waiter)
    session.submit(operation)
    session.take_output()
    return session, sink, arrived, waiter, operation


def test_the_buffer_of_a_copy_out_is_bounded() -> None:
    session, sink, arrived, waiter, _ = begin_out()
    sink.high_water = 100
    answer = m.copy_out_response() + m.copy_data(b"x" * 30) * 10 + m.copy_done()
    session.feed(answer + m.command_complete("COPY 10") + m.ready())
    taken = b""
    sizes = []
    while session.paused:
        sizes.append(sink.size)
        taken += sink.take()
        session.resume_parsing()
    taken += sink.take()
    assert sizes == [120, 120] and len(arrived) == 3
    assert taken == b"x" * 300 and waiter.value == "COPY 10" and sink.take() == b""
    assert works(session)


def test_messages_that_come_together() -> None:
    session, sink, arrived, waiter, _ = begin_out()
    bodies = [bytes([i]) * (i % 23) for i in range(200)]
    data = [m.copy_data(body) for body in bodies]
    session.feed(m.copy_out_response() + b"".join(data[:90]) + m.notice("one moment") + b"".join(data[90:]))
    session.feed(m.copy_done() + m.command_complete("COPY 200") + m.ready())
    assert waiter.value == "COPY 200" and sink.take() == b"".join(bodies)
    assert len(arrived) == 2, "the first body is empty"
    assert works(session)


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 3, 2**20, 2**31 - 1])
def test_a_bad_length_behind_good_messages(length: int) -> None:
    session, sink, _, waiter, _ = begin_out()
    session.feed(m.copy_out_response() + m.copy_data(b"ab") * 5 + b"d" + length.to_bytes(4, "big", signed=True))
    if length == 2**20:
        assert session.failure is None, "it may still come"
        session.abort(ConnectionResetError())
    assert session.failure is not None and sink.take() == b"ab" * 5
    with pytest.raises((exceptions.ProtocolError, ConnectionResetError)):
        _ = waiter.value


def test_an_error_between_the_rows() -> None:
    session, sink, _, waiter, _ = begin_out()
    session.feed(m.copy_out_response() + m.copy_data(b"a") + m.error("22012", "division by zero") + m.ready())
    with pytest.raises(exceptions.DivisionByZeroError):
        _ = waiter.value
    assert sink.take() == b"a"
    assert works(session)


def test_an_abandoned_copy_out_is_read_to_its_end_without_a_pause() -> None:
    session, sink, _, _, operation = begin_out()
    sink.high_water = 1
    session.feed(m.copy_out_response() + m.copy_data(b"a"))
    assert session.paused
    finished = Recorder()
    operation.abandon(finished)
    session.feed(m.copy_data(b"b") * 5 + m.error("57014", "canceled") + m.ready())
    session.resume_parsing()
    assert not session.paused and finished.value is None and sink.take() == b"a"
    assert works(session)


def test_copy_from_stdin_where_copy_to_stdout_is_wanted() -> None:
    session, _, _, waiter, _ = begin_out()
    session.feed(m.copy_in_response())
    assert [tag for tag, _ in output(session)] == ["f"]
    session.feed(FAILED + m.ready())
    with pytest.raises(exceptions.InterfaceError, match="not a COPY ... TO STDOUT"):
        _ = waiter.value
    assert works(session)


@pytest.mark.parametrize(
    "answer",
    [
        m.copy_data(b"x"),
        m.copy_done(),
        m.copy_out_response() + m.command_complete("COPY 0"),
        m.copy_out_response() + m.ready(),
        m.copy_out_response() + m.copy_done() + m.ready(),
        m.copy_out_response() + m.copy_done() + m.copy_data(b"x"),
        m.copy_out_response() + m.copy_done() + m.copy_done(),
        m.copy_out_response() + m.copy_out_response(),
        m.copy_out_response() + m.data_row(b"x"),
    ],
)
def test_hostile_answers_to_copy_out(answer: bytes) -> None:
    session, _, _, waiter, _ = begin_out()
    session.feed(answer)
    assert isinstance(session.failure, exceptions.ProtocolError)
    with pytest.raises(exceptions.ProtocolError):
        _ = waiter.value


# ----------------------------------------------------- split, cut, interrupted

IN_ANSWERS = [m.copy_in_response(2), m.command_complete("COPY 2"), m.ready()]
OUT_ANSWERS = [
    m.copy_out_response(), m.copy_data(b"1\n"), m.copy_data(b"22\n"), m.copy_done(), m.command_complete("COPY 2"),
    m.ready(),
]  # fmt: skip


def run_in(parts: list[bytes], session: Session) -> tuple[list[tuple[str, bytes]], Recorder]:
    """COPY IN of two records whose answers come in these parts."""
    waiter = Recorder()
    session.submit(CopyIn("copy t from stdin", RecordSource(RecordEncoder(INT4_TEXT), [(1, "x"), (2, None)]), waiter))
    sent = b""
    for part in parts:
        sent += session.take_output() or b""
        session.feed(part)
        sent += session.take_output() or b""
    return split_messages(sent), waiter


def run_out(parts: list[bytes], session: Session) -> tuple[bytes, Recorder]:
    waiter = Recorder()
    sink = BufferSink(lambda: None)
    session.submit(CopyOut("copy t to stdout", sink, waiter))
    session.take_output()
    for part in parts:
        session.feed(part)
    return sink.take(), waiter


def test_any_way_of_splitting() -> None:
    wanted, waiter = run_in(IN_ANSWERS, Session())
    assert waiter.value == "COPY 2" and [tag for tag, _ in wanted] == ["Q", "d", "c"]
    start, rest = IN_ANSWERS[0], b"".join(IN_ANSWERS[1:])
    for i in range(len(start)):
        for j in range(len(rest)):
            sent, waiter = run_in([start[:i], start[i:], rest[:j], rest[j:]], Session())
            assert sent == wanted and waiter.value == "COPY 2"
    answers = b"".join(OUT_ANSWERS)
    for i in range(len(answers)):
        data, waiter = run_out([answers[:i], answers[i:]], Session())
        assert data == b"1\n22\n" and waiter.value == "COPY 2"


def test_a_connection_lost_at_every_byte() -> None:
    for run, answers in ((run_in, IN_ANSWERS), (run_out, OUT_ANSWERS)):
        whole = b"".join(answers)
        for cut in range(len(whole)):
            session = Session()
            _, waiter = run([whole[: min(cut, len(answers[0]))], whole[len(answers[0]) : cut]], session)
            session.abort(ConnectionResetError("lost"))
            with pytest.raises(ConnectionResetError):
                _ = waiter.value


def test_messages_of_other_matters_in_between() -> None:
    others = [m.parameter_status("x", "y"), m.notification(), m.message("N", b"SNOTICE\0C00000\0Mhi\0\0")]
    for run, answers in ((run_in, IN_ANSWERS), (run_out, OUT_ANSWERS)):
        wanted = run(answers, Session())
        for other in others:
            for at in range(len(answers) + 1):
                session = Session()
                result = run([*answers[:at], other * 3, *answers[at:]], session)
                assert result[0] == wanted[0] and result[1].value == "COPY 2"
                assert works(session)


# ------------------------------------------------------------- records in binary


def plan(*oids: int) -> RowPlan:
    names = [chr(ord("a") + i).encode() for i in range(len(oids))]
    columns = tuple((name, 0, 0, oid, -1, -1, 1) for name, oid in zip(names, oids, strict=True))
    return RowPlan(columns, tuple(builtin_handle(oid) for oid in oids))


INT4_TEXT = plan(23, 25)


def decode(data: bytes, count: int) -> list[list[bytes | None]]:
    """The fields of a binary COPY stream."""
    assert data.startswith(HEADER)
    at, rows = len(HEADER), []
    while True:
        (n,) = struct.unpack_from("!h", data, at)
        at += 2
        if n == -1:
            assert at == len(data)
            return rows
        assert n == count
        row: list[bytes | None] = []
        for _ in range(n):
            (size,) = struct.unpack_from("!i", data, at)
            at += 4
            row.append(None if size == -1 else data[at : at + size])
            at += max(size, 0)
        rows.append(row)


INT4 = st.none() | st.integers(-(2**31), 2**31 - 1)
TEXT = st.none() | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


@given(st.lists(st.tuples(INT4, TEXT)), st.integers(20, 200))
def test_records_become_a_binary_stream(records: list[tuple[int | None, str | None]], high_water: int) -> None:
    wanted = [
        [None if a is None else struct.pack("!i", a), None if b is None else b.encode()] for a, b in records
    ]
    source = RecordSource(RecordEncoder(INT4_TEXT), (list(r) for r in records))
    source.high_water = high_water
    session, _, _ = begin(source)
    session.feed(m.copy_in_response(2))
    sent = output(session)
    assert sent[-1] == ("c", b"")
    assert decode(b"".join(body for _, body in sent[:-1]), 2) == wanted
    encoder = RecordEncoder(INT4_TEXT)
    encoder.begin()
    for record in records:
        encoder.add(record)
    encoder.end()
    assert decode(encoder.take(), 2) == wanted


def test_no_record_is_taken_when_the_server_expects_other_columns() -> None:
    records = iter([(1, "a")])
    source = RecordSource(RecordEncoder(INT4_TEXT), records)
    session, operation, _ = begin(source)
    session.feed(m.copy_in_response(1))
    assert output(session) == [("d", HEADER + b"\xff\xff"), ("c", b"")]
    assert source.mismatch and operation.columns == 1 and next(records) == (1, "a")


class Sequence:
    def __init__(self, *values: Any) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: int) -> Any:
        return self.values[i]


@pytest.mark.parametrize(
    ("record", "kind", "text"),
    [
        ((1,), exceptions.InterfaceError, "record #1 has 1 value, 2 are expected: a, b"),
        ((1, "x", None), exceptions.InterfaceError, "record #1 has 3 values, 2 are expected: a, b"),
        (Sequence(1), exceptions.InterfaceError, "record #1 has 1 value, 2 are expected: a, b"),
        ((1, 2), TypeError, 'record #1, column "b" (text): expected str, got int'),
        (("1", "2"), TypeError, 'record #1, column "a" (int4): '),
        ((2**31, "2"), OverflowError, 'record #1, column "a" (int4): value out of int32 range'),
        (None, TypeError, "record #1: expected a sequence of values, got NoneType"),
        ("ab", TypeError, "record #1: expected a sequence of values, got str"),
        ({0: 1, 1: "x"}, TypeError, "record #1: expected a sequence of values, got dict"),
        (iter((1, "x")), TypeError, "record #1: expected a sequence of values, got tuple_iterator"),
    ],
)
def test_errors_name_the_record_and_the_column(record: Any, kind: type[Exception], text: str) -> None:
    session, _, waiter = begin(RecordSource(RecordEncoder(INT4_TEXT), [Sequence(1, "x"), record]))
    session.feed(m.copy_in_response(2))
    assert [tag for tag, _ in output(session)] == ["f"]
    session.feed(FAILED + m.ready())
    with pytest.raises(kind) as caught:
        _ = waiter.value
    assert str(caught.value).startswith(text)
    assert works(session)


def test_a_record_that_fails_leaves_no_byte_in_the_encoder() -> None:
    encoder = RecordEncoder(INT4_TEXT)
    encoder.begin()
    encoder.add((1, "x"))
    with pytest.raises(TypeError):
        encoder.add((2, b"x"))
    encoder.add((3, "y"))
    encoder.end()
    assert decode(encoder.take(), 2) == [[b"\0\0\0\1", b"x"], [b"\0\0\0\3", b"y"]]


def test_a_list_that_shrinks_while_it_is_encoded() -> None:
    record: list[Any] = []

    class Index:
        def __index__(self) -> int:
            record.clear()
            return 1

    record += [Index(), "x"]
    with pytest.raises(IndexError):
        RecordEncoder(INT4_TEXT).add(record)


def test_types_without_a_binary_form() -> None:
    handle = Registry().lookup_or_text(790)
    columns = ((b"a", 0, 0, 790, -1, -1, 0),)
    with pytest.raises(exceptions.InternalClientError, match=r"no binary format encoder for type money \(OID 790\)"):
        RecordEncoder(RowPlan(columns, (handle,)))
