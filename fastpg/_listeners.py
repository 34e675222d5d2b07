# SPDX-License-Identifier: MIT
"""Listeners of a connection: notifications, notices of the server, and the end.

What the server sends is decoded as it comes and each callback is scheduled on the loop, in order: a callback never runs
inside the parser. A callback that raises is reported by the loop's exception handler, once, and nothing else is harmed.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

from fastpg import exceptions
from fastpg._callbacks import Callback, check_callback

MAX_CHANNEL = 63  # bytes; the server cuts a longer name, and what it then sends would reach nobody


class ListenerMixin:
    """The part of Connection that has callbacks. Needs _client, _loop, execute() and is_in_transaction() of it."""

    __slots__ = (
        "_channels", "_heard", "_log_listeners", "_notices_queued", "_proxy", "_termination_listeners",
        "notices_dropped",
    )  # fmt: skip

    _client: Any
    _config: Any
    _params: Any
    _loop: asyncio.AbstractEventLoop
    execute: Callable[..., Any]
    is_closed: Callable[[], bool]
    is_in_transaction: Callable[[], bool]
    _check_open: Callable[[], None]

    def _init_listeners(self) -> None:
        self._channels: dict[str, dict[Callable[..., Any], Callback]] = {}
        self._heard: set[str] = set()  # channels whose LISTEN no rollback can undo
        self._log_listeners: dict[Callable[..., Any], Callback] = {}
        self._termination_listeners: dict[Callable[..., Any], Callback] = {}
        #: Notices that no listener has heard of: more had come at once than the security profile lets wait.
        self.notices_dropped = 0
        self._notices_queued = 0
        self._proxy: Any = None  # the pool's, while the connection is borrowed

    # ------------------------------------------------------------ notifications

    async def add_listener(self, channel: str, callback: Callable[..., Any]) -> None:
        """Call ``callback(connection, pid, channel, payload)`` for every notification on the channel.

        The callback may be a coroutine function: its coroutine then runs as a task. Callbacks are called in the order
        of the notifications and of their registration; the same one twice is called once. The first listener of a
        channel costs a round trip (LISTEN). In a transaction LISTEN counts from its commit on, and a rollback undoes
        it: add the listener again after that.

        Raises InterfaceError for what is not callable, for a name that cannot be a channel, and behind a proxy that
        gives another session to each transaction.
        """
        self._check_open()
        check_callback(callback)
        if self._config.proxy is not None:
            self._config.proxy.refuse("add_listener()")
        command = f"LISTEN {quote_channel(channel)}"
        listeners = self._channels.setdefault(channel, {})
        known = callback in listeners
        if not known:
            # Before the round trip: a notification may come with its answer.
            listeners[callback] = Callback(callback)
        if channel in self._heard:
            return
        try:
            await self.execute(command)
        except BaseException:
            if not known:
                self._forget(channel, callback)
            raise
        if not self.is_in_transaction() and channel in self._channels:
            self._heard.add(channel)

    async def remove_listener(self, channel: str, callback: Callable[..., Any]) -> None:
        """Call the callback no more. The last listener of a channel costs a round trip (UNLISTEN).

        A callback that is not registered is no error, nor is a closed connection.
        """
        if self.is_closed() or channel not in self._channels:
            return
        check_callback(callback)
        if not self._forget(channel, callback):
            return
        if channel not in self._channels:
            await self.execute(f"UNLISTEN {quote_channel(channel)}")

    def _forget(self, channel: str, callback: Callable[..., Any]) -> bool:
        listeners = self._channels.get(channel)
        found = listeners.pop(callback, None) if listeners is not None else None
        if found is None:
            return False
        found.cancel()
        if not listeners:
            del self._channels[channel]
            self._heard.discard(channel)
        return True

    def _on_notification(self, pid: int, channel: bytes, payload: bytes) -> None:
        # Inside the parser: nothing of the user's is called here.
        overridden = type(self)._process_notification is not ListenerMixin._process_notification
        if not self._channels and not overridden:
            return
        encoding = self._client.session.encoding or "utf-8"
        name, text = (part.decode(encoding, "surrogateescape") for part in (channel, payload))
        if overridden:
            self._loop.call_soon(self._process_notification, pid, name, text)
        else:
            self._process_notification(pid, name, text)

    def _process_notification(self, pid: int, channel: str, payload: str) -> None:
        """Schedule the listeners of a channel. A subclass may have its own: it is called in the next turn."""
        listeners = self._channels.get(channel)
        if listeners:
            who = self._whom()
            for callback in listeners.values():
                callback.schedule(self._loop, who, pid, channel, payload)

    # ----------------------------------------------------------------- notices

    def add_log_listener(self, callback: Callable[..., Any]) -> None:
        """Call ``callback(connection, message)`` for every notice and warning of the server.

        The message is a PostgresLogMessage, or an instance of the class of its SQLSTATE. The callback may be a
        coroutine function. Raises InterfaceError for what is not callable, and when the connection is closed.
        """
        self._check_open()
        check_callback(callback)
        self._log_listeners.setdefault(callback, Callback(callback))

    def remove_log_listener(self, callback: Callable[..., Any]) -> None:
        """Call the callback no more; one that is not registered is no error, what is not callable is."""
        check_callback(callback)
        found = self._log_listeners.pop(callback, None)
        if found is not None:
            found.cancel()

    def _on_notice(self, fields: dict[str, str]) -> None:
        if self._log_listeners:
            if self._notices_queued >= self._params.security.max_queued_notices:
                if self.notices_dropped % 1000 == 0:
                    self._loop.call_exception_handler({
                        "message": f"{self!r} drops notices: {self._notices_queued} wait for their listeners",
                    })
                self.notices_dropped += 1
                return
            self._notices_queued += 1
            message = exceptions.log_message(fields)
            who = self._whom()
            for callback in self._log_listeners.values():
                callback.schedule(self._loop, who, message)
            self._loop.call_soon(self._on_notice_done)

    def _on_notice_done(self) -> None:
        self._notices_queued -= 1

    # ----------------------------------------------------------------- the end

    def add_termination_listener(self, callback: Callable[..., Any]) -> None:
        """Call ``callback(connection)`` once, when the connection is closed or lost, by whatever end, or has been.

        The callback may be a coroutine function. Raises InterfaceError for what is not callable.
        """
        check_callback(callback)
        self._termination_listeners.setdefault(callback, Callback(callback))
        if self._client.closed.done():
            self._end_listeners()

    def remove_termination_listener(self, callback: Callable[..., Any]) -> None:
        """Call the callback no more; one that is not registered is no error, what is not callable is."""
        check_callback(callback)
        found = self._termination_listeners.pop(callback, None)
        if found is not None:
            found.cancel()

    def _end_listeners(self) -> None:
        """The connection is gone. What has come before is delivered still, then the news of the end."""
        self._channels.clear()
        self._heard.clear()
        self._log_listeners.clear()
        listeners, self._termination_listeners = self._termination_listeners, {}
        who = self._whom()
        for callback in listeners.values():
            callback.schedule(self._loop, who)

    # ---------------------------------------------------------------- the pool

    def _whom(self) -> Any:
        """What callbacks get for the connection: the proxy while a pool lends it."""
        proxy = self._proxy
        return self if proxy is None or proxy._con is None else proxy

    def _clear_listeners(self) -> tuple[int, int]:
        """Remove the listeners of a session that ends: how many there were, of notifications and of notices."""
        counts = (sum(map(len, self._channels.values())), len(self._log_listeners))
        for group in (*self._channels.values(), self._log_listeners):
            for callback in group.values():
                callback.cancel()
        self._channels.clear()
        self._heard.clear()
        self._log_listeners.clear()
        return counts

    def _release_listeners(self) -> None:
        self._proxy = None
        if not self._channels and not self._log_listeners:
            return
        for count, kind in zip(self._clear_listeners(), ("notification", "log"), strict=True):
            if count:
                listeners = "listener" if count == 1 else "listeners"
                warnings.warn(
                    f"{self!r} is being released to the pool but has {count} active {kind} {listeners}",
                    exceptions.InterfaceWarning,
                    stacklevel=5,
                )


def quote_channel(channel: str) -> str:
    """The channel as a quoted identifier. Raises InterfaceError for what cannot be one."""
    if not isinstance(channel, str):
        raise exceptions.InterfaceError(f"channel is expected to be a str, got {type(channel).__name__}")
    if not channel or "\0" in channel:
        raise exceptions.InterfaceError(f"channel is expected to be a name without NUL characters, got {channel!r}")
    size = len(channel.encode("utf-8", "surrogatepass"))
    if size > MAX_CHANNEL:
        raise exceptions.InterfaceError(
            f"channel is {size} bytes long, {channel!r}: the server takes names of at most {MAX_CHANNEL} bytes"
        )
    return '"' + channel.replace('"', '""') + '"'
