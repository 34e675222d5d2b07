/* SPDX-License-Identifier: MIT */
#include "record.h"

#include <stddef.h>
#include <string.h>

typedef struct {
    PyObject_HEAD
    PyObject *names;        /* tuple of str, in order */
    PyObject *index;        /* dict, name -> position; of equal names the last one counts; never changed */
} Descriptor;

static PyTypeObject RecordType;
static PyTypeObject DescriptorType;

/* Memory of dead records by width. With the GIL only: nothing else protects the lists. */
#ifndef Py_GIL_DISABLED
#define FREE_WIDTH 20
#define FREE_DEPTH 256
static struct {
    fastpg_Record *first;   /* linked through desc */
    int count;
} free_records[FREE_WIDTH];
#endif

/* ---- RecordDescriptor ---- */

static PyObject *descriptor_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"names", NULL};
    PyObject *names, *index;
    Descriptor *self;
    Py_ssize_t i;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:RecordDescriptor", keywords, &PyTuple_Type, &names))
        return NULL;
    index = PyDict_New();
    if (index == NULL)
        return NULL;
    for (i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        PyObject *position;
        int failed;
        if (!PyUnicode_CheckExact(name)) {
            PyErr_Format(PyExc_TypeError, "column names must be str, not %.200s", Py_TYPE(name)->tp_name);
            goto error;
        }
        position = PyLong_FromSsize_t(i);
        if (position == NULL)
            goto error;
        failed = PyDict_SetItem(index, name, position);
        Py_DECREF(position);
        if (failed)
            goto error;
    }
    self = (Descriptor *)type->tp_alloc(type, 0);
    if (self == NULL)
        goto error;
    Py_INCREF(names);
    self->names = names;
    self->index = index;
    return (PyObject *)self;
error:
    Py_DECREF(index);
    return NULL;
}

static void descriptor_dealloc(PyObject *op)
{
    Descriptor *self = (Descriptor *)op;
    Py_XDECREF(self->names);
    Py_XDECREF(self->index);
    Py_TYPE(op)->tp_free(op);
}

static PyObject *descriptor_names(PyObject *op, void *closure)
{
    (void)closure;
    Py_INCREF(((Descriptor *)op)->names);
    return ((Descriptor *)op)->names;
}

static PyObject *descriptor_reduce(PyObject *op, PyObject *unused)
{
    (void)unused;
    return Py_BuildValue("O(O)", (PyObject *)Py_TYPE(op), ((Descriptor *)op)->names);
}

