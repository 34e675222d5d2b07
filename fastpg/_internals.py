# SPDX-License-Identifier: MIT
"""Private names of asyncpg's Connection that programs call, read or override, beside those in `_hooks`."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fastpg import _server, exceptions
from fastpg.serverversion import split_server_version_string
from fastpg.types import ServerVersion

if TYPE_CHECKING:
    from fastpg.client import ClientProtocol

__all__ = ("ExclusiveSection", "InternalsMixin", "detect_server_capabilities")

# Cancels under way: an event loop holds its tasks only weakly.
_tasks: set[asyncio.Task[None]] = set()


def detect_server_capabilities(
    server_version: ServerVersion | str, connection_settings: Any
) -> _server.ServerCapabilities:
    """What a server can do, by its version and by what it reports (ConnectionSettings)."""
    if isinstance(server_version, str):
        server_version = split_server_version_string(server_version)
    return _server.capabilities(server_version, connection_settings._values)


class ExclusiveSection:
    """``with connection._stmt_exclusive_section:`` keeps other tasks away from several calls of _do_execute()."""

    __slots__ = ("_client",)

    def __init__(self, client: ClientProtocol) -> None:
        self._client = client

    def __enter__(self) -> None:
        self._client.check_usable()
        self._client.section = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.section = None


class InternalsMixin:
    """The part of Connection that is there for code written for asyncpg's inside."""

    __slots__ = ()

    if TYPE_CHECKING:
        _channels: dict[str, Any]
        _client: ClientProtocol
        _closed: bool
        _loop: asyncio.AbstractEventLoop

    @property
    def _stmt_exclusive_section(self) -> ExclusiveSection:
        return ExclusiveSection(self._client)

    @property
    def _aborted(self) -> bool:
        return self._closed

    @property
    def _listeners(self) -> dict[str, Any]:
        return self._channels

    def _cancel_current_command(self, waiter: asyncio.Future[None]) -> None:
        """Have the server cancel what it runs; `waiter` is done when the server has been asked."""
        task = self._loop.create_task(self._cancel(waiter))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def _cancel(self, waiter: asyncio.Future[None]) -> None:
        try:
            canceller = self._client.canceller
            if canceller is None:
                raise exceptions.InterfaceError("this connection has no way to cancel")
            await canceller(self._client.cancel_timeout)
        except Exception as error:
            if not waiter.done():
                waiter.set_exception(error)
        else:
            if not waiter.done():
                waiter.set_result(None)
