# SPDX-License-Identifier: MIT
# Row plans and the base of row sinks. May import: wire, codec, record, exceptions.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc

from fastpg.codecs.codec cimport CODEC_ATOMIC, FORMAT_BINARY, Codec, CodecHandle
from fastpg.wire cimport load_u16, store_u16

from fastpg.exceptions import ProtocolError, UnrepresentableValueError
from fastpg.protocol.record import RecordDescriptor

cdef enum:
    MAX_DERIVED = 8


cdef class RowPlan:
    """How the rows of one statement are read.

    columns: RowDescription's tuples (name bytes, table OID, attribute, type OID, typlen, typmod, format).
    handles: one CodecHandle a column. encoding: Python's name of the client encoding.
    """

    def __cinit__(self, tuple columns, tuple handles, str encoding="utf-8"):
        cdef Py_ssize_t i
        cdef CodecHandle handle
        if len(columns) != len(handles):
            raise ValueError("one codec a column")
        self.count = len(columns)
        self.columns = columns
        self.handles = handles
        self.names = tuple([(<bytes?>column[0]).decode(encoding, "backslashreplace") for column in columns])
        self.descriptor = RecordDescriptor(self.names)
        self.codecs = <const Codec **>PyMem_Malloc((self.count or 1) * sizeof(Codec *))
        if self.codecs == NULL:
            raise MemoryError
        self.atomic = True
        for i in range(self.count):
            handle = handles[i]
            if handle is None:
                raise TypeError("no codec for a column")
            self.codecs[i] = handle.codec
            if not handle.codec.flags & CODEC_ATOMIC:
                self.atomic = False
        self.formats = format_section(self.codecs, self.count)
        self.derived = {}

    def __dealloc__(self):
        PyMem_Free(self.codecs)

    cdef object derive(self, object factory, object make):
        # By identity: a factory need not be hashable. A program that makes a new one for each query fills no memory.
        found = self.derived.get(id(factory))
        if found is None:
            if len(self.derived) >= MAX_DERIVED:
                self.derived.clear()
            found = self.derived[id(factory)] = factory, make(factory, self.names)
        return found[1]

    @property
    def kinds(self) -> tuple:
        """The physical kind of each column: what sinks of other formats index their tables by."""
        cdef Py_ssize_t i
        return tuple([self.codecs[i].kind for i in range(self.count)])


cdef bytes format_section(const Codec **codecs, Py_ssize_t count):
    cdef Py_ssize_t i, binary = 0
    cdef bytes section
    cdef char *p
    for i in range(count):
        binary += codecs[i].format == FORMAT_BINARY
    if not binary:
        return b"\0\0"
    if binary == count:
        return b"\0\1\0\1"
    section = PyBytes_FromStringAndSize(NULL, 2 + 2 * count)
    p = section
    store_u16(p, <uint16_t>count)
    for i in range(count):
        store_u16(p + 2 + 2 * i, codecs[i].format)
    return section


cdef class RowSink:
    """Base of the sinks; swallows rows. See row.pxd for the contract."""

    cdef int begin(self, RowPlan plan) except -1:
        self.plan = plan
        return 0

    cdef int rows(self, const char *p, const char *end) except -1:
        return 0

    cdef object finish(self):
        return None

    cdef int abort(self, object error) except -1:
        return 0


cpdef object read_rows(RowSink sink, RowPlan plan, list runs):
    """What a sink makes of these runs of DataRow messages."""
    cdef bytes data
    cdef const char *p
    sink.begin(plan)
    for data in runs:
        p = data
        sink.rows(p, p + len(data))
    return sink.finish()


cdef uint16_t row_fields(RowPlan plan, const char **p, const char *end) except 0xffff:
    # The number of fields at the head of a DataRow body; must be the number described.
    cdef int count
    if end - p[0] < 2:
        raise_truncated("DataRow")
    count = load_u16(p[0])
    if count != plan.count:
        raise ProtocolError(f"the number of columns in the result row ({count}) is different from "
                            f"what was described ({plan.count})")
    p[0] += 2
    return <uint16_t>count


cdef int raise_in_row(RowPlan plan, Py_ssize_t column, object error, Py_ssize_t row=-1) except -1:
    # A value that Python cannot hold: say where it was.
    if isinstance(error, UnrepresentableValueError):
        place = f"column {plan.names[column]!r}"
        error.column_name = plan.names[column]
        if row >= 0:
            error.row = row
            place += f", row #{row}"
        error.args = (f"{place}: {error.args[0]}",)
    raise error


cdef int raise_truncated(str what) except -1:
    raise ProtocolError(f"malformed {what} message from the server")


cdef int raise_wrong_size(const Codec *codec, Py_ssize_t n) except -1:
    raise ProtocolError(f"malformed value of type {codec.name.decode()}: {n} bytes, expected {codec.size}")
