# SPDX-License-Identifier: MIT
# Rows as dicts. May import: row, base.

from cpython.object cimport PyObject

from fastpg.protocol.row cimport RowPlan
from fastpg.sinks.base cimport ItemSink


cdef class DictSink(ItemSink):
    """A list of dicts, name -> value; of equal names the last one counts.

    check(factory, names) is called once for each statement, and raises when the names are not good.
    """
    cdef object factory
    cdef object check
    cdef dict template

    def __init__(self, factory=None, check=None):
        self.factory = factory
        self.check = check

    def again(self):
        """A fresh sink of the same kind: for a second try, or for another query."""
        cdef DictSink fresh = DictSink.__new__(DictSink)
        fresh.factory = self.factory
        fresh.check = self.check
        return fresh

    cdef int begin(self, RowPlan plan) except -1:
        self.plan = plan
        if self.check is not None:
            plan.derive(self.factory, self.check)
        self.template = dict_template(plan)
        return 0

    cdef object row(self, RowPlan plan, PyObject **items):
        return dict_of(plan, self.template, items)


def _template(factory, names):
    return dict.fromkeys(names)


cdef dict dict_template(RowPlan plan):
    return plan.derive(DictSink, _template)