static PyGetSetDef descriptor_getset[] = {
    {"names", descriptor_names, NULL, "The column names, in order.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef descriptor_methods[] = {
    {"__reduce__", descriptor_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject DescriptorType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "fastpg.protocol.record.RecordDescriptor",
    .tp_doc = "RecordDescriptor(names)\n--\n\nThe column names that the rows of one statement share.",
    .tp_basicsize = sizeof(Descriptor),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = descriptor_new,
    .tp_dealloc = descriptor_dealloc,
    .tp_getset = descriptor_getset,
    .tp_methods = descriptor_methods,
};

/* ---- Record: life ---- */

PyObject *fastpg_record_new(PyTypeObject *type, PyObject *desc, int track)
{
    fastpg_Record *self;
    Py_ssize_t n;

    if (!Py_IS_TYPE(desc, &DescriptorType)) {
        PyErr_SetString(PyExc_TypeError, "a RecordDescriptor is required");
        return NULL;
    }
    n = PyTuple_GET_SIZE(((Descriptor *)desc)->names);
    if (type != &RecordType) {
        if (!PyType_IsSubtype(type, &RecordType)) {
            PyErr_Format(PyExc_TypeError, "a subclass of Record is required, got %.200s", type->tp_name);
            return NULL;
        }
        /* Zeroed, tracked, with room for what the subclass adds. */
        self = (fastpg_Record *)PyType_GenericAlloc(type, n);
        if (self == NULL)
            return NULL;
        Py_INCREF(desc);
        self->desc = desc;
        return (PyObject *)self;
    }
#ifndef Py_GIL_DISABLED
    if (n < FREE_WIDTH && free_records[n].first != NULL) {
        self = free_records[n].first;
        free_records[n].first = (fastpg_Record *)self->desc;
        free_records[n].count--;
        (void)PyObject_InitVar((PyVarObject *)self, type, n);
    } else
#endif
    {
        self = PyObject_GC_NewVar(fastpg_Record, type, n);
        if (self == NULL)
            return NULL;
    }
    Py_INCREF(desc);
    self->desc = desc;
    memset(self->items, 0, (size_t)n * sizeof(PyObject *));
    if (track)
        PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PyObject *record_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    PyErr_Format(PyExc_TypeError, "cannot create '%.200s' instances", type->tp_name);
    return NULL;
}

/* There is no tp_clear, as tuple has none: a record is complete before anything can refer to it, so a cycle through
 * it also goes through some other container, which can be cleared. */
static int record_traverse(PyObject *op, visitproc visit, void *arg)
{
    fastpg_Record *self = (fastpg_Record *)op;
    Py_ssize_t i;
    for (i = Py_SIZE(op); --i >= 0;)
        Py_VISIT(self->items[i]);
    return 0;
}

static void record_dealloc(PyObject *op)
{
    fastpg_Record *self = (fastpg_Record *)op;
    Py_ssize_t i;

    PyObject_GC_UnTrack(op);
    Py_TRASHCAN_BEGIN(op, record_dealloc)
    for (i = Py_SIZE(op); --i >= 0;)
        Py_XDECREF(self->items[i]);
    Py_XDECREF(self->desc);
#ifndef Py_GIL_DISABLED
    if (Py_IS_TYPE(op, &RecordType) && Py_SIZE(op) < FREE_WIDTH && free_records[Py_SIZE(op)].count < FREE_DEPTH) {
        self->desc = (PyObject *)free_records[Py_SIZE(op)].first;
        free_records[Py_SIZE(op)].first = self;
        free_records[Py_SIZE(op)].count++;
    } else
#endif
        Py_TYPE(op)->tp_free(op);
    Py_TRASHCAN_END
}

/* ---- Record: values ---- */

/* Borrowed. A value that is not set yet can be seen only through gc.get_objects(). */
static inline PyObject *value_at(PyObject *op, Py_ssize_t i)
{
    PyObject *value = ((fastpg_Record *)op)->items[i];
    return value != NULL ? value : Py_None;
}

static inline PyObject *names_of(PyObject *op)
{
    return ((Descriptor *)((fastpg_Record *)op)->desc)->names;
}

static inline PyObject *index_of(PyObject *op)
{
    return ((Descriptor *)((fastpg_Record *)op)->desc)->index;
}

/* The values as a new tuple. */
static PyObject *as_tuple(PyObject *op)
{
    Py_ssize_t i, n = Py_SIZE(op);
    PyObject *result = PyTuple_New(n);
    if (result == NULL)
        return NULL;
    for (i = 0; i < n; i++) {
        PyObject *value = value_at(op, i);
        Py_INCREF(value);
        PyTuple_SET_ITEM(result, i, value);
    }
    return result;
}

static Py_ssize_t record_length(PyObject *op)
{
    return Py_SIZE(op);
}

/* sq_item: the caller has already added the length to a negative index. */
static PyObject *record_item(PyObject *op, Py_ssize_t i)
{
    PyObject *value;
    if (i < 0 || i >= Py_SIZE(op)) {
        PyErr_SetString(PyExc_IndexError, "record index out of range");
        return NULL;
    }
    value = value_at(op, i);
    Py_INCREF(value);
    return value;
}

/* Borrowed; NULL without an exception when there is no such name. */
static PyObject *find(PyObject *op, PyObject *key)
{
    Py_ssize_t i;
    PyObject *position = PyDict_GetItemWithError(index_of(op), key);
    if (position == NULL)
        return NULL;
    i = PyLong_AsSsize_t(position);
    if (i < 0 || i >= Py_SIZE(op))
        return NULL;
    return value_at(op, i);
}

static PyObject *record_subscript(PyObject *op, PyObject *key)
{
    PyObject *value, *values;
    Py_ssize_t i;

    if (PyLong_CheckExact(key)) {
        i = PyLong_AsSsize_t(key);
        if (i >= 0)
            return record_item(op, i);
        PyErr_Clear();      /* negative, or too large: below */
    }
    if (!PyUnicode_Check(key)) {
        if (PyIndex_Check(key)) {
            i = PyNumber_AsSsize_t(key, PyExc_IndexError);
            if (i == -1 && PyErr_Occurred())
                return NULL;
            return record_item(op, i < 0 ? i + Py_SIZE(op) : i);
        }
        if (PySlice_Check(key)) {
            values = as_tuple(op);
            if (values == NULL)
                return NULL;
            value = PyObject_GetItem(values, key);
            Py_DECREF(values);
            return value;
        }
    }
    value = find(op, key);
    if (value == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, key);
        return NULL;
    }
    Py_INCREF(value);
    return value;
}

static int record_contains(PyObject *op, PyObject *name)
{
    return PyDict_Contains(index_of(op), name);
}

static Py_hash_t record_hash(PyObject *op)
{
    Py_hash_t result;
    PyObject *values = as_tuple(op);
    if (values == NULL)
        return -1;
    result = PyObject_Hash(values);
    Py_DECREF(values);
    return result;
}

static PyObject *record_richcompare(PyObject *op, PyObject *other, int how)
{
    PyObject *mine, *theirs, *result;

    if (!PyTuple_Check(other) && !PyObject_TypeCheck(other, &RecordType))
        Py_RETURN_NOTIMPLEMENTED;
    mine = as_tuple(op);
    if (mine == NULL)
        return NULL;
    if (PyTuple_Check(other)) {
        Py_INCREF(other);
        theirs = other;
    } else {
        theirs = as_tuple(other);
        if (theirs == NULL) {
            Py_DECREF(mine);
            return NULL;
        }
    }
    result = PyObject_RichCompare(mine, theirs, how);
    Py_DECREF(mine);
    Py_DECREF(theirs);
    return result;
}

static PyObject *record_repr(PyObject *op)
{
    PyObject *parts = NULL, *name, *text = NULL, *joined, *result = NULL;
    Py_ssize_t i, n = Py_SIZE(op);
    int entered = Py_ReprEnter(op);

    if (entered != 0)
        return entered > 0 ? PyUnicode_FromString("<Record ...>") : NULL;
    parts = PyList_New(0);
    name = PyObject_GetAttrString((PyObject *)Py_TYPE(op), "__name__");
    if (parts == NULL || name == NULL)
        goto done;
    for (i = 0; i < n; i++) {
        text = PyUnicode_FromFormat("%U=%R", PyTuple_GET_ITEM(names_of(op), i), value_at(op, i));
        if (text == NULL || PyList_Append(parts, text) < 0)
            goto done;
        Py_CLEAR(text);
    }
    text = PyUnicode_FromString(" ");
    if (text == NULL)
        goto done;
    joined = PyUnicode_Join(text, parts);
    if (joined != NULL) {
        result = PyUnicode_FromFormat(n > 0 ? "<%U %U>" : "<%U%U>", name, joined);
        Py_DECREF(joined);
    }
done:
    Py_ReprLeave(op);
    Py_XDECREF(text);
    Py_XDECREF(name);
    Py_XDECREF(parts);
    return result;
}

static PyObject *record_get(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    PyObject *value;
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "Record.get() expected 1 or 2 arguments, got %zd", count);
        return NULL;
    }
    value = find(op, args[0]);
    if (value == NULL) {
        if (PyErr_Occurred())
            return NULL;
        value = count == 2 ? args[1] : Py_None;
    }
    Py_INCREF(value);
    return value;
}

