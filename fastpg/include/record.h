/* SPDX-License-Identifier: MIT */
/* Record: one row. A tuple that also knows the names of its columns.
 *
 * Only fastpg.protocol.record links record.c and record_iter.c; other modules reach their functions through
 * record.pxd. What is inline here needs no symbol.
 */
#ifndef FASTPG_RECORD_H
#define FASTPG_RECORD_H

#include <Python.h>

typedef struct {
    PyObject_VAR_HEAD
    PyObject *desc;         /* RecordDescriptor, shared by the rows of a statement */
    PyObject *items[1];     /* Py_SIZE() values; NULL only until fastpg_record_set() */
} fastpg_Record;

/* Both return NULL with an exception set. */
PyTypeObject *fastpg_record_type(void);
PyTypeObject *fastpg_descriptor_type(void);

/* Static types have their module in their name: let it be the one of asyncpg, or our own again. */
int fastpg_record_rename(int as_asyncpg);

/* Once, before anything else. -1 with an exception on failure. */
int fastpg_record_init(void);

/* A new record of `type` (Record or a subclass), as wide as its descriptor, with no value set: the caller sets them
 * all. track = 0 leaves it unknown to the garbage collector, for rows whose values can be in no reference cycle; an
 * instance of a subclass, which may have attributes, is tracked all the same. */
PyObject *fastpg_record_new(PyTypeObject *type, PyObject *desc, int track);

/* record_iter.c: an iterator over the values. */
int fastpg_record_iter_init(void);
PyObject *fastpg_record_iter(PyObject *record);

/* Set the value of a column of a new record, once. Steals the reference; no checks. */
static inline void fastpg_record_set(PyObject *record, Py_ssize_t i, PyObject *value)
{
    ((fastpg_Record *)record)->items[i] = value;
}

/* Where the values of a new record go: as many references as it has columns, each stored once. */
static inline PyObject **fastpg_record_items(PyObject *record)
{
    return ((fastpg_Record *)record)->items;
}

#endif
