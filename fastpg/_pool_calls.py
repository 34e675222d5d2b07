# SPDX-License-Identifier: MIT
"""The calls of pools that are calls of a connection, and nothing more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, Literal, overload

from fastpg._hooks import row_options
from fastpg._typing import RecordT, RowFactory, RowT, T
from fastpg.pipeline import Pipeline
from fastpg.protocol.record import Record
from fastpg.types import CommandStatus


class PoolCalls(Generic[RowT]):
    """Methods that borrow a connection, call its method of the same name, and give it back."""

    __slots__ = ()

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a borrowed connection."""
        raise NotImplementedError

    def acquire(self, *, timeout: float | None = None) -> Any:
        """Borrow a connection."""
        raise NotImplementedError

    @asynccontextmanager
    async def pipeline(
        self, *, atomic: bool = False, timeout: float | None = None
    ) -> AsyncGenerator[Pipeline[RowT], None]:
        """Connection.pipeline() on a borrowed connection, for ``async with``: it goes back at the end of the block."""
        async with self.acquire() as connection, connection.pipeline(atomic=atomic, timeout=timeout) as pipeline:
            yield pipeline

    async def executemany(self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None) -> None:
        """Connection.executemany() on a borrowed connection."""
        await self._call("executemany", command, args, timeout=timeout)

    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        record_class: None = None, row_factory: None = None,
    ) -> list[RowT]: ...  # fmt: skip
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> list[RecordT]: ...  # fmt: skip
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Literal["record"]
    ) -> list[Record]: ...
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        row_factory: Literal["dict"] | type[dict[str, Any]],
    ) -> list[dict[str, Any]]: ...  # fmt: skip
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> list[T]: ...
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        record_class: type | None = None, row_factory: Any = None,
    ) -> list[Any]:  # fmt: skip
        """Connection.fetchmany() on a borrowed connection."""
        rows: list[Any] = await self._call(
            "fetchmany", query, args, timeout=timeout, **row_options(record_class, row_factory)
        )
        return rows

    async def copy_from_table(
        self, table_name: str, *, output: Any, columns: Iterable[str] | None = None, schema_name: str | None = None,
        timeout: float | None = None,
        format: str | None = None, oids: bool | None = None, delimiter: str | None = None, null: str | None = None,
        header: bool | str | None = None, quote: str | None = None, escape: str | None = None,
        force_quote: bool | Iterable[str] | None = None, encoding: str | None = None,
    ) -> CommandStatus:  # fmt: skip
        """Connection.copy_from_table() on a borrowed connection."""
        return await self._call(  # type: ignore[no-any-return]
            "copy_from_table", table_name, output=output, columns=columns, schema_name=schema_name, timeout=timeout,
            format=format, oids=oids, delimiter=delimiter, null=null, header=header, quote=quote, escape=escape,
            force_quote=force_quote, encoding=encoding,
        )  # fmt: skip

    async def copy_from_query(
        self, query: str, *args: Any, output: Any, timeout: float | None = None,
        format: str | None = None, oids: bool | None = None, delimiter: str | None = None, null: str | None = None,
        header: bool | str | None = None, quote: str | None = None, escape: str | None = None,
        force_quote: bool | Iterable[str] | None = None, encoding: str | None = None,
    ) -> CommandStatus:  # fmt: skip
        """Connection.copy_from_query() on a borrowed connection."""
        return await self._call(  # type: ignore[no-any-return]
            "copy_from_query", query, *args, output=output, timeout=timeout,
            format=format, oids=oids, delimiter=delimiter, null=null, header=header, quote=quote, escape=escape,
            force_quote=force_quote, encoding=encoding,
        )  # fmt: skip

    async def copy_to_table(
        self, table_name: str, *, source: Any, columns: Iterable[str] | None = None, schema_name: str | None = None,
        timeout: float | None = None,
        format: str | None = None, oids: bool | None = None, freeze: bool | None = None,
        delimiter: str | None = None, null: str | None = None, header: bool | str | None = None,
        quote: str | None = None, escape: str | None = None, force_quote: bool | Iterable[str] | None = None,
        force_not_null: bool | Iterable[str] | None = None, force_null: bool | Iterable[str] | None = None,
        encoding: str | None = None, where: str | None = None,
    ) -> CommandStatus:  # fmt: skip
        """Connection.copy_to_table() on a borrowed connection."""
        return await self._call(  # type: ignore[no-any-return]
            "copy_to_table", table_name, source=source, columns=columns, schema_name=schema_name, timeout=timeout,
            where=where,
            format=format, oids=oids, freeze=freeze, delimiter=delimiter, null=null, header=header, quote=quote,
            escape=escape, force_quote=force_quote, force_not_null=force_not_null, force_null=force_null,
            encoding=encoding,
        )  # fmt: skip

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Any] | AsyncIterable[Any], columns: Iterable[str] | None = None,
        schema_name: str | None = None, timeout: float | None = None, where: str | None = None,
    ) -> CommandStatus:  # fmt: skip
        """Connection.copy_records_to_table() on a borrowed connection."""
        return await self._call(  # type: ignore[no-any-return]
            "copy_records_to_table", table_name, records=records, columns=columns, schema_name=schema_name,
            timeout=timeout, where=where,
        )  # fmt: skip
