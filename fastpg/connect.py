# SPDX-License-Identifier: MIT
"""Reaching a server: hosts, sockets, TLS, the start-up dialogue."""

from __future__ import annotations

import asyncio
import inspect
import random
import socket
import ssl as ssl_module
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from fastpg import exceptions, tls
from fastpg._params import ConnectParams, Target
from fastpg.protocol.auth import Deferred, Handshake
from fastpg.security import Secret

SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@dataclass
class Session:
    """A started session and what a CancelRequest needs to reach it."""

    transport: Any
    addr: Any  # (host, port), or the socket's path
    params: ConnectParams
    target: Target
    peer: Any  # the resolved address a cancel goes to
    tls: bool
    ssl_context: ssl_module.SSLContext | None
    backend_pid: int
    secret_key: bytes | None = field(repr=False)
    parameters: dict[str, str]
    tx_status: int
    handshake: Handshake = field(repr=False)

    @property
    def leftover(self) -> bytes:
        """Bytes received after ReadyForQuery so far."""
        return self.handshake.leftover


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
                raise ConnectionResetError(
                    "the server closed the connection during the start-up"
                ) from self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
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

    def __enter__(self) -> Deadline:
        self._task = asyncio.current_task()
        if self._seconds is not None:
            if self._seconds <= 0:
                raise asyncio.TimeoutError(f"timeout while {self.stage}")
            self._handle = self._loop.call_later(self._seconds, self._fire)
        return self

    def _fire(self) -> None:
        self._fired = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._fired and kind is not None and issubclass(kind, asyncio.CancelledError):
            if self._task is not None and hasattr(self._task, "uncancel"):
                self._task.uncancel()
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


async def password_of(target: Target) -> str | None:
    """The password for a target; callables are called for each attempt."""
    password: Any = target.password
    if isinstance(password, Secret):
        return password.reveal()
    if callable(password):
        password = password()
        if inspect.isawaitable(password):
            password = await password
        if isinstance(password, Secret):
            return password.reveal()
        if password is not None and not isinstance(password, str):
            raise exceptions.ClientConfigurationError(
                f"the password callable is expected to return str, got {type(password).__name__}"
            )
    return cast("str | None", password)


