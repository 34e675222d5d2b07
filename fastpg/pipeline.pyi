# SPDX-License-Identifier: MIT
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from fastpg.reply import Reply
from fastpg.types import CommandStatus

class Pipeline:
    atomic: bool
    def __init__(self, connection: Any, client: Any, atomic: bool = False, timeout: float | None = None) -> None: ...
    async def __aenter__(self) -> Pipeline: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool: ...
    def execute(self, query: str, *args: Any, timeout: float | None = None) -> Reply[CommandStatus]: ...
    def fetch(
        self, query: str, *args: Any, timeout: float | None = None, record_class: type | None = None,
        row_factory: Any = None,
    ) -> Reply[list[Any]]: ...
    def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, record_class: type | None = None,
        row_factory: Any = None,
    ) -> Reply[Any]: ...
    def fetchval(
        self, query: str, *args: Any, column: int | str = 0, timeout: float | None = None
    ) -> Reply[Any]: ...
    def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> Reply[None]: ...
    def fetchmany(
        self,
        query: str,
        args: Iterable[Sequence[Any]],
        *,
        timeout: float | None = None,
        record_class: type | None = None,
        row_factory: Any = None,
    ) -> Reply[list[Any]]: ...
