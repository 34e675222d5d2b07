# SPDX-License-Identifier: MIT
# Records as COPY's binary format (manual, "COPY", Binary Format): a header, for each record the count of its fields
# and each field as a parameter is sent, a trailer. And as its text format, for types that have no other.
# May import: wire, codec, frontend, operation, row, copy, exceptions.

from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit
from cpython.list cimport PyList_CheckExact, PyList_GET_SIZE
from cpython.sequence cimport PySequence_GetItem
from cpython.tuple cimport PyTuple_Check, PyTuple_GET_ITEM, PyTuple_GET_SIZE

from fastpg.codecs.codec cimport FORMAT_BINARY, FORMAT_TEXT, Codec, CodecHandle, encode_value
from fastpg.protocol.copy cimport RowSource
from fastpg.protocol.operation cimport FILL_DONE, FILL_MORE
from fastpg.protocol.row cimport RowPlan
from fastpg.wire cimport (
    FASTPG_MAX_MESSAGE, Out, out_begin_message, out_bytes, out_end_message, out_free, out_i16, out_i32,
)

from fastpg.exceptions import InterfaceError, InternalClientError

cdef enum:
    HEADER_SIZE = 19
    CHUNK = 256 * 1024

cdef dict ESCAPES = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}
cdef const char *HEADER = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"


cdef class RecordEncoder:
    """The binary form of records for the columns of a plan."""
    cdef RowPlan plan
    cdef Py_ssize_t element         # the record being encoded, counted from 0
    cdef Out out                    # for records that are pushed

    def __init__(self, RowPlan plan not None):
        cdef CodecHandle handle
        for handle in plan.handles:
            if handle.codec.format != FORMAT_BINARY:
                raise InternalClientError(f"no binary format encoder for type {handle.name} (OID {handle.codec.oid})")
        self.plan = plan

    def __dealloc__(self):
        out_free(&self.out)

    cdef int write(self, Out *out, object record) except -1:
        cdef Py_ssize_t i, n = self.plan.count
        cdef const Codec *codec
        cdef bint is_tuple = PyTuple_Check(record)
        cdef Py_ssize_t size
        if is_tuple:
            size = PyTuple_GET_SIZE(record)
        elif PyList_CheckExact(record):
            size = PyList_GET_SIZE(record)
        else:
            size = self.check(record)
        if size != n:
            self.raise_wrong_size(size)
        out_i16(out, <short>n)
        for i in range(n):
            value = <object>PyTuple_GET_ITEM(record, i) if is_tuple else PySequence_GetItem(record, i)
            if value is None:
                out_i32(out, -1)
                continue
            codec = self.plan.codecs[i]
            try:
                codec.encode(codec, out, value)
            except MemoryError:
                raise
            except Exception as error:
                self.raise_bad_value(i, error)
        self.element += 1
        return 0

    cdef Py_ssize_t check(self, object record) except -1:
        if isinstance(record, (str, bytes, bytearray, dict, set, frozenset)) or not (
                hasattr(record, "__len__") and hasattr(record, "__getitem__")):
            raise TypeError(f"record #{self.element}: expected a sequence of values, got {type(record).__name__}")
        return len(record)

    cdef int raise_wrong_size(self, Py_ssize_t size) except -1:
        raise InterfaceError(
            f"record #{self.element} has {size} value{'s' if size != 1 else ''}, "
            f"{self.plan.count} {'are' if self.plan.count != 1 else 'is'} expected: {', '.join(self.plan.names)}")

    cdef int raise_bad_value(self, Py_ssize_t i, object error) except -1:
        cdef CodecHandle handle = self.plan.handles[i]
        kind = type(error)
        if kind not in (TypeError, ValueError, OverflowError, InterfaceError):
            raise error                 # a codec's own: the user's, or one that says enough
        raise kind(f'record #{self.element}, column "{self.plan.names[i]}" ({handle.name}): {error}') from error

    @property
    def columns(self) -> int:
        """How many values a record has."""
        return self.plan.count

    cdef int header(self, Out *out) except -1:
        return out_bytes(out, HEADER, HEADER_SIZE)

    cdef int trailer(self, Out *out) except -1:
        return out_i16(out, -1)

    def begin(self) -> None:
        """Write the header."""
        self.header(&self.out)

    def add(self, record) -> bool:
        """Encode a record; true when take() is due."""
        cdef Py_ssize_t mark = self.out.len
        try:
            self.write(&self.out, record)
        except BaseException:
            self.out.len = mark
            raise
        return self.out.len >= CHUNK

    def end(self) -> None:
        """Write the trailer."""
        self.trailer(&self.out)

    def take(self) -> bytes:
        """What has been encoded since the last time."""
        data = self.out.buf[:self.out.len]
        self.out.len = 0
        if self.out.cap > 4 * CHUNK:
            out_free(&self.out)
        return data


