# SPDX-License-Identifier: MIT
# What `dsn.parse` has resolved, kept for the next call with the same arguments in the same environment.
#
# A program connects with the same few sets of arguments over and over, and to resolve one takes longer than to connect.
# What comes out of a file is not kept: the password file is read for each connection, and whatever names a service is
# resolved anew. The environment is compared as a whole, so that no variable can be forgotten here.
# May import: security.

import os

cimport cython
from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject

from fastpg.security import Secret, SecurityProfile

KEPT = 32  # sets of arguments; they may hold passwords, as the objects do that connect with them

# What can be told apart by its value and type. Callables, containers and TLS contexts are the caller's: not kept here.
_VALUES = frozenset({type(None), str, int, bool, Secret, SecurityProfile})
_get_uid = getattr(os, "getuid", int)  # decides the user name and home directory that nothing else says

_resolved = {}


cdef class Resolved:
    """What the arguments have become. passfile: the password file to look into for targets that have no password."""
    cdef readonly object params
    cdef readonly object passfile
    cdef dict environment

    def __init__(self, params, passfile, dict environment not None):
        self.params = params
        self.passfile = passfile
        self.environment = environment


def key_of(dsn, dict keywords not None):
    """What stands for these arguments of `parse`; None when they cannot be told from others, or hold a state."""
    if not keywords:
        return dsn, type(dsn), _get_uid()
    settings = keywords.get("server_settings")
    if settings is not None:
        if type(settings) is not dict:
            return None
        keywords = {**keywords, "server_settings": None}
        settings = tuple(settings.items())
    values = tuple(keywords.values())
    types = tuple(map(type, values))
    if not _VALUES.issuperset(types) or keywords.get("ssl") is True:
        return None  # ssl=True makes a context, and with it reads the authorities of this machine
    return dsn, type(dsn), tuple(keywords), values, types, settings, _get_uid()


cdef dict environment():
    # In the form that is the quickest to compare and copy: what os.environ keeps, where that shows.
    kept = getattr(os.environ, "_data", None)
    return kept if type(kept) is dict else dict(os.environ)


def copy_of_environment():
    """What a Resolved is to be made with, taken before the arguments are resolved."""
    return dict(environment())


cdef bint unchanged(dict before, dict now):
    # Most often nobody has set anything: then they hold the same objects in the same order.
    cdef PyObject *name
    cdef PyObject *value
    cdef PyObject *other_name
    cdef PyObject *other_value
    cdef Py_ssize_t i = 0, j = 0
    cdef bint same = len(before) == len(now)
    with cython.critical_section(now):
        while same and PyDict_Next(before, &i, &name, &value):
            same = (PyDict_Next(now, &j, &other_name, &other_value) and name == other_name and value == other_value)
    return same or before == now


def find(key):
    """What has been kept for the key, if the environment is still what it was; otherwise None."""
    try:
        found = _resolved.get(key)
    except TypeError:  # server_settings of something unhashable: an error, as `parse` will say
        return None
    return found if found is not None and unchanged((<Resolved?>found).environment, environment()) else None


def keep(key, Resolved resolved not None):
    """Keep this for the key; the one that was kept first goes when there are too many."""
    if key not in _resolved and len(_resolved) >= KEPT:
        _resolved.pop(list(_resolved)[0], None)     # another thread may add to it meanwhile
    _resolved[key] = resolved
