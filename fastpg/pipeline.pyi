# SPDX-License-Identifier: MIT
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, overload

from typing_extensions import Self

from fastpg._typing import RecordT, RowFactory, RowT, T
from fastpg.protocol.record import Record
from fastpg.reply import Reply
from fastpg.types import CommandStatus

class Pipeline(Generic[RowT]):
    atomic: bool
    def __init__(self, connection: Any, client: Any, atomic: bool = False, timeout: float | None = None) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool: ...
    def execute(self, query: str, *args: Any, timeout: float | None = None) -> Reply[CommandStatus]: ...
    @overload
    def fetch(
        self, query: str, *args: Any, timeout: float | None = None, record_class: None = None, row_factory: None = None
    ) -> Reply[list[RowT]]: ...
    @overload
    def fetch(
        self, query: str, *args: Any, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> Reply[list[RecordT]]: ...
    @overload
    def fetch(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["record"]
    ) -> Reply[list[Record]]: ...
    @overload
    def fetch(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> Reply[list[tuple[Any, ...]]]: ...
    @overload
    def fetch(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["dict"] | type[dict[str, Any]]
    ) -> Reply[list[dict[str, Any]]]: ...
    @overload
    def fetch(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> Reply[list[T]]: ...
    @overload
    def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, record_class: None = None, row_factory: None = None
    ) -> Reply[RowT | None]: ...
    @overload
    def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> Reply[RecordT | None]: ...
    @overload
    def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["record"]
    ) -> Reply[Record | None]: ...
    @overload
    def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> Reply[tuple[Any, ...] | None]: ...
    @overload
    def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["dict"] | type[dict[str, Any]]
    ) -> Reply[dict[str, Any] | None]: ...
    @overload
    def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> Reply[T | None]: ...
    def fetchval(
        self, query: str, *args: Any, column: int | str = 0, timeout: float | None = None
    ) -> Reply[Any]: ...
    def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> Reply[None]: ...
    @overload
    def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        record_class: None = None, row_factory: None = None,
    ) -> Reply[list[RowT]]: ...
    @overload
    def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> Reply[list[RecordT]]: ...
    @overload
    def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Literal["record"]
    ) -> Reply[list[Record]]: ...
    @overload
    def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> Reply[list[tuple[Any, ...]]]: ...
    @overload
    def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        row_factory: Literal["dict"] | type[dict[str, Any]],
    ) -> Reply[list[dict[str, Any]]]: ...
    @overload
    def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> Reply[list[T]]: ...