cdef class TextRecordEncoder(RecordEncoder):
    """The text form of records, for a plan of codecs in their text form.

    encoding: Python's name of the client encoding, None for UTF-8. In some a backslash is part of other characters.
    """
    cdef str encoding

    def __init__(self, RowPlan plan not None, str encoding=None):
        cdef CodecHandle handle
        for handle in plan.handles:
            if handle.codec.format != FORMAT_TEXT:
                raise InternalClientError(f"no text format encoder for type {handle.name} (OID {handle.codec.oid})")
        self.plan = plan
        self.encoding = encoding

    cdef int write(self, Out *out, object record) except -1:
        cdef Py_ssize_t i, n = self.plan.count
        cdef Py_ssize_t size = len(record) if isinstance(record, (tuple, list)) else self.check(record)
        cdef list fields = []
        cdef bytes text
        if size != n:
            self.raise_wrong_size(size)
        for i in range(n):
            value = record[i]
            if value is None:
                fields.append(b"\\N")
                continue
            try:
                text = encode_value(self.plan.codecs[i], value)
            except MemoryError:
                raise
            except Exception as error:
                self.raise_bad_value(i, error)
            fields.append(self.escaped(text))
        text = b"\t".join(fields) + b"\n"
        out_bytes(out, <const char *>text, len(text))
        self.element += 1
        return 0

    cdef bytes escaped(self, bytes text):
        if self.encoding is not None:
            return text.decode(self.encoding).translate(ESCAPES).encode(self.encoding)
        return (text.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n")
                .replace(b"\r", b"\\r"))

    cdef int header(self, Out *out) except -1:
        return 0

    cdef int trailer(self, Out *out) except -1:
        return 0


cdef class RecordSource(RowSource):
    """Records of an iterable, encoded straight into the outgoing buffer as the transport takes them.

    The iterable runs in a copy of the context that the source was made in, whoever calls fill(). When the server
    expects another number of columns, no record is taken: see `mismatch`.
    """
    cdef RecordEncoder encoder
    cdef object records
    cdef readonly bint mismatch
    cdef bint begun
    cdef object context

    def __init__(self, RecordEncoder encoder not None, records):
        self.encoder = encoder
        self.records = iter(records)
        self.context = PyContext_CopyCurrent()

    cdef int begin(self, Py_ssize_t columns) except -1:
        self.mismatch = columns != self.encoder.plan.count
        return 0

    cdef int fill(self, Out *out) except -1:
        PyContext_Enter(self.context)
        try:
            return self.encode(out)
        finally:
            PyContext_Exit(self.context)

    cdef int encode(self, Out *out) except -1:
        cdef Py_ssize_t at = out_begin_message(out, b"d")
        cdef int state = FILL_MORE
        if not self.begun:
            self.encoder.header(out)
            self.begun = True
        while out.len - at < self.high_water:
            record = self if self.mismatch else next(self.records, self)
            if record is self:
                self.encoder.trailer(out)
                state = FILL_DONE
                break
            self.encoder.write(out, record)
        out_end_message(out, at, FASTPG_MAX_MESSAGE)
        return state

    cdef int abort(self, object error) except -1:
        self.records = None             # the last reference to a generator closes it
        return 0
