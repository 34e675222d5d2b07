# SPDX-License-Identifier: MIT
# The row plan (column -> codec) and the seam on which every output format hangs: RowSink.

from libc.stdint cimport uint16_t

from fastpg.codecs.codec cimport Codec


cdef class RowPlan:
    """How the rows of one statement are read. Shared by every execution of the statement."""
    cdef Py_ssize_t count               # columns
    cdef const Codec **codecs           # one a column, borrowed from handles
    cdef readonly tuple handles         # CodecHandle a column
    cdef readonly tuple names           # str a column
    cdef readonly tuple columns         # RowDescription's tuples
    cdef readonly object descriptor     # RecordDescriptor of the names
    cdef readonly bint atomic           # no value can be part of a reference cycle
    cdef bytes formats                  # the result-format section of Bind, count included
    cdef dict derived                   # what sinks have worked out: id of a factory -> (factory, what was made)

    # make(factory, names), called once for each factory that is in use.
    cdef object derive(self, object factory, object make)


cdef class RowSink:
    """Receives the DataRow messages of one operation.

    begin(plan) once, before the first row; rows() for each run of complete messages; then finish(), whose value is
    the operation's result, or abort(). An exception from rows() fails the operation: the rest of the result is
    skipped and the connection stays usable, unless it is a ProtocolError.
    """
    cdef RowPlan plan
    cdef bint drops         # nothing comes of the rows

    cdef int begin(self, RowPlan plan) except -1
    cdef int rows(self, const char *p, const char *end) except -1    # whole DataRow frames; 0 go on, 1 pause
    cdef object finish(self)
    cdef int abort(self, object error) except -1


# What a sink makes of these runs of DataRow messages.
cpdef object read_rows(RowSink sink, RowPlan plan, list runs)
# The shortest format-code section of Bind for what these codecs read or write (manual, "Message Formats", Bind).
cdef bytes format_section(const Codec **codecs, Py_ssize_t count)
cdef uint16_t row_fields(RowPlan plan, const char **p, const char *end) except 0xffff
# row: counted from 0, -1 when it is not known.
cdef int raise_in_row(RowPlan plan, Py_ssize_t column, object error, Py_ssize_t row=*) except -1
cdef int raise_truncated(str what) except -1
cdef int raise_wrong_size(const Codec *codec, Py_ssize_t n) except -1