def is_loopback(transport: Any) -> bool:
    """A Unix socket, or a loopback address."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return True
    return str(peer[0]).startswith("127.") or peer[0] in ("::1", "::ffff:127.0.0.1")


class Attempt:
    """One try at one address. Nothing of it survives a failure."""

    def __init__(
        self, params: ConnectParams, target: Target, loop: asyncio.AbstractEventLoop, deadline: Deadline
    ) -> None:
        self.params = params
        self.target = target
        self.loop = loop
        self.deadline = deadline
        self.transport: Any = None

    def stage(self, what: str) -> None:
        self.deadline.stage = f"{what} {self.target.host}:{self.target.port}"

    async def open(self, address: Any, connector: Any, sock: Any) -> StartupProtocol:
        loop, params = self.loop, self.params
        self.stage("connecting to")

        def factory() -> StartupProtocol:
            return StartupProtocol(loop)

        if connector is not None:
            sock = connector(self.target.host, self.target.port)
            if inspect.isawaitable(sock):
                sock = await sock
        if sock is not None:
            self.transport, protocol = await loop.create_connection(factory, sock=sock)
        elif self.target.is_unix:
            self.transport, protocol = await loop.create_unix_connection(factory, self.target.socket_path)
        else:
            self.transport, protocol = await loop.create_connection(factory, address[0], address[1])
        configure_socket(self.transport.get_extra_info("socket"), params)
        return protocol

    async def negotiate_tls(self, protocol: StartupProtocol, context: ssl_module.SSLContext, direct: bool) -> bool:
        """Start TLS; False when the server does not want it."""
        self.stage("negotiating TLS with")
        if not direct:
            self.transport.write(SSL_REQUEST)
            answer = await protocol.read()
            if answer[:1] == b"E":
                raise exceptions.InterfaceError(
                    "the server refused TLS negotiation (unauthenticated server text withheld)"
                )
            if len(answer) != 1 or answer not in b"SN":
                raise exceptions.ProtocolError(f"unexpected answer to SSLRequest: {answer[:16]!r}")
            if answer == b"N":
                return False
        self.transport = await self.loop.start_tls(
            self.transport, protocol, context, server_hostname=tls.server_hostname(self.params, self.target)
        )
        protocol.transport = self.transport
        if direct:
            ssl_object = self.transport.get_extra_info("ssl_object")
            if ssl_object is not None and ssl_object.selected_alpn_protocol() != tls.ALPN:
                raise exceptions.InterfaceError("direct TLS: the server did not agree on the protocol 'postgresql'")
        return True

    async def run(
        self, address: Any, context: ssl_module.SSLContext | None, mode: str, connector: Any, sock: Any
    ) -> Session:
        params = self.params
        try:
            protocol = await self.open(address, connector, sock)
            # A cancel goes to the address that answered, not to whatever the name means by then.
            peer = self.transport.get_extra_info("peername")
            encrypted = False
            if context is not None and mode not in ("disable", "allow") and not self.target.is_unix:
                direct = params.sslnegotiation == "direct"
                encrypted = await self.negotiate_tls(protocol, context, direct)
                if not encrypted and mode != "prefer":
                    raise ConnectionError("rejected SSL upgrade")
            end_point = None
            if encrypted:
                ssl_object = self.transport.get_extra_info("ssl_object")
                certificate = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
                if certificate:
                    end_point = tls.server_end_point_hash(certificate)[1]
            self.stage("authenticating with")
            password = await password_of(self.target)
            handshake = Handshake(
                params, password, tls=encrypted, local=is_loopback(self.transport), end_point=end_point
            )
            await self.handshake(protocol, handshake)
        except BaseException:
            if self.transport is not None:
                self.transport.abort()
            raise
        addr = self.target.socket_path if self.target.is_unix else (self.target.host, self.target.port)
        return Session(
            transport=self.transport, addr=addr, params=params, target=self.target, peer=peer, tls=encrypted,
            ssl_context=context if encrypted else None, backend_pid=handshake.backend_pid,
            secret_key=handshake.secret_key, parameters=handshake.parameters, tx_status=handshake.tx_status,
            handshake=handshake,
        )  # fmt: skip

    async def handshake(self, protocol: StartupProtocol, handshake: Handshake) -> None:
        self.transport.write(handshake.start())
        while not handshake.done:
            data = await protocol.read()
            answer = handshake.receive(data)
            while isinstance(answer, Deferred):
                await self.loop.run_in_executor(None, answer.work)
                answer = handshake.resume()
            if answer:
                self.transport.write(answer)
        protocol.handshake = handshake
        if protocol._data:
            handshake.receive(protocol._data)


def tls_modes(params: ConnectParams, context: ssl_module.SSLContext | None, target: Target) -> list[str]:
    """The encryptions to try in turn for one address (manual, libpq, sslmode)."""
    if target.is_unix or context is None:
        return ["disable"]
    return {"allow": ["disable", "require"], "prefer": ["prefer", "disable"]}.get(params.sslmode, [params.sslmode])


def may_fall_back(error: BaseException, mode: str) -> bool:
    """Whether another encryption is worth a try: the server refused before anybody was authenticated."""
    if mode == "prefer":
        return isinstance(error, (exceptions.InvalidAuthorizationSpecificationError, ssl_module.SSLError))
    return isinstance(error, exceptions.PostgresError)


async def addresses_of(params: ConnectParams, target: Target, loop: asyncio.AbstractEventLoop) -> list[Any]:
    """What a host name stands for, in the order to try."""
    if target.is_unix:
        return [target.socket_path]
    infos = await loop.getaddrinfo(target.hostaddr or target.host, target.port, type=socket.SOCK_STREAM)
    found = list(dict.fromkeys(info[4] for info in infos))
    if params.load_balance_hosts == "random":
        random.shuffle(found)
    return found


async def fits(session: Session, wanted: str, loop: asyncio.AbstractEventLoop) -> bool:
    """target_session_attrs."""
    if wanted == "any":
        return True
    standby = await flag(session, "in_hot_standby", "SELECT pg_catalog.pg_is_in_recovery()", loop)
    if wanted in ("primary", "standby", "prefer-standby"):
        return standby == (wanted != "primary")
    read_only = standby or await flag(session, "default_transaction_read_only", "SHOW transaction_read_only", loop)
    return read_only == (wanted == "read-only")


async def flag(session: Session, parameter: str, query: str, loop: asyncio.AbstractEventLoop) -> bool:
    """A ParameterStatus that is on or off, asked for when the server does not report it."""
    reported = session.parameters.get(parameter)
    if reported is not None:
        return reported == "on"
    protocol = StartupProtocol(loop)
    session.transport.set_protocol(protocol)
    protocol.connection_made(session.transport)
    body = query.encode() + b"\0"
    session.transport.write(b"Q" + struct.pack("!i", len(body) + 4) + body)
    data = b""
    value = b""
    while True:
        data += await protocol.read()
        while len(data) >= 5:
            (length,) = struct.unpack_from("!i", data, 1)
            if length < 4 or length > 30_000:
                raise exceptions.ProtocolError("malformed message from the server")
            if len(data) < length + 1:
                break
            tag, payload, data = data[:1], data[5 : length + 1], data[length + 1 :]
            if tag == b"D":
                value = payload[6:]
            elif tag == b"Z":
                return value in (b"t", b"on")


async def open_session(
    params: ConnectParams,
    *,
    loop: asyncio.AbstractEventLoop,
    timeout: float | None = None,
    connector: Callable[[str, int], Any] | None = None,
    sock: Any = None,
) -> Session:
    """A started session with the first host that will have us. timeout in seconds, for everything together."""
    targets = list(params.targets)
    if params.load_balance_hosts == "random":
        random.shuffle(targets)
    wanted = params.target_session_attrs
    context = await loop.run_in_executor(None, tls.build_context, params) if needs_tls(params) else None
    errors: list[BaseException] = []
    rejected = 0
    deadline = Deadline(loop, timeout)
    with deadline:
        for want in ("prefer-standby", "any") if wanted == "prefer-standby" else (wanted,):
            for target in targets:
                deadline.stage = f"resolving {target.host}"
                try:
                    addresses = await addresses_of(params, target, loop)
                except OSError as error:
                    errors.append(error)
                    continue
                for address in addresses:
                    session = await try_address(
                        params, target, address, context, loop, deadline, connector, sock, errors
                    )
                    if session is None:
                        continue
                    try:
                        accepted = await fits(session, want, loop)
                    except BaseException:
                        session.transport.abort()
                        raise
                    if accepted:
                        return session
                    session.transport.abort()
                    rejected += 1
    raise final_error(params, errors, rejected)


def needs_tls(params: ConnectParams) -> bool:
    """Whether a TLS context is to be made at all."""
    return params.sslmode != "disable" and any(not target.is_unix for target in params.targets)


async def try_address(
    params: ConnectParams,
    target: Target,
    address: Any,
    context: ssl_module.SSLContext | None,
    loop: asyncio.AbstractEventLoop,
    deadline: Deadline,
    connector: Any,
    sock: Any,
    errors: list[BaseException],
) -> Session | None:
    """One address with each encryption that sslmode permits; None when the next address may be tried."""
    modes = tls_modes(params, context, target)
    for mode in modes:
        last = mode == modes[-1]
        try:
            return await Attempt(params, target, loop, deadline).run(address, context, mode, connector, sock)
        except exceptions.CannotConnectNowError as error:
            errors.append(error)
            return None
        except ssl_module.SSLCertVerificationError:
            raise
        except OSError as error:
            if not last and may_fall_back(error, mode):
                continue
            errors.append(error)
            return None
        except exceptions.PostgresError as error:
            if last or not may_fall_back(error, mode):
                raise
    return None


def final_error(params: ConnectParams, errors: list[BaseException], rejected: int) -> BaseException:
    """What the user sees when no host will do."""
    if rejected and not errors:
        return exceptions.TargetServerAttributeNotMatched(
            f"None of the hosts match the target attribute requirement {params.target_session_attrs!r}"
        )
    if len(errors) == 1:
        return errors[0]
    if not errors:
        return OSError("no host to connect to")
    tried = "; ".join(f"{type(error).__name__}: {error}" for error in errors)
    if len({type(error) for error in errors}) == 1 and isinstance(errors[0], OSError):
        combined: BaseException = type(errors[0])(f"could not connect to any host: {tried}")
    else:
        combined = OSError(f"could not connect to any host: {tried}")
    combined.__cause__ = errors[-1]
    return combined
