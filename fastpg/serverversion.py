# SPDX-License-Identifier: MIT
"""A server's version from the text that it reports."""

from __future__ import annotations

import re
from typing import Final

from fastpg.types import ServerVersion

__all__ = ("ServerVersion", "split_server_version_string", "version_regex")

version_regex: Final = re.compile(
    r"(?:Postgres(?:QL)?\s+)?(?P<major>\d+)(?:\.(?P<minor>\d+))?(?:\.(?P<micro>\d+))?"
    r"(?:(?P<releaselevel>[a-z]+)(?P<serial>\d*))?(?![\w])",
    re.IGNORECASE,
)


def split_server_version_string(version_string: str) -> ServerVersion:
    """'15.18 (Debian ...)' gives ServerVersion(15, 0, 18, 'final', 0).

    From 10 on the second number is the micro version. Raises ValueError for a text that does not start with a version.
    """
    match = version_regex.match(version_string)
    if match is None:
        raise ValueError(f'Unable to parse Postgres version from "{version_string}"')
    major, minor, micro = (int(match[name] or 0) for name in ("major", "minor", "micro"))
    if major >= 10:
        minor, micro = 0, minor
    return ServerVersion(major, minor, micro, match["releaselevel"] or "final", int(match["serial"] or 0))
