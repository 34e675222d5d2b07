# SPDX-License-Identifier: MIT
# A statement whose parameter and column types are known beforehand: parsed, run and closed in one go, under one Sync.
# So it needs one round trip, stays whole behind a pooler that hands out transactions, and leaves the unnamed statement
# alone, which may be a user's. And the first use of a statement that another connection has described already.
# May import: frontend, backend, operation, row, exceptions.

from libc.stdint cimport uint8_t

from fastpg.protocol cimport backend
from fastpg.protocol.backend cimport expect_empty
from fastpg.protocol.frontend cimport write_close, write_describe, write_execute, write_parse, write_sync
from fastpg.protocol.operation cimport FILL_DONE, Execute, RowPlan, StatementPlan
from fastpg.protocol.row cimport read_rows
from fastpg.wire cimport Out


cdef class OneShot(Execute):
    """Close, Parse, Bind, Execute, Close, Sync. The result is the sink's."""

    cdef int fill(self, Out *out) except -1:
        cdef bytes name = self.statement.name
        # One that an error left behind would be in the way.
        write_close(out, b"S", name)
        write_parse(out, name, self.in_encoding(self.statement.query), self.statement.parameter_oids)
        self.statement.write_bind(out, b"", self.args, -1)
        write_execute(out, b"", 0)
        write_close(out, b"S", name)
        write_sync(out)
        self.args = None
        self.syncs = 1
        self.sink.begin(self.statement.plan)
        return FILL_DONE

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if tag == backend.CLOSE_COMPLETE and (self.answered or not self.parsed):
            return expect_empty(tag, n)
        return Execute.on_message(self, tag, p, n)


cdef class FirstExecute(Execute):
    """Parse, Describe, Bind, Execute, Sync: a statement whose plan is a guess. The result is the sink's.

    The parameter types are the plan's by Parse. The rows are those that the server describes: when they are others,
    replan(columns) gives the RowPlan for them, and `statement` becomes another one. When it is None, for types that are
    not known, or the rows come in other formats than it reads, they are kept as they are and `misread` is set: then the
    result is what read() makes of them.
    """

    cdef readonly StatementPlan guess
    cdef object replan
    cdef readonly bint misread          # the rows are `kept`
    cdef readonly tuple columns         # RowDescription's, of rows that are kept
    cdef readonly list kept             # DataRow messages, unless nothing comes of them
    cdef bint asked                     # the server has told of the parameters
    cdef bint described                 # and of the rows

    def __init__(self, StatementPlan statement, args, sink, replan, limit=0, waiter=None):
        Execute.__init__(self, statement, args, sink, waiter, limit)
        self.guess = statement
        self.replan = replan

    cdef int fill(self, Out *out) except -1:
        write_parse(out, self.statement.name, self.in_encoding(self.statement.query), self.statement.parameter_oids)
        write_describe(out, b"S", self.statement.name)
        self.statement.write_query(out, self.args, self.limit, True)
        self.args = None
        self.syncs = 1
        if self.statement.plan is not None:
            # As things are, once more when the server has described it: a sink that has to refuse does so in time.
            self.sink.begin(self.statement.plan)
        return FILL_DONE

    cdef int on_rows(self, const char *p, const char *end) except -1:
        if not self.misread:
            return Execute.on_rows(self, p, end)
        if not self.bound or self.answered:
            return self.unexpected(backend.DATA_ROW)
        if not self.sink.drops and not self.discard and self.error is None:
            self.kept.append(p[:end - p])
        return 0

    cdef int on_message(self, uint8_t tag, const char *p, Py_ssize_t n) except -1:
        if not self.parsed or self.described:
            return Execute.on_message(self, tag, p, n)
        if tag == backend.PARAMETER_DESCRIPTION and not self.asked:
            self.asked = True
            backend.parse_parameter_description(p, n)
            return 0
        if tag == backend.ROW_DESCRIPTION and self.asked:
            return self.rows_are(backend.parse_row_description(p, n))
        if tag == backend.NO_DATA and self.asked:
            expect_empty(tag, n)
            return self.rows_are(None)
        return self.unexpected(tag)

    cdef int rows_are(self, object columns) except -1:
        cdef StatementPlan guess = self.guess
        cdef RowPlan plan = guess.plan
        self.described = True
        if columns is None:
            plan = None
        elif plan is None or columns != plan.columns:
            plan = self.replan(columns)
            if plan is None or plan.formats != (guess.plan.formats if guess.plan is not None else b"\0\0"):
                # Rows come in the formats of the guess, unless it is refused for their number.
                self.misread, self.columns, self.kept = True, columns, []
                return 0
        if plan is not guess.plan:
            self.statement = StatementPlan(guess.query, guess.name, guess.parameter_oids, guess.parameters, plan)
        if plan is not None and plan is not guess.plan:
            try:
                self.sink.begin(plan)
            except Exception as error:
                # The server runs the statement all the same; what it answers is read, and nobody gets it.
                return self.on_error(error)
        return 0

    def read(self, StatementPlan statement not None, list rows not None):
        """The result, of runs of DataRow messages as the statement's plan reads them."""
        statement.last_status = self.statement.last_status
        self.statement = statement
        return read_rows(self.sink, statement.plan, rows)
