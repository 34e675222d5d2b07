# SPDX-License-Identifier: MIT
"""Rows that came in other formats than their types are read in.

They are the answer to the first use of a statement that was sent in the formats of the types that its columns had when
another connection had it described. The statement has run and must not run again; but the server reads what it writes:
the values go back to it as parameters of their types, and come in the formats that they are read in.
"""

from __future__ import annotations

import struct

from fastpg.codecs.bytea import raw
from fastpg.protocol.operation import ExecuteMany, StatementPlan
from fastpg.protocol.row import RowPlan, read_rows
from fastpg.sinks.record import RecordSink

__all__ = ["Conversion"]

_RAW = raw(0), raw(1)  # text, binary
_NULL = struct.pack("!i", -1)


class Conversion:
    """guess: by which the rows were asked for, plan: by which they are read, runs: of DataRow messages."""

    def __init__(self, guess: RowPlan | None, plan: RowPlan, runs: list[bytes]) -> None:
        wanted = [handle.format for handle in plan.handles]
        asked = [handle.format for handle in guess.handles] if guess is not None else []
        if len(asked) != len(wanted):
            # It has been asked for one format of all columns, or the server would have refused.
            asked = (asked[:1] or [0]) * len(wanted)
        self._columns = plan.columns
        self._wanted = wanted
        self._asked = asked
        self._other = [at for at in range(len(wanted)) if asked[at] != wanted[at]]
        self._rows: list[list[bytes | None]] = []
        if self._other:
            everything = RowPlan(self._columns, (_RAW[1],) * len(wanted))
            self._rows = [list(row) for row in read_rows(RecordSink(None), everything, runs)]

    def operation(self) -> ExecuteMany | None:
        """What has the server convert the values: to run, and its result is for runs(). None: nothing is to be done."""
        if not self._rows:
            return None
        columns = tuple([self._columns[at] for at in self._other])
        statement = StatementPlan(
            "SELECT " + ", ".join([f"${number + 1}" for number in range(len(columns))]),
            b"",
            tuple([column[3] for column in columns]),
            tuple([_RAW[self._asked[at]] for at in self._other]),
            RowPlan(columns, tuple([_RAW[self._wanted[at]] for at in self._other])),
        )
        return ExecuteMany(statement, [[row[at] for at in self._other] for row in self._rows], RecordSink(None))

    def runs(self, converted: list[list[bytes | None]]) -> list[bytes]:
        """DataRow messages of the rows, with the converted values in them."""
        messages = []
        for row, values in zip(self._rows, converted, strict=True):
            for at, value in zip(self._other, values, strict=True):
                row[at] = value
            body = b"".join([_NULL if field is None else struct.pack("!i", len(field)) + field for field in row])
            messages.append(struct.pack("!ciH", b"D", len(body) + 6, len(row)) + body)
        return [b"".join(messages)]
