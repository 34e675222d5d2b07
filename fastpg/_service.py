# SPDX-License-Identifier: MIT
"""The connection service file: an ini file whose sections hold connection parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from fastpg._conninfo import PARAMETERS
from fastpg.exceptions import ClientConfigurationError

__all__ = ("load_service",)


def load_service(name: str, servicefile: str | None, environ: Mapping[str, str], home: str) -> dict[str, str]:
    """Return the parameters of service `name`.

    Looked for in `servicefile` if given, else in the user's own file; then in the file of the system, whose directory
    PGSYSCONFDIR names. Not found, unreadable or malformed: ClientConfigurationError.
    """
    places: list[str] = []
    if servicefile:
        if not os.path.exists(servicefile):
            raise ClientConfigurationError(f'service file "{servicefile}" does not exist or cannot be accessed')
        places.append(servicefile)
    elif sys.platform == "win32":
        places.append(os.path.join(environ.get("APPDATA", ""), "postgresql", ".pg_service.conf"))
    elif home:
        places.append(os.path.join(home, ".pg_service.conf"))
    if environ.get("PGSYSCONFDIR"):
        places.append(os.path.join(environ["PGSYSCONFDIR"], "pg_service.conf"))
    for place in places:
        if os.path.exists(place):
            found = _read(place, name)
            if found is not None:
                return found
    raise ClientConfigurationError(f'definition of service "{name}" not found')


def _read(path: str, name: str) -> dict[str, str] | None:
    """Return the section, or None if the file has none of that name. The first value of a parameter wins."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except (OSError, ValueError):
        lines = None
    if lines is None:
        raise ClientConfigurationError(f'service file "{path}" cannot be read')
    found: dict[str, str] | None = None
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if found is not None:
                break
            if line == f"[{name}]":
                found = {}
            continue
        if found is None:
            continue
        key, equals, value = line.partition("=")
        key = key.strip()
        problem = None
        if not equals:
            problem = 'a line without "="'
        elif key in ("service", "servicefile"):
            problem = "a service may not name another one"
        elif key not in PARAMETERS:
            problem = f"unknown connection parameter {key!r}"
        if problem is not None:
            raise ClientConfigurationError(f'service file "{path}", line {number}: {problem}')
        found.setdefault(key, value.strip())
    return found
