# SPDX-License-Identifier: MIT
"""What the server reports of itself: ParameterStatus values and its version."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastpg.codecs.codec import CodecHandle
from fastpg.codecs.registry import Registry
from fastpg.exceptions import InterfaceError
from fastpg.introspection import type_infos
from fastpg.serverversion import split_server_version_string
from fastpg.types import ServerVersion


class ConnectionSettings:
    """ParameterStatus values as attributes (``settings.TimeZone``), and the codecs of the connection."""

    __slots__ = ("_registry", "_values")

    def __init__(self, values: dict[str, str], registry: Registry | None = None) -> None:
        self._values = values
        self._registry = registry

    def __getattr__(self, name: str) -> str:
        if not name.startswith("_"):
            try:
                return self._values[name]
            except KeyError:
                raise AttributeError(name) from None
        raise AttributeError(name)

    def add_python_codec(
        self,
        typeoid: int,
        typename: str,
        typeschema: str,
        typeinfos: Any,
        typekind: str,
        encoder: Callable[[Any], Any],
        decoder: Callable[[Any], Any],
        format: str,
    ) -> None:
        """set_type_codec() for a type whose OID is known, without a query. Statements prepared before keep theirs."""
        self._codecs.set_python(typeoid, typename, encoder, decoder, format)

    def remove_python_codec(self, typeoid: int, typename: str, typeschema: str) -> None:
        """Undo add_python_codec()."""
        self._codecs.reset(typeoid)

    def get_data_codec(self, oid: int, format: int = 0, ignore_custom_codec: bool = False) -> CodecHandle | None:
        """The codec for the values of a type, or None when nothing is known of the type."""
        return self._codecs.lookup(oid)

    def register_data_types(self, types: Iterable[Mapping[str, Any]]) -> None:
        """Take in rows of introspection.INTRO_LOOKUP_TYPES, for all connections to the database."""
        self._codecs.add_types(type_infos(types))

    def clear_type_cache(self) -> None:
        """Forget the codecs that were made for introspected types. Those of set_type_codec() stay."""
        self._codecs.clear()

    @property
    def _codecs(self) -> Registry:
        if self._registry is None:
            raise InterfaceError("these settings have no codecs: they belong to no connection")
        return self._registry

    def __repr__(self) -> str:
        return f"<ConnectionSettings {self._values!r}>"


@functools.lru_cache(maxsize=32)
def parse_server_version(text: str) -> ServerVersion:
    """'15.18 (Debian ...)' gives ServerVersion(15, 0, 18, 'final', 0). A text without a version gives zeros."""
    try:
        return split_server_version_string(text)
    except ValueError:
        return ServerVersion(0, 0, 0, "final", 0)
