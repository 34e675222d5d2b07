# SPDX-License-Identifier: MIT
# Record, the row type, for row loops in other modules.

from cpython.object cimport PyObject


cdef extern from "record.h" nogil:
    # Set the value of a column of a new record, once. Steals the reference to `value`; no checks.
    void record_set "fastpg_record_set"(PyObject *record, Py_ssize_t i, PyObject *value)
    # Where the values of a new record go, for a loop that stores each of them once.
    PyObject **record_items "fastpg_record_items"(PyObject *record)


# A new record of `cls` (Record or a subclass), as wide as its RecordDescriptor, without values: set them all, with
# record_set(), before anything else sees it. track=False leaves a plain Record unknown to the garbage collector; only
# for rows whose values can be in no reference cycle. TypeError for a wrong class or descriptor.
cdef object record_new(object cls, object descriptor, bint track)

# A new record of these values; ValueError when their number is not the descriptor's.
cdef object record_from_sequence(object cls, object descriptor, object values)
