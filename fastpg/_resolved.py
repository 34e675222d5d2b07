# SPDX-License-Identifier: MIT
"""What `dsn.parse` has resolved, kept for the next call with the same arguments in the same environment.

A program connects with the same few sets of arguments over and over, and to resolve one takes longer than to connect.
What comes out of a file is not kept: the password file is read for each connection, and whatever names a service is
resolved anew. The environment is compared as a whole, so that no variable can be forgotten here.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from fastpg._params import ConnectParams
from fastpg.security import Secret, SecurityProfile

__all__ = ("Resolved", "environment", "find", "keep", "key_of")

KEPT = 32  # sets of arguments; they may hold passwords, as the objects do that connect with them

# What can be told apart by its value and type. Callables, containers and TLS contexts are the caller's: not kept here.
_VALUES = frozenset({type(None), str, int, bool, Secret, SecurityProfile})
_get_uid = getattr(os, "getuid", int)  # decides the user name and home directory that nothing else says

_resolved: dict[Hashable, Resolved] = {}


class Resolved(NamedTuple):
    """What the arguments have become. passfile: the password file to look into for targets that have no password."""

    params: ConnectParams
    passfile: str | None
    environment: Mapping[Any, Any]


def key_of(dsn: object, keywords: dict[str, Any]) -> Hashable | None:
    """What stands for these arguments of `parse`; None when they cannot be told from others, or hold a state."""
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


def environment() -> Mapping[Any, Any]:
    """The environment in the form that is the quickest to compare and copy: what os.environ keeps, where that shows."""
    kept = getattr(os.environ, "_data", None)
    return kept if type(kept) is dict else dict(os.environ)


def find(key: Hashable) -> Resolved | None:
    """What has been kept for the key, if the environment is still what it was; otherwise None."""
    try:
        found = _resolved.get(key)
    except TypeError:  # server_settings of something unhashable: an error, as `parse` will say
        return None
    return found if found is not None and found.environment == environment() else None


def keep(key: Hashable, resolved: Resolved) -> None:
    """Keep this for the key; the one that was kept first goes when there are too many."""
    if key not in _resolved and len(_resolved) >= KEPT:
        _resolved.pop(next(iter(_resolved)), None)
    _resolved[key] = resolved
