# SPDX-License-Identifier: MIT
"""The contrib type hstore as a dict of str to str or None, in its binary form (hstore_send)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from fastpg.exceptions import UnrepresentableValueError

__all__ = ["HSTORE", "hstore_from_binary", "hstore_to_binary"]

HSTORE = "pg_contrib.hstore"


def _text(value: Any, encoding: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"expected str, got {type(value).__name__}")
    data = value.encode(encoding)
    return struct.pack("!i", len(data)) + data


def hstore_to_binary(
    value: Mapping[str, str | None] | Iterable[tuple[str, str | None]], encoding: str = "utf-8"
) -> bytes:
    """A mapping, or pairs, of str to str or None."""
    items = list(value.items() if isinstance(value, Mapping) else value)
    parts = [struct.pack("!i", len(items))]
    for key, item in items:
        if key is None:
            raise ValueError("null value not allowed in hstore key")
        parts.append(_text(key, encoding))
        parts.append(struct.pack("!i", -1) if item is None else _text(item, encoding))
    return b"".join(parts)


def hstore_from_binary(data: bytes, encoding: str = "utf-8") -> dict[str, str | None]:
    """The dict of a value that the server sent."""
    result: dict[str, str | None] = {}
    at = 4
    try:
        for _ in range(*struct.unpack_from("!i", data)):
            key, at = _take(data, at, encoding)
            if key is None:
                raise ValueError("a key that is NULL")
            result[key], at = _take(data, at, encoding)
        if at != len(data):
            raise ValueError("trailing bytes")
    except (struct.error, ValueError) as error:
        raise UnrepresentableValueError(f"value of type hstore: {error}") from error
    return result


def _take(data: bytes, at: int, encoding: str) -> tuple[str | None, int]:
    (length,) = struct.unpack_from("!i", data, at)
    at += 4
    if length == -1:
        return None, at
    if length < 0 or length > len(data) - at:
        raise ValueError(f"a string of {length} bytes")
    return data[at : at + length].decode(encoding), at + length
