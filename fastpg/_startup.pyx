# SPDX-License-Identifier: MIT
# What a connection being made needs of asyncio and of the socket: bytes to read, a deadline, options, the peer.
# May import: auth, exceptions, asyncio.

import asyncio
import socket
import ssl
import struct
import sys

from fastpg.protocol.auth cimport Handshake

from fastpg import exceptions

cdef extern from *:
    """
    #ifdef _WIN32
    #define fastpg_set_option(fd, level, name, value) (-2)
    #else
    #include <sys/socket.h>
    static int fastpg_set_option(int fd, int level, int name, int value) {
        return setsockopt(fd, level, name, &value, sizeof value);
    }
    #endif
    """
    int fastpg_set_option(int fd, int level, int name, int value) nogil

cdef extern from "Python.h":
    object PyErr_SetFromErrno(object kind)


cdef class StartupProtocol:
    """Bytes between a transport and whoever reads them with read()."""
    cdef object loop
    cdef bytes data
    cdef object waiter          # Future of who reads
    cdef bint lost
    cdef object error
    cdef public Handshake handshake     # once it is done, what comes is for the session that follows
    cdef public object transport

    def __init__(self, loop):
        self.loop = loop
        self.data = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, bytes data not None):
        if self.handshake is not None and self.handshake.done:
            self.handshake.receive(data)
            return
        self.data = self.data + data if self.data else data
        self.wake()

    def eof_received(self):
        return None

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass

    def connection_lost(self, exc):
        self.lost = True
        self.error = exc
        self.wake()

    cdef int wake(self) except -1:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        return 0

    async def read(self):
        """What has come, at least one byte. ConnectionError at the end."""
        while not self.data:
            if self.lost:
                if isinstance(self.error, ssl.SSLError):
                    raise self.error  # an alert, such as the refusal of our certificate
                raise ConnectionResetError(
                    "the server closed the connection during the start-up"
                ) from self.error
            self.waiter = self.loop.create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        return self.take()

    cpdef bytes take(self):
        """What has come and was not read, if anything."""
        data, self.data = self.data, b""
        return data


COUNTED = hasattr(asyncio.Task, "cancelling")  # whether a task knows how often it was cancelled; not in Python 3.10
current_task = asyncio.current_task


cdef class Deadline:
    """Cancels the current task after `seconds`, and turns that into TimeoutError naming the stage.

    stage: what is being done, as a participle. target: the server it is done to, if any.
    """
    cdef public object stage
    cdef public object target
    cdef object loop
    cdef object seconds         # None: no limit
    cdef object task
    cdef object handle          # the TimerHandle
    cdef bint fired
    cdef long cancelling        # how often somebody else had cancelled the task before

    def __init__(self, loop, seconds):
        self.loop = loop
        self.seconds = seconds
        self.stage = "connecting"

    def __enter__(self):
        self.task = current_task(self.loop)
        if COUNTED and self.task is not None:
            self.cancelling = self.task.cancelling()
        if self.seconds is not None:
            if self.seconds <= 0:
                raise self.timeout()
            self.handle = self.loop.call_later(self.seconds, self._fire)
        return self

    def check(self):
        """Raise TimeoutError if the time is over: one within another may have taken the cancellation for its own."""
        if self.fired:
            raise self.timeout()

    cdef object timeout(self):
        where = "" if self.target is None else f" {self.target.host}:{self.target.port}"
        return asyncio.TimeoutError(f"timeout while {self.stage}{where}")

    def _fire(self):
        self.fired = True
        if self.task is not None:
            self.task.cancel()

    def __exit__(self, kind, error, trace):
        if self.handle is not None:
            self.handle.cancel()
        if self.fired and kind is not None and issubclass(kind, asyncio.CancelledError):
            if COUNTED and self.task is not None:
                if self.task.uncancel() > self.cancelling:
                    return  # somebody else cancelled the task as well
            raise self.timeout() from None


_KEEPIDLE, _KEEPINTVL, _KEEPCNT, _USER_TIMEOUT = [
    getattr(socket, name, None) for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
]


cdef list socket_options(params):
    # (level, name, value) of TCP_NODELAY, keepalives and the user timeout, where the system has them.
    tcp = socket.IPPROTO_TCP
    cdef list options = [(tcp, socket.TCP_NODELAY, 1)]
    if params.keepalives:
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        if _KEEPIDLE is not None and params.keepalives_idle:
            options.append((tcp, _KEEPIDLE, params.keepalives_idle))
        if _KEEPINTVL is not None and params.keepalives_interval:
            options.append((tcp, _KEEPINTVL, params.keepalives_interval))
        if _KEEPCNT is not None and params.keepalives_count:
            options.append((tcp, _KEEPCNT, params.keepalives_count))
    if _USER_TIMEOUT is not None and params.tcp_user_timeout:
        options.append((tcp, _USER_TIMEOUT, params.tcp_user_timeout))
    return options


def configure_socket(sock, params):
    """TCP_NODELAY, keepalives and the user timeout of a TCP socket, where the system has them."""
    cdef int fd
    cdef list options = socket_options(params)
    if sys.platform == "win32":
        for level, name, value in options:
            sock.setsockopt(level, name, value)
        return
    # uvloop's stand-in for a socket asks the system for the family at each setsockopt(); here none is needed.
    fd = sock.fileno()
    for level, name, value in options:
        if fastpg_set_option(fd, level, name, value) < 0:
            PyErr_SetFromErrno(OSError)


def is_loopback(peer):
    """Whether the peer's address is that of a Unix socket, or a loopback address."""
    if not isinstance(peer, tuple):
        return True
    return str(peer[0]).startswith("127.") or peer[0] in ("::1", "::ffff:127.0.0.1")


def check_peer(sock, wanted):
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
