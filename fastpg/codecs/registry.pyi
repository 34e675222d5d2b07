# SPDX-License-Identifier: MIT
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from fastpg.codecs.codec import CodecHandle

ENCODINGS: dict[str, str]

class TypeInfo:
    oid: int
    name: str
    schema: str
    kind: str
    element: int
    attributes: tuple[tuple[str, int], ...]
    delimiter: str
    has_binary: bool
    def __init__(
        self,
        oid: int,
        name: str,
        schema: str,
        kind: str,
        element: int = 0,
        attributes: tuple[tuple[str, int], ...] = (),
        delimiter: str = ",",
        has_binary: bool = True,
    ) -> None: ...

class TypeKnowledge:
    epoch: int
    def __init__(self) -> None: ...
    def get(self, oid: int) -> TypeInfo | None: ...
    def add(self, types: Iterable[TypeInfo]) -> None: ...
    def reload(self) -> None: ...

class Registry:
    def __init__(
        self,
        knowledge: TypeKnowledge | None = None,
        make_composite: Callable[[tuple[str, ...]], Callable[[tuple[Any, ...]], Any]] | None = None,
    ) -> None: ...
    @property
    def knowledge(self) -> TypeKnowledge: ...
    def lookup(self, oid: int) -> CodecHandle | None: ...
    def lookup_or_text(self, oid: int) -> CodecHandle: ...
    def missing(self, oids: Iterable[int]) -> list[int]: ...
    def add_types(self, types: Iterable[TypeInfo]) -> None: ...
    def set_encoding(self, name: str) -> None: ...
    def clear(self) -> None: ...

def build_static_containers() -> None: ...
def knowledge_for(key: Hashable) -> TypeKnowledge: ...
def python_encoding(name: str) -> str: ...
