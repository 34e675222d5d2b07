# SPDX-License-Identifier: MIT
# Rows as objects that a function of the user makes. What such a function raises is the error of its query alone: the
# rest of the result is read and the connection lives. May import: row, base, dicts, exceptions.

from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_New

from fastpg.protocol.row cimport RowPlan
from fastpg.sinks.base cimport ItemSink, decode_row
from fastpg.sinks.dicts cimport dict_of, dict_template

from fastpg.exceptions import ProtocolError

cdef extern from "Python.h":
    ctypedef struct PyTupleObject:
        PyObject **ob_item
    object PyObject_Vectorcall(PyObject *function, PyObject **arguments, size_t count, PyObject *keywords)
    void Py_CLEAR(PyObject *value)

cdef tuple INTERRUPTS = (KeyboardInterrupt, SystemExit)

cdef enum:
    FROM_TUPLE = 0
    FROM_DICT = 1
    FROM_ARGUMENTS = 2


cdef class RowMaker:
    """How the values of one statement's rows become an object: by function(tuple of them).

    from_dict: by function(dict of them) instead. order: by function(*positional, **named), where `order` has the
    column of each argument and `keywords` are the names of the last ones.
    """
    cdef object function
    cdef int how
    cdef tuple order
    cdef tuple keywords
    cdef Py_ssize_t positional      # how many arguments there are in front of those

    def __init__(self, function, tuple order=None, tuple keywords=(), *, from_dict=False):
        self.function = function
        self.how = FROM_ARGUMENTS if order is not None else FROM_DICT if from_dict else FROM_TUPLE
        self.order = order
        self.keywords = keywords
        self.positional = len(order or ()) - len(keywords)


cdef class ObjectSink(ItemSink):
    """A list of what a RowMaker makes; make(factory, names) gives it, once for each statement."""
    cdef object factory
    cdef object make
    cdef RowMaker maker
    cdef dict template

    def __init__(self, factory, make):
        self.factory = factory
        self.make = make

    def again(self):
        """A fresh sink of the same kind: for a second try, or for another query."""
        cdef ObjectSink fresh = ObjectSink.__new__(ObjectSink)
        fresh.factory = self.factory
        fresh.make = self.make
        return fresh

    cdef int begin(self, RowPlan plan) except -1:
        self.plan = plan
        try:
            self.maker = plan.derive(self.factory, self.make)
        except BaseException as error:
            raise_foreign(self.factory, error)
        if self.maker.how == FROM_DICT:
            self.template = dict_template(plan)
        return 0

    cdef int decode(self, const char *p, const char *end, Py_ssize_t *column) except -1:
        cdef RowPlan plan = self.plan
        cdef PyObject *argument
        if self.maker.how != FROM_TUPLE:
            return ItemSink.decode(self, p, end, column)
        while p < end:
            values = PyTuple_New(plan.count)
            p = decode_row(plan, p, (<PyTupleObject *>values).ob_item, column)
            argument = <PyObject *>values
            self.result.append(self.call(&argument, 1, NULL))
        return 0

    cdef object row(self, RowPlan plan, PyObject **items):
        cdef RowMaker maker = self.maker
        cdef Py_ssize_t i, count = plan.count
        cdef PyObject **arguments = items + count   # these borrow the values, in the order of the call
        if maker.how == FROM_DICT:
            values = dict_of(plan, self.template, items)
            arguments[0] = <PyObject *>values
            return self.call(arguments, 1, NULL)
        for i in range(count):
            arguments[i] = items[<Py_ssize_t>maker.order[i]]
        made = self.call(arguments, maker.positional, <PyObject *>maker.keywords if maker.positional < count else NULL)
        for i in range(count):
            Py_CLEAR(items[i])
        return made

    cdef object call(self, PyObject **arguments, size_t positional, PyObject *keywords):
        try:
            return PyObject_Vectorcall(<PyObject *>self.maker.function, arguments, positional, keywords)
        except BaseException as error:
            raise_foreign(self.factory, error)


cdef int raise_foreign(object factory, object error) except -1:
    # Some would be taken for something else: the end of a generator, a broken stream, a cancelled task.
    if (isinstance(error, (StopIteration, StopAsyncIteration, ProtocolError))
            or not isinstance(error, (Exception, *INTERRUPTS))):
        raise RuntimeError(f"the row factory {factory!r} raised {error!r}") from error
    raise error
