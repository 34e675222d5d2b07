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
from fastpg._params import ConnectParams, Target
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


COUNTED = hasattr(asyncio.Task, "cancelling")  # whether a task knows how often it was cancelled; not in Python 3.10


class Deadline:
    """Cancels the current task after `seconds`, and turns that into TimeoutError naming the stage.

    stage: what is being done, as a participle. target: the server it is done to, if any.
    """

    __slots__ = ("_cancelling", "_fired", "_handle", "_loop", "_seconds", "_task", "stage", "target")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float | None) -> None:
        self._loop = loop
        self._seconds = seconds
        self.stage = "connecting"
        self.target: Target | None = None
        self._task: Any = None  # its count of cancellations is not in the stubs of Python 3.10
        self._handle: asyncio.TimerHandle | None = None
        self._fired = False
        self._cancelling = 0

    def __enter__(self) -> Deadline:
        self._task = asyncio.current_task(self._loop)
        if COUNTED and self._task is not None:
            self._cancelling = self._task.cancelling()
        if self._seconds is not None:
            if self._seconds <= 0:
                raise self._error()
            self._handle = self._loop.call_later(self._seconds, self._fire)
        return self

    def check(self) -> None:
        """Raise TimeoutError if the time is over: one within another may have taken the cancellation for its own."""
        if self._fired:
            raise self._error()

    def _error(self) -> asyncio.TimeoutError:
        where = "" if self.target is None else f" {self.target.host}:{self.target.port}"
        return asyncio.TimeoutError(f"timeout while {self.stage}{where}")

    def _fire(self) -> None:
        self._fired = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._fired and kind is not None and issubclass(kind, asyncio.CancelledError):
            if COUNTED and self._task is not None:
                if self._task.uncancel() > self._cancelling:
                    return  # somebody else cancelled the task as well
            raise self._error() from None


def _numbers(*names: str) -> list[int | None]:
    return [getattr(socket, name, None) for name in names]


_KEEPIDLE, _KEEPINTVL, _KEEPCNT, _USER_TIMEOUT = _numbers(
    "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"
)


def configure_socket(sock: Any, params: ConnectParams) -> None:
    """TCP_NODELAY, keepalives and the user timeout of a TCP socket, where the system has them."""
    tcp = socket.IPPROTO_TCP
    # uvloop's stand-in for a socket asks the system for the family at each setsockopt(); here none is needed.
    real = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, tcp, sock.fileno())
    try:
        real.setsockopt(tcp, socket.TCP_NODELAY, 1)
        if params.keepalives:
            real.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if _KEEPIDLE is not None and params.keepalives_idle:
                real.setsockopt(tcp, _KEEPIDLE, params.keepalives_idle)
            if _KEEPINTVL is not None and params.keepalives_interval:
                real.setsockopt(tcp, _KEEPINTVL, params.keepalives_interval)
            if _KEEPCNT is not None and params.keepalives_count:
                real.setsockopt(tcp, _KEEPCNT, params.keepalives_count)
        if _USER_TIMEOUT is not None and params.tcp_user_timeout:
            real.setsockopt(tcp, _USER_TIMEOUT, params.tcp_user_timeout)
    finally:
        real.detach()


def is_loopback(peer: Any) -> bool:
    """Whether the peer's address is that of a Unix socket, or a loopback address."""
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
