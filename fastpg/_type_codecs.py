# SPDX-License-Identifier: MIT
"""Codecs that a connection is told of before it is there: the argument `codecs` of connect() and create_pool()."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fastpg.exceptions import ClientConfigurationError

__all__ = ["Codecs", "DeclaredCodecs", "NamedCodec", "TypeCodec", "declared"]


@dataclass(frozen=True, slots=True)
class TypeCodec:
    """How the values of one type become Python objects and back.

    encoder, decoder, format: as in Connection.set_type_codec(); where one of the functions is None, the type's own
    codec does its work. codec_name: instead of functions the name of a built-in codec, such as 'int4' or
    'pg_contrib.hstore', as in Connection.set_builtin_type_codec(). schema: the type's schema; 'pg_catalog' for
    built-in types.

    Raises ClientConfigurationError when nothing, or both, is given.
    """

    encoder: Callable[[Any], Any] | None = None
    decoder: Callable[[Any], Any] | None = None
    format: Literal["text", "binary", "tuple"] = "text"
    schema: str = "public"
    codec_name: str | None = None

    def __post_init__(self) -> None:
        functions = self.encoder is not None or self.decoder is not None
        if functions == (self.codec_name is not None):
            raise ClientConfigurationError("TypeCodec: an encoder, a decoder or both are expected, or a codec_name")
        for name in ("encoder", "decoder"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ClientConfigurationError(f"TypeCodec: {name} is no function: {getattr(self, name)!r}")
        if self.format not in ("text", "binary", "tuple"):
            raise ClientConfigurationError(
                f"TypeCodec: format is expected to be 'text', 'binary' or 'tuple', got {self.format!r}"
            )


Codecs: TypeAlias = "Mapping[str, TypeCodec | str] | Iterable[tuple[str, TypeCodec | str]]"
"""Type name -> codec, or pairs of them. A str is the name of a built-in codec, for a type in the schema public."""

NamedCodec: TypeAlias = tuple[str, TypeCodec]
"""A type's name in its schema, and its codec."""


class DeclaredCodecs:
    """What one connection was told of: `given`, and in `oids` by (schema, name) the types for which it has been set."""

    __slots__ = ("given", "oids")

    def __init__(self, given: Iterable[NamedCodec]) -> None:
        self.given = list(given)
        self.oids: dict[tuple[str, str], int] = {}

    @property
    def pending(self) -> list[NamedCodec]:
        """What has not been set yet, for want of the type's OID."""
        return [(name, codec) for name, codec in self.given if (codec.schema, name) not in self.oids]

    def forget(self, schema: str, name: str) -> None:
        """What a user sets later holds, and is not undone when types are looked up anew."""
        self.given = [item for item in self.given if (item[1].schema, item[0]) != (schema, name)]


#: For a connection that was told of none.
NONE_DECLARED = DeclaredCodecs(())


def declared(codecs: Codecs | None) -> tuple[NamedCodec, ...]:
    """The argument `codecs`, checked. Raises ClientConfigurationError, which names the type."""
    if codecs is None:
        return ()
    if isinstance(codecs, str) or not isinstance(codecs, Iterable):
        raise ClientConfigurationError(
            f"codecs is expected to be a mapping of type names to TypeCodec, or pairs, got {codecs!r}"
        )
    result: dict[tuple[str, str], tuple[str, TypeCodec]] = {}
    for item in codecs.items() if isinstance(codecs, Mapping) else codecs:
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
            raise ClientConfigurationError(f"codecs: a pair of a type name and a TypeCodec is expected, got {item!r}")
        name, codec = item
        if isinstance(codec, str):
            codec = TypeCodec(codec_name=codec)
        if not isinstance(codec, TypeCodec):
            raise ClientConfigurationError(
                f"codecs: type {name!r}: a TypeCodec or the name of a built-in codec is expected, got {codec!r}"
            )
        if (codec.schema, name) in result:
            raise ClientConfigurationError(f"codecs: two codecs for type {codec.schema}.{name}")
        result[codec.schema, name] = name, codec
    return tuple(result.values())
