# SPDX-License-Identifier: MIT
"""The wire protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastpg.protocol.record import Record

if TYPE_CHECKING:
    from fastpg.protocol.protocol import BUILTIN_TYPE_NAME_MAP, NO_TIMEOUT, Protocol

__all__ = ["BUILTIN_TYPE_NAME_MAP", "NO_TIMEOUT", "Protocol", "Record"]


def __getattr__(name: str) -> Any:
    # These stand on top of modules that this package is the base of.
    if name in ("BUILTIN_TYPE_NAME_MAP", "NO_TIMEOUT", "Protocol"):
        from fastpg.protocol import protocol

        return getattr(protocol, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
