/* SPDX-License-Identifier: MIT */
/* The iterator over a record's values. Most rows are read through one, `for value in row` or tuple(row), so its
 * memory is kept for the next, and it is known to the garbage collector only when its record is. */
#include "record.h"

typedef struct {
    PyObject_HEAD
    PyObject *record;       /* NULL when exhausted */
    Py_ssize_t next;
} RecordIterator;

#ifndef Py_GIL_DISABLED
#define FREE_DEPTH 16
static RecordIterator *free_iterators[FREE_DEPTH];
static int free_count;
#endif

static void iterator_dealloc(PyObject *op)
{
    RecordIterator *self = (RecordIterator *)op;

    if (PyObject_GC_IsTracked(op))
        PyObject_GC_UnTrack(op);
    Py_CLEAR(self->record);
#ifndef Py_GIL_DISABLED
    if (free_count < FREE_DEPTH) {
        free_iterators[free_count++] = self;
        return;
    }
#endif
    PyObject_GC_Del(op);
}

static int iterator_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((RecordIterator *)op)->record);
    return 0;
}

static PyObject *iterator_next(PyObject *op)
{
    RecordIterator *self = (RecordIterator *)op;
    PyObject *record = self->record, *value;

    if (record == NULL)
        return NULL;
    if (self->next < Py_SIZE(record)) {
        value = ((fastpg_Record *)record)->items[self->next++];
        if (value == NULL)
            value = Py_None;
        Py_INCREF(value);
        return value;
    }
#ifndef Py_GIL_DISABLED
    self->record = NULL;    /* with threads in parallel the record lives as long as its iterator */
    Py_DECREF(record);
#endif
    return NULL;
}

static PyObject *iterator_length_hint(PyObject *op, PyObject *unused)
{
    RecordIterator *self = (RecordIterator *)op;

    (void)unused;
    return PyLong_FromSsize_t(self->record == NULL ? 0 : Py_SIZE(self->record) - self->next);
}

static PyMethodDef iterator_methods[] = {
    {"__length_hint__", iterator_length_hint, METH_NOARGS, "How many values are left."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject IteratorType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "fastpg.protocol.record.RecordIterator",
    .tp_basicsize = sizeof(RecordIterator),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = iterator_dealloc,
    .tp_traverse = iterator_traverse,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = iterator_next,
    .tp_methods = iterator_methods,
};

int fastpg_record_iter_init(void)
{
    return PyType_Ready(&IteratorType);
}

PyObject *fastpg_record_iter(PyObject *record)
{
    RecordIterator *self;

#ifndef Py_GIL_DISABLED
    if (free_count > 0) {
        self = free_iterators[--free_count];
        (void)PyObject_Init((PyObject *)self, &IteratorType);
    } else
#endif
    {
        self = PyObject_GC_New(RecordIterator, &IteratorType);
        if (self == NULL)
            return NULL;
    }
    Py_INCREF(record);
    self->record = record;
    self->next = 0;
    if (PyObject_GC_IsTracked(record))
        PyObject_GC_Track(self);
    return (PyObject *)self;
}