static PyObject *record_keys(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyObject_GetIter(names_of(op));
}

static PyObject *record_values(PyObject *op, PyObject *unused)
{
    (void)unused;
    return fastpg_record_iter(op);
}

static PyObject *record_items(PyObject *op, PyObject *unused)
{
    PyObject *result, *values = as_tuple(op);
    (void)unused;
    if (values == NULL)
        return NULL;
    result = PyObject_CallFunctionObjArgs((PyObject *)&PyZip_Type, names_of(op), values, NULL);
    Py_DECREF(values);
    return result;
}

/* (_reconstruct, (type, names, values)[, __dict__]); the names are shared between the rows of one pickle. */
static PyObject *record_reduce(PyObject *op, PyObject *unused)
{
    PyObject *module = NULL, *function = NULL, *values = NULL, *state = NULL, *result = NULL;

    (void)unused;
    module = PyImport_ImportModule("fastpg.protocol.record");
    if (module == NULL)
        return NULL;
    function = PyObject_GetAttrString(module, "_reconstruct");
    values = as_tuple(op);
    if (function == NULL || values == NULL)
        goto done;
    if (!Py_IS_TYPE(op, &RecordType)) {
        state = PyObject_GetAttrString(op, "__dict__");
        if (state == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError))
                goto done;
            PyErr_Clear();
        }
    }
    if (state != NULL && PyDict_Check(state) && PyDict_GET_SIZE(state) > 0)
        result = Py_BuildValue("O(OOO)O", function, (PyObject *)Py_TYPE(op), names_of(op), values, state);
    else
        result = Py_BuildValue("O(OOO)", function, (PyObject *)Py_TYPE(op), names_of(op), values);
