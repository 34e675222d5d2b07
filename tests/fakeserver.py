# SPDX-License-Identifier: MIT
"""A server that does what a script says: speaks given bytes, stalls, closes, resets, splits what it sends.

A script is a list of steps, one list a connection (the last one serves all later connections):

- bytes: send them;
- `receive(n)`: read n bytes; `packet()`: read one untagged packet (SSLRequest, startup, cancel); `message()`: read one
  tagged message; what was read is in `FakeServer.received`, one list a connection;
- `STALL`: say nothing more, but keep the connection; `FIN` / `RESET`: close it; `pause(seconds)`;
- `START_TLS`: the rest under TLS, with the server's `ssl_context`;
- a function `(received: list[bytes]) -> bytes`: send what it returns.

It runs in a thread of its own, so any client, on any event loop or none, can talk to it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

STALL = "stall"
FIN = "fin"
RESET = "reset"
START_TLS = "start tls"
WAIT = 20.0  # seconds that a script waits for its client before it gives up


@dataclass(frozen=True)
class Read:
    """Read `size` bytes; None: one untagged packet; -1: one tagged message."""

    size: int | None


@dataclass(frozen=True)
class Pause:
    seconds: float


def receive(size: int) -> Read:
    return Read(size)


def packet() -> Read:
    return Read(None)


def message() -> Read:
    return Read(-1)


def pause(seconds: float) -> Pause:
    return Pause(seconds)


Step = Any  # bytes, one of the above, or a function


class FakeServer:
    """`with FakeServer([...], [...]) as server:` connect to server.host, server.port.

    split: send in pieces of so many bytes, or cut at these offsets of each piece of the script.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *scripts: Sequence[Step],
        split: int | Sequence[int] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.scripts = [list(script) for script in scripts]
        self.split = split
        self.ssl_context = ssl_context
        self.received: list[list[bytes]] = []
        self.errors: list[BaseException] = []
        self._listener = socket.create_server((self.host, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def dsn(self) -> str:
        return f"postgresql://someone@{self.host}:{self.port}/somewhere"

    @property
    def connections(self) -> int:
        """How many connections were made so far."""
        return len(self.received)

    def __enter__(self) -> FakeServer:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            received: list[bytes] = []
            self.received.append(received)
            script = self.scripts[min(len(self.received), len(self.scripts)) - 1]
            self._start(self._serve, sock, script, received)

    def _serve(self, sock: socket.socket, script: list[Step], received: list[bytes]) -> None:
        sock.settimeout(WAIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.append(sock)
        try:
            for step in script:
                if step == START_TLS:
                    assert self.ssl_context is not None
                    plain = sock
                    sock = self.ssl_context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                    with self._lock:
                        self._open[self._open.index(plain)] = sock
                    sock.do_handshake()
                elif step == STALL:
                    self._stopped.wait(WAIT)
                    return
                elif step == RESET:
                    # Lingering for no time at all makes close() send RST.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                elif step == FIN:
                    return
                elif isinstance(step, Pause):
                    self._stopped.wait(step.seconds)
                elif isinstance(step, Read):
                    received.append(self._read(sock, step.size))
                else:
                    self._send(sock, step(received) if callable(step) else step)
            # The end of the script is an orderly one: let the client finish first.
            while sock.recv(65536):
                pass
        except (OSError, EOFError, AssertionError) as error:
            self.errors.append(error)
        finally:
            with self._lock:
                self._open.remove(sock)
                sock.close()

    def _send(self, sock: socket.socket, data: bytes) -> None:
        if self.split is None:
            pieces = [data]
        elif isinstance(self.split, int):
            pieces = [data[i : i + self.split] for i in range(0, len(data), self.split)]
        else:
            cuts = [0, *[cut for cut in self.split if cut < len(data)], len(data)]
            pieces = [data[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
        for piece in pieces:
            sock.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.001)  # so that they arrive apart

    def _read(self, sock: socket.socket, size: int | None) -> bytes:
        if size is not None and size >= 0:
            return self._exactly(sock, size)
        tag = self._exactly(sock, 1) if size == -1 else b""
        head = self._exactly(sock, 4)
        return tag + head + self._exactly(sock, struct.unpack("!i", head)[0] - 4)

    @staticmethod
    def _exactly(sock: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = sock.recv(size - len(data))
            if not piece:
                raise EOFError("the client closed the connection")
            data += piece
        return data
