# SPDX-License-Identifier: MIT
# Dicts of rows, for sinks that need them.

from cpython.object cimport PyObject

from fastpg.protocol.row cimport RowPlan

cdef extern from "Python.h":
    dict PyDict_Copy(dict source)
    int PyDict_SetItem(PyObject *target, PyObject *key, PyObject *value) except -1
    PyObject *PyTuple_GET_ITEM(PyObject *items, Py_ssize_t i)
    void Py_DECREF(PyObject *value)


# A dict with the names of the columns and no values: to be copied, which takes less than to make one anew.
cdef dict dict_template(RowPlan plan)


cdef inline dict dict_of(RowPlan plan, dict template, PyObject **items):
    # A dict of the values, which it takes: they are NULL afterwards.
    cdef Py_ssize_t i
    cdef PyObject *value
    cdef dict row = PyDict_Copy(template)
    for i in range(plan.count):
        PyDict_SetItem(<PyObject *>row, PyTuple_GET_ITEM(<PyObject *>plan.names, i), items[i])
        value = items[i]
        items[i] = NULL
        Py_DECREF(value)
    return row