done:
    Py_XDECREF(state);
    Py_XDECREF(values);
    Py_XDECREF(function);
    Py_DECREF(module);
    return result;
}

static PyMethodDef record_methods[] = {
    {"get", (PyCFunction)(void (*)(void))record_get, METH_FASTCALL,
     "get($self, key, default=None, /)\n--\n\nThe value of the column `key`, or `default`."},
    {"keys", record_keys, METH_NOARGS, "keys($self, /)\n--\n\nAn iterator over the column names."},
    {"values", record_values, METH_NOARGS, "values($self, /)\n--\n\nAn iterator over the values."},
    {"items", record_items, METH_NOARGS, "items($self, /)\n--\n\nAn iterator over (name, value)."},
    {"__reduce__", record_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods record_as_sequence = {
    .sq_length = record_length,
    .sq_item = record_item,
    .sq_contains = record_contains,
};

static PyMappingMethods record_as_mapping = {
    .mp_length = record_length,
    .mp_subscript = record_subscript,
};

static PyTypeObject RecordType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "fastpg.protocol.record.Record",
    .tp_doc = "One row: a tuple of values that can also be reached by column name.",
    .tp_basicsize = offsetof(fastpg_Record, items),
    .tp_itemsize = sizeof(PyObject *),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = record_tp_new,
    .tp_dealloc = record_dealloc,
    .tp_traverse = record_traverse,
    .tp_free = PyObject_GC_Del,
    .tp_hash = record_hash,
    .tp_repr = record_repr,
    .tp_iter = fastpg_record_iter,
    .tp_richcompare = record_richcompare,
    .tp_methods = record_methods,
    .tp_as_sequence = &record_as_sequence,
    .tp_as_mapping = &record_as_mapping,
};

/* ---- module ---- */

int fastpg_record_init(void)
{
    if (PyType_Ready(&DescriptorType) < 0 || fastpg_record_iter_init() < 0)
        return -1;
    return PyType_Ready(&RecordType);
}

int fastpg_record_rename(int as_asyncpg)
{
    static const char *const names[2][2] = {
        {"fastpg.protocol.record.Record", "fastpg.protocol.record.RecordDescriptor"},
        {"asyncpg.protocol.record.Record", "asyncpg.protocol.record.RecordDescriptor"},
    };
    RecordType.tp_name = names[as_asyncpg != 0][0];
    DescriptorType.tp_name = names[as_asyncpg != 0][1];
    return 0;
}

PyTypeObject *fastpg_record_type(void)
{
    return &RecordType;
}

PyTypeObject *fastpg_descriptor_type(void)
{
    return &DescriptorType;
}
