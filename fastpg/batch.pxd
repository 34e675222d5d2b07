# SPDX-License-Identifier: MIT
# Operations of pipelines.

from libc.stdint cimport uint32_t

from fastpg.protocol.operation cimport Execute, Operation, StatementPlan
from fastpg.protocol.row cimport RowSink
from fastpg.reply cimport Reply
from fastpg.wire cimport Out


cdef class Piped(Execute):
    """A statement of a pipeline, with a Sync of its own."""
    cdef object mend                # callable (reply, error, first) -> whether it will tell the reply itself


cdef class Item(Reply):
    """One statement of a Batch, and the reply to it."""
    cdef readonly str query
    cdef StatementPlan statement    # None until the server has described it
    cdef object args                # of one execution; None: see elements
    cdef object elements            # iterator of the arguments of many executions
    cdef RowSink sink               # None: the result is the status
    cdef int shape                  # SHAPE_*
    cdef Py_ssize_t column          # of SHAPE_VALUE, which has no sink unless something is out of the ordinary
    cdef uint32_t limit
    cdef bint told
    cdef bint answered              # messages of its answer have been read one by one
    cdef bint bound                 # the server runs it
    cdef Py_ssize_t sent            # executions written
    cdef Py_ssize_t ended           # executions whose end the server has told
    cdef bint complete              # all of them are written
    cdef bytes status
    cdef object value
    cdef object error               # its result could not be read

    cdef int give_sink(self) except -1
    cdef int read(self, const char *p, const char *end) except -1
    cdef int read_again(self, const char *p, const char *end) except -1
    cdef int conclude(self) except -1
    cdef int fail(self, object error) except -1


cdef class Batch(Operation):
    cdef list items
    cdef object plan_of             # callable (query, parameter OIDs, columns) -> StatementPlan
    cdef object mend                # see Piped
    cdef object name_of             # callable (query) -> name of a new statement
    cdef dict plans                 # query -> StatementPlan
    cdef Py_ssize_t written         # items written completely
    cdef Py_ssize_t current         # the item whose answer is being read
    cdef Py_ssize_t told            # items whose waiter has its result
    cdef readonly Py_ssize_t failed # the item that failed, or -1
    cdef bint closing               # no more items will come
    cdef bint flushing              # somebody waits for the results of what has been written
    cdef bint eager                 # they are told as they come
    cdef bint describing            # Parse and Describe are under way for items[written]
    cdef bint spoilt                # it ends with a message that must fail
    cdef tuple oids

    cdef int append(self, Item item) except -1
    cdef int write_item(self, Item item, Out *out) except -1
    cdef int spoil(self, object error) except -1
    cdef int described(self, object columns) except -1
    cdef int tell(self) except -1
    cdef int advance(self) except -1
    cdef int pass_over(self) except -1
    cdef object not_executed(self)
