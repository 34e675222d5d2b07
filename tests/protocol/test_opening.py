# SPDX-License-Identifier: MIT
"""BEGIN in front of the next operation, without a server: what is written, and every answer to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastpg import exceptions
from fastpg.protocol.begin import FailedTransaction, Synchronize
from fastpg.protocol.copy import CopyIn, CopyOut, PushSource
from fastpg.protocol.opening import Opening
from fastpg.protocol.operation import CloseStatements, Execute, ExecuteMany, Operation, Prepare, SimpleQuery
from fastpg.protocol.row import RowSink
from fastpg.protocol.session import Session
from fastpg.sinks.record import RecordSink
from tests import messages as m
from tests.protocol.test_session import Recorder, i4, split_messages, statement

BEGUN = m.parse_complete() + m.bind_complete() + m.command_complete("BEGIN")


def types(session: Session) -> str:
    return "".join(tag for tag, _ in split_messages(session.take_output() or b""))


def begun(operation: Operation) -> Session:
    session = Session()
    session.open(Opening("BEGIN;"))
    assert session.in_transaction and session.take_output() is None
    session.submit(operation)
    assert session.opening is None
    return session


def test_it_is_written_in_front() -> None:
    session, waiter = Session(), Recorder()
    session.open(Opening("BEGIN;"))
    session.open(Opening("SAVEPOINT a;", "a"))
    operation = Execute(statement(), (1,), RecordSink(None), waiter)
    session.submit(operation)
    written = split_messages(session.take_output() or b"")
    assert [tag for tag, _ in written] == ["P", "B", "E", "P", "B", "E", "B", "E", "S"]
    assert written[0][1] == b"\0BEGIN;\0\0\0" and written[3][1] == b"\0SAVEPOINT a;\0\0\0"
    assert written[1][1] == bytes(8) and written[2][1] == b"\0" + bytes(4)
    session.feed(BEGUN + m.parse_complete() + m.bind_complete() + m.command_complete("SAVEPOINT"))
    assert operation.opened is not None and operation.opened.query == "BEGIN;" and operation.opened.done
    session.feed(m.bind_complete() + m.data_row(i4(7), b"x") + m.command_complete("SELECT 1") + m.ready("T"))
    assert waiter.value == [(7, "x")] and session.in_transaction
    assert split_messages(session.take_output() or b"") == []


def test_what_nobody_waits_for_does_not_take_it() -> None:
    session = Session()
    session.open(Opening("BEGIN;"))
    session.submit(CloseStatements([b"s"]))
    assert types(session) == "CS"
    session.feed(m.close_complete() + m.ready("I"))
    assert session.in_transaction
    session.submit(Synchronize(Recorder()))
    assert types(session) == "PBES"


def test_withdrawn() -> None:
    session = Session()
    outer, inner, innermost = Opening("BEGIN;"), Opening("SAVEPOINT a;", "a"), Opening("SAVEPOINT b;", "b")
    for opening in (outer, inner, innermost):
        session.open(opening)
    assert session.withdraw(inner) and not session.withdraw(inner) and not session.withdraw(innermost)
    session.submit(Synchronize(Recorder()))
    assert types(session) == "PBES"
    assert not session.withdraw(outer), "it is sent"
    other = Session()
    other.open(Opening("BEGIN;"))
    assert other.withdraw(other.opening) and not other.in_transaction and not other.withdraw(None)


def test_what_cannot_be_encoded_leaves_it_for_the_next() -> None:
    session, waiter = Session(), Recorder()
    session.open(Opening("BEGIN;"))
    with pytest.raises(exceptions.DataError):
        session.submit(Execute(statement(), ("x",), RecordSink(None), Recorder()))
    assert session.take_output() is None and session.in_transaction
    session.writable = False
    behind = Execute(statement(), ("x",), RecordSink(None), waiter)
    session.submit(behind)
    session.unlink(behind)
    assert session.opening is not None and session.opening.query == "BEGIN;"


OPERATIONS: dict[str, Callable[[Recorder], Operation]] = {
    "SimpleQuery": lambda w: SimpleQuery("insert", w),
    "Prepare": lambda w: Prepare(b"s", "select", w),
    "Execute": lambda w: Execute(statement(), (1,), RecordSink(None), w),
    "unnamed": lambda w: Execute(statement(name=b""), (1,), RecordSink(None), w),
    "ExecuteMany": lambda w: ExecuteMany(statement(), [(1,), (2,)], RowSink(), w),
    "CopyOut": lambda w: CopyOut("copy", lambda data: None, w),
    "CopyIn": lambda w: CopyIn("copy", PushSource(), w),
    "Synchronize": Synchronize,
}


@pytest.mark.parametrize("answered", [0, 1, 2])
@pytest.mark.parametrize("kind", OPERATIONS)
def test_refused(kind: str, answered: int) -> None:
    waiter = Recorder()
    session = begun(OPERATIONS[kind](waiter))
    syncs = types(session).count("S")
    session.feed(b"".join([m.parse_complete(), m.bind_complete()][:answered]) + m.error("0A000", "no"))
    assert not waiter.done(), "the server has not said that it is ready"
    # One Sync, the operation's own or one more; then a transaction is made to fail.
    assert types(session) == "S" * (1 - syncs) + "PBEES"
    session.feed(m.ready("I"))
    with pytest.raises(exceptions.FeatureNotSupportedError):
        assert waiter.value
    assert session.in_transaction, "it is going to be"
    session.feed(BEGUN + m.error("34000", "portal does not exist") + m.ready("E"))
    assert session.failure is None and session.tx_status == ord("E") and session.pending == 0


def test_executemany_is_refused_while_it_is_written() -> None:
    waiter = Recorder()
    session = begun(ExecuteMany(statement((25,), ()), [("x" * 100_000,)] * 10, RowSink(), waiter))
    assert "S" not in types(session)
    session.feed(m.error("0A000", "no"))
    written = types(session)
    assert written == "ES" + "PBEES", "what must fail, and then the transaction that fails"
    session.feed(m.ready("I") + BEGUN + m.error() + m.ready("E"))
    with pytest.raises(exceptions.FeatureNotSupportedError):
        assert waiter.value
    assert session.failure is None


def test_a_savepoint_is_refused() -> None:
    for before in (m.ready("T"), b""):
        waiter, session = Recorder(), Session()
        if before:
            session.submit(SimpleQuery("BEGIN", Recorder()))
            session.feed(m.command_complete("BEGIN") + before)
        else:
            session.open(Opening("BEGIN;"))
        session.open(Opening("SAVEPOINT a;", "a"))
        session.submit(SimpleQuery("insert", waiter))
        session.take_output()
        session.feed((b"" if before else BEGUN) + m.error("53200", "no memory"))
        assert types(session) == "S", "the transaction around it is a failed one already"
        session.feed(m.ready("E"))
        with pytest.raises(exceptions.OutOfMemoryError):
            assert waiter.value
        assert session.failure is None


@pytest.mark.parametrize("answer", [m.error() + m.ready("I"), m.parse_complete() + m.error() + m.ready("I")])
def test_no_transaction_at_all(answer: bytes) -> None:
    waiter = Recorder()
    session = begun(SimpleQuery("insert", waiter))
    session.feed(m.error("0A000", "no") + m.ready("I") + answer)
    assert session.failure is not None and "could not be begun" in str(session.failure)


@pytest.mark.parametrize(
    "answer",
    [
        m.ready("I"), m.ready("T"), m.parse_complete() + m.ready("T"), m.bind_complete(), m.command_complete("BEGIN"),
        m.parse_complete() * 2, m.parse_complete() + m.command_complete("BEGIN"), m.no_data(), m.copy_in_response(),
        m.copy_out_response(), m.parse_complete() + m.bind_complete() * 2, m.message("1", b"x"), m.message("I"),
        m.row_description(("a", 23)), m.message("s"),
    ],
)  # fmt: skip
def test_unexpected_answers(answer: bytes) -> None:
    for kind in OPERATIONS.values():
        waiter = Recorder()
        session = begun(kind(waiter))
        session.feed(answer)
        assert session.failure is not None
        with pytest.raises(exceptions.ProtocolError):
            assert waiter.value


def closing(operation: Operation) -> Session:
    session = Session()
    session.close_statements([b"a"])
    session.close_statements([b"b"])
    session.open(Opening("BEGIN;"))
    session.submit(operation)
    return session


@pytest.mark.parametrize("kind", OPERATIONS)
def test_statements_are_closed_in_front(kind: str) -> None:
    waiter = Recorder()
    session = closing(OPERATIONS[kind](waiter))
    assert types(session).startswith("CCPBE")
    session.feed(m.close_complete() * 2 + BEGUN)
    assert session.failure is None and not waiter.done()
    for answer in (m.close_complete() * 3, m.close_complete() + m.parse_complete(), m.ready(), m.bind_complete(),
                   m.close_complete() + m.ready(), m.message("3", b"x")):  # fmt: skip
        waiter = Recorder()
        session = closing(OPERATIONS[kind](waiter))
        session.feed(answer)
        assert session.failure is not None
        with pytest.raises(exceptions.ProtocolError):
            assert waiter.value


def test_closing_is_refused() -> None:
    waiter, session = Recorder(), Session()
    session.close_statements([b"a", b"b"])
    session.submit(SimpleQuery("select", waiter))
    assert types(session) == "CCQ"
    session.feed(m.close_complete() + m.error("57014", "cancelled"))
    assert types(session) == "S", "the server has thrown the Query away"
    session.feed(m.ready())
    with pytest.raises(exceptions.QueryCanceledError):
        assert waiter.value
    assert session.failure is None and not session.in_transaction


def test_closing_waits_for_the_next() -> None:
    session = Session()
    session.close_statements([b"a"])
    session.submit(CloseStatements([b"p"], None, "P"))
    assert types(session) == "CS"
    with pytest.raises(exceptions.DataError):
        session.submit(Execute(statement(), ("x",), RecordSink(None), Recorder()))
    assert session.take_output() is None
    session.feed(m.close_complete() + m.ready())
    session.submit(Execute(statement(), (1,), RecordSink(None), Recorder()))
    assert types(session) == "CBES"


def test_lost() -> None:
    waiter = Recorder()
    session = begun(Synchronize(waiter))
    session.submit(FailedTransaction())
    session.open(Opening("SAVEPOINT a;", "a"))
    session.abort(exceptions.ConnectionDoesNotExistError("lost"))
    with pytest.raises(exceptions.ConnectionDoesNotExistError):
        assert waiter.value
    assert not session.in_transaction
