# SPDX-License-Identifier: MIT
# Rows as Records, and single values. May import: wire, codec, row, record.

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t

from fastpg.codecs.codec cimport KIND_FLOAT8, KIND_INT4, KIND_INT8, Codec
from fastpg.protocol.record cimport record_new, record_set
from fastpg.protocol.row cimport RowPlan, RowSink, raise_in_row, raise_truncated, raise_wrong_size, row_fields
from fastpg.wire cimport load_f64, load_i32, load_i64, load_u16

from fastpg.codecs._unknown import UnknownTypeError
from fastpg.protocol.record import Record

cdef extern from "Python.h":
    PyObject *PyLong_FromLong(long value) except NULL
    PyObject *PyLong_FromLongLong(long long value) except NULL
    PyObject *PyFloat_FromDouble(double value) except NULL

# A decoder as it is in C: the new reference goes into the record without being counted up and down.
ctypedef PyObject *(*raw_decode_fn)(const Codec *self, const char *p, Py_ssize_t n) except NULL


cdef class RecordSink(RowSink):
    """A list of records. record_class: Record or a subclass. keep=False: the rows are checked and dropped."""

    @staticmethod
    cdef RecordSink make(object record_class):
        cdef RecordSink self = RecordSink.__new__(RecordSink)
        self.record_class = record_class
        self.keep = True
        self.result = []
        return self

    def __init__(self, record_class, *, keep=True):
        self.record_class = Record if record_class is None else record_class
        self.keep = keep
        self.result = []

    def again(self):
        """A fresh sink of the same kind, for a second try."""
        return RecordSink(self.record_class, keep=self.keep)

    cdef int rows(self, const char *p, const char *end) except -1:
        cdef Py_ssize_t column = 0
        cdef Py_ssize_t before
        if not self.keep:
            return 0
        if self.kept is not None:
            self.kept.append(p[:end - p])
            return 0
        before = len(self.result)
        try:
            decode_records(self.record_class, self.plan, self.result, p, end, &column)
        except UnknownTypeError as error:
            del self.result[before:]
            self.kept = [p[:end - p]]
            self.unknown = error
        except Exception as error:
            raise_in_row(self.plan, column, error)
        return 0

    cdef object finish(self):
        if self.unknown is not None:
            raise UnknownTypeError(*self.unknown.oids, sink=self)
        result, self.result = self.result, []
        return result

    def resume(self):
        """Go on with the rows that were kept, now that their types are known; the result, or UnknownTypeError again."""
        cdef bytes data
        cdef const char *p
        kept, self.kept, self.unknown = self.kept, None, None
        for data in kept:
            p = data
            self.rows(p, p + len(data))
        return self.finish()


cdef inline PyObject *decode_field(const Codec *codec, const char *p, Py_ssize_t n) except NULL:
    # The three kinds of which results are widest, without the call through the pointer.
    if codec.kind == KIND_INT4:
        return PyLong_FromLong(load_i32(p))
    if codec.kind == KIND_FLOAT8:
        return PyFloat_FromDouble(load_f64(p))
    if codec.kind == KIND_INT8:
        return PyLong_FromLongLong(load_i64(p))
    return (<raw_decode_fn>codec.decode)(codec, p, n)


cdef int decode_records(object record_class, RowPlan plan, list result, const char *p, const char *end,
                        Py_ssize_t *column) except -1:
    # The hot loop. `column` tells where it was when it raised.
    cdef const Codec **codecs = plan.codecs
    cdef Py_ssize_t i, count = plan.count
    cdef bint track = not plan.atomic
    cdef const char *row_end
    cdef const char *head
    cdef const Codec *codec
    cdef int32_t n
    descriptor = plan.descriptor
    while p < end:
        row_end = p + 1 + load_i32(p + 1)
        p += 5
        if row_end - p < 2 or load_u16(p) != count:
            head = p                # a pointer to `p` itself would keep it out of a register
            row_fields(plan, &head, row_end)
        p += 2
        record = record_new(record_class, descriptor, track)
        for i in range(count):
            if row_end - p < 4:
                raise_truncated("DataRow")
            n = load_i32(p)
            p += 4
            if n < 0:
                if n != -1:
                    raise_truncated("DataRow")
                Py_INCREF(None)
                record_set(<PyObject *>record, i, <PyObject *>None)
                continue
            codec = codecs[i]
            if n > row_end - p:
                raise_truncated("DataRow")
            if n != codec.size and codec.size >= 0:
                raise_wrong_size(codec, n)
            column[0] = i
            record_set(<PyObject *>record, i, decode_field(codec, p, n))
            p += n
        if p != row_end:
            raise_truncated("DataRow")
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
        index = self.column
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
                    raise_in_row(self.plan, i, error)
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
            raise_in_row(self.plan, wanted, error)
