# SPDX-License-Identifier: MIT
"""What a connection being made needs of asyncio and of the socket: bytes to read, a deadline, options, the peer."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import sys
from typing import Any

from fastpg import exceptions
from fastpg._params import ConnectParams
from fastpg.protocol.auth import Handshake


class StartupProtocol(asyncio.Protocol):
    """Bytes between a transport and whoever reads them with read()."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._data = b""
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False
        self._error: BaseException | None = None
        self.handshake: Handshake | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.handshake is not None and self.handshake.done:
            self.handshake.receive(data)
            return
        self._data += data
        self._wake()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lost = True
        self._error = exc
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> bytes:
        """What has come, at least one byte. ConnectionError at the end."""
        while not self._data:
            if self._lost:
                if isinstance(self._error, ssl.SSLError):
                    raise self._error  # an alert, such as the refusal of our certificate
                raise ConnectionResetError(
                    "the server closed the connection during the start-up"
                ) from self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take()

    def take(self) -> bytes:
        """What has come and was not read, if anything."""
        data, self._data = self._data, b""
        return data


class Deadline:
    """Cancels the current task after `seconds`, and turns that into TimeoutError naming the stage."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float | None) -> None:
        self._loop = loop
        self._seconds = seconds
        self.stage = "connecting"
        self._task: asyncio.Task[Any] | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._fired = False
        self._cancelling = 0

    def __enter__(self) -> Deadline:
        self._task = asyncio.current_task()
        self._cancelling = self._cancel_requests()
        if self._seconds is not None:
            if self._seconds <= 0:
                raise asyncio.TimeoutError(f"timeout while {self.stage}")
            self._handle = self._loop.call_later(self._seconds, self._fire)
        return self

    def check(self) -> None:
        """Raise TimeoutError if the time is over: one within another may have taken the cancellation for its own."""
        if self._fired:
            raise asyncio.TimeoutError(f"timeout while {self.stage}")

    def _cancel_requests(self) -> int:
        """How many cancellations of the task are under way; Python 3.10 does not count them."""
        task: Any = self._task
        return int(task.cancelling()) if hasattr(task, "cancelling") else 0

    def _fire(self) -> None:
        self._fired = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._fired and kind is not None and issubclass(kind, asyncio.CancelledError):
            if self._task is not None and hasattr(self._task, "uncancel"):
                if self._task.uncancel() > self._cancelling:
                    return  # somebody else cancelled the task as well
            raise asyncio.TimeoutError(f"timeout while {self.stage}") from None


def configure_socket(sock: Any, params: ConnectParams) -> None:
    """TCP_NODELAY, keepalives and the user timeout, where the system has them."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return

    def option(level: int, name: str, value: int) -> None:
        number = getattr(socket, name, None)
        if number is not None and value > 0:
            sock.setsockopt(level, number, value)

    option(socket.IPPROTO_TCP, "TCP_NODELAY", 1)
    if params.keepalives:
        option(socket.SOL_SOCKET, "SO_KEEPALIVE", 1)
        option(socket.IPPROTO_TCP, "TCP_KEEPIDLE", params.keepalives_idle)
        option(socket.IPPROTO_TCP, "TCP_KEEPINTVL", params.keepalives_interval)
        option(socket.IPPROTO_TCP, "TCP_KEEPCNT", params.keepalives_count)
    option(socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", params.tcp_user_timeout)


def is_loopback(transport: Any) -> bool:
    """A Unix socket, or a loopback address."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return True
    return str(peer[0]).startswith("127.") or peer[0] in ("::1", "::ffff:127.0.0.1")


def check_peer(sock: Any, wanted: str) -> None:
    """requirepeer: the process at the other end of the Unix socket belongs to the system's user `wanted`."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or sys.platform == "win32":
        raise exceptions.ClientConfigurationError("requirepeer is not supported on this platform")
    import pwd

    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, size))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        raise exceptions.InterfaceError(f"requirepeer: the server's user {uid} has no name here") from None
    if name != wanted:
        raise exceptions.InterfaceError(f"requirepeer asks for the user {wanted!r}, the server runs as {name!r}")
