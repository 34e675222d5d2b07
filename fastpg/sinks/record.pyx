# SPDX-License-Identifier: MIT
# Rows as Records, and single values. May import: wire, codec, row, record, base.

from cpython.object cimport PyObject
from libc.stdint cimport int32_t

from fastpg.codecs.codec cimport Codec
from fastpg.protocol.record cimport record_items, record_new
from fastpg.protocol.row cimport RowPlan, RowSink, raise_in_row, raise_truncated, raise_wrong_size, row_fields
from fastpg.sinks.base cimport ListSink, decode_row
from fastpg.wire cimport load_i32

from fastpg.codecs._unknown import UnknownTypeError
from fastpg.protocol.record import Record


cdef class RecordSink(ListSink):
    """A list of records. record_class: Record or a subclass. keep=False: the rows are checked and dropped."""

    @staticmethod
    cdef RecordSink make(object record_class):
        cdef RecordSink self = RecordSink.__new__(RecordSink)
        self.record_class = record_class
        return self

    def __init__(self, record_class, *, keep=True):
        self.record_class = Record if record_class is None else record_class
        self.drops = not keep

    def again(self):
        """A fresh sink of the same kind: for a second try, or for another query."""
        cdef RecordSink fresh = RecordSink.make(self.record_class)
        fresh.drops = self.drops
        return fresh

    cdef int rows(self, const char *p, const char *end) except -1:
        return 0 if self.drops else ListSink.rows(self, p, end)

    cdef int decode(self, const char *p, const char *end, Py_ssize_t *column) except -1:
        cdef RowPlan plan = self.plan
        cdef list result = self.result
        cdef bint track = not plan.atomic
        record_class = self.record_class
        descriptor = plan.descriptor
        while p < end:
            record = record_new(record_class, descriptor, track)
            p = decode_row(plan, p, record_items(<PyObject *>record), column)
            result.append(record)
        return 0


cdef class ValueSink(RowSink):
    """One column of the first row; None when there is no row. column: index or name."""

    @staticmethod
    cdef ValueSink make(object column):
        cdef ValueSink self = ValueSink.__new__(ValueSink)
        self.column = column
        return self

    def __init__(self, column=0):
        self.column = column

    def again(self):
        """A fresh sink of the same kind, for a second try."""
        return ValueSink(self.column)

    cdef int begin(self, RowPlan plan) except -1:
        self.plan = plan
        return 0

    cdef Py_ssize_t resolve(self) except -1:
        cdef Py_ssize_t index
        if isinstance(self.column, str):
            names = self.plan.names
            for index in range(len(names) - 1, -1, -1):
                if names[index] == self.column:
                    return index
            raise KeyError(self.column)
        try:
            index = self.column
        except TypeError:
            raise KeyError(self.column) from None
        if index < 0:
            index += self.plan.count
        if index < 0 or index >= self.plan.count:
            raise IndexError("record index out of range")
        return index

    cdef int rows(self, const char *p, const char *end) except -1:
        cdef const char *row_end
        cdef Py_ssize_t i, wanted
        cdef int32_t n
        cdef const Codec *codec
        if self.filled:
            return 0
        row_end = p + 1 + load_i32(p + 1)
        p += 5
        row_fields(self.plan, &p, row_end)
        wanted = self.resolve()
        self.filled = True
        for i in range(self.plan.count):
            if row_end - p < 4:
                raise_truncated("DataRow")
            n = load_i32(p)
            p += 4
            if n < -1 or n > row_end - p:
                raise_truncated("DataRow")
            if n == -1:
                continue
            if i == wanted:
                codec = self.plan.codecs[i]
                if codec.size >= 0 and n != codec.size:
                    raise_wrong_size(codec, n)
                try:
                    self.value = codec.decode(codec, p, n)
                except UnknownTypeError as error:
                    self.kept = p[:n]
                    self.unknown = error
                except Exception as error:
                    raise_in_row(self.plan, i, error, 0)
            p += n
        if p != row_end:
            raise_truncated("DataRow")
        return 0

    cdef object finish(self):
        if self.unknown is not None:
            raise UnknownTypeError(*self.unknown.oids, sink=self)
        return self.value

    def resume(self):
        """Decode the value that was kept, now that its types are known; it, or UnknownTypeError again."""
        cdef Py_ssize_t wanted = self.resolve()
        cdef const Codec *codec = self.plan.codecs[wanted]
        cdef const char *p = self.kept
        try:
            return codec.decode(codec, p, len(self.kept))
        except UnknownTypeError as error:
            raise UnknownTypeError(*error.oids, sink=self) from None
        except Exception as error:
            raise_in_row(self.plan, wanted, error, 0)
