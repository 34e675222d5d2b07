# SPDX-License-Identifier: MIT
"""What the server reports of itself: ParameterStatus values and its version."""

from __future__ import annotations

import re

from fastpg.types import ServerVersion


class ConnectionSettings:
    """ParameterStatus values as attributes (``settings.TimeZone``)."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> str:
        if not name.startswith("_"):
            try:
                return self._values[name]
            except KeyError:
                raise AttributeError(name) from None
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"<ConnectionSettings {self._values!r}>"


def parse_server_version(text: str) -> ServerVersion:
    """'15.18 (Debian ...)' -> ServerVersion(15, 0, 18, 'final', 0). A text without a number gives zeros."""
    match = re.search(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:(alpha|beta|rc|devel)(\d*))?", text)
    if match is None:
        return ServerVersion(0, 0, 0, "final", 0)
    first, second, third, level, serial = match.groups()
    major, minor, micro = int(first), int(second or 0), int(third or 0)
    if major >= 10:
        minor, micro = 0, minor
    return ServerVersion(major, minor, micro, level or "final", int(serial or 0))
