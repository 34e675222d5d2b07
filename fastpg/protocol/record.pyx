# SPDX-License-Identifier: MIT
# Record and RecordDescriptor: the types live in include/record.c; this module links them and hands them out.
# May import: exceptions.

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF

from fastpg.exceptions import InterfaceError

cdef extern from "record.h":
    int fastpg_record_init() except -1
    int fastpg_record_rename(bint as_asyncpg) except -1
    PyTypeObject *fastpg_record_type()
    PyTypeObject *fastpg_descriptor_type()
    object fastpg_record_new(PyTypeObject *type, PyObject *desc, bint track)


fastpg_record_init()
Record = <object> fastpg_record_type()
RecordDescriptor = <object> fastpg_descriptor_type()

cdef object record_class = Record


cdef object record_new(object cls, object descriptor, bint track):
    return fastpg_record_new(<PyTypeObject *> cls, <PyObject *> descriptor, track)


cdef object record_from_sequence(object cls, object descriptor, object values):
    cdef tuple items = tuple(values)
    cdef Py_ssize_t i
    if len(items) != len(descriptor.names):
        raise ValueError(f"a record of {len(descriptor.names)} columns cannot hold {len(items)} values")
    record = record_new(cls, descriptor, True)
    for i in range(len(items)):
        value = items[i]
        Py_INCREF(value)
        record_set(<PyObject *> record, i, <PyObject *> value)
    return record


def make_record(cls not None, descriptor not None, values not None):
    """A record of class `cls` from a RecordDescriptor and its values.

    Raises TypeError when `cls` is no subclass of Record, ValueError when the number of values is wrong.
    """
    if not isinstance(cls, type):
        raise TypeError(f"a class is required, got {cls!r}")
    if not isinstance(descriptor, RecordDescriptor):
        raise TypeError("a RecordDescriptor is required")
    return record_from_sequence(cls, descriptor, values)


def _reconstruct(cls, names, values):
    """What pickles and copies of records call."""
    return make_record(cls, RecordDescriptor(names), values)


def check_record_class(cls):
    """Raise InterfaceError unless `cls` can serve as a record_class: a subclass of Record without own construction."""
    if not isinstance(cls, type) or not issubclass(cls, record_class):
        raise InterfaceError(f"record_class is expected to be a subclass of fastpg.Record, got {cls!r}")
    if cls.__new__ is not record_class.__new__ or cls.__init__ is not record_class.__init__:
        raise InterfaceError("record_class must not redefine __new__ or __init__")


def _rename(bint as_asyncpg):
    """Let the modules of Record and RecordDescriptor read asyncpg.protocol.record, or fastpg.protocol.record."""
    fastpg_record_rename(as_asyncpg)


def _time_new(descriptor, int track, Py_ssize_t rounds):
    """Create, fill and drop `rounds` records; for benchmarks and leak tests."""
    cdef Py_ssize_t _i, k, n = len(descriptor.names)
    for _i in range(rounds):
        record = record_new(record_class, descriptor, track)
        for k in range(n):
            Py_INCREF(None)
            record_set(<PyObject *> record, k, <PyObject *> None)
        record = None
