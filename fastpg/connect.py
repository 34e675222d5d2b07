# SPDX-License-Identifier: MIT
"""Reaching a server: hosts, sockets, TLS, the start-up dialogue."""

from __future__ import annotations

import asyncio
import inspect
import random
import socket
import ssl as ssl_module
import struct
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from fastpg import exceptions, tls
from fastpg._gss import gss_contexts
from fastpg._params import ConnectParams, Target
from fastpg._startup import Deadline, StartupProtocol, check_peer, configure_socket, is_loopback
from fastpg.protocol.auth import Deferred, Handshake
from fastpg.security import Secret
from fastpg.settings import parse_server_version

NO_LIMIT = nullcontext()
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@dataclass(slots=True)
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


async def password_of(given: Any) -> str | None:
    """The password that a user's function gives; it is called for each attempt."""
    password = given()
    if inspect.isawaitable(password):
        password = await password
    if isinstance(password, Secret):
        return password.reveal()
    if password is not None and not isinstance(password, str):
        raise exceptions.ClientConfigurationError(
            f"the password callable is expected to return str, got {type(password).__name__}"
        )
    return password


class Attempt:
    """One try at one address. Nothing of it survives a failure."""

    def __init__(
        self, params: ConnectParams, target: Target, loop: asyncio.AbstractEventLoop, *deadlines: Deadline
    ) -> None:
        self.params = params
        self.target = target
        self.loop = loop
        self.deadlines = deadlines
        self.transport: Any = None
        self.dialogue: Handshake | None = None

    @property
    def asked(self) -> bool:
        """Whether the server asked for, or accepted, an authentication."""
        return self.dialogue is not None and self.dialogue.asked

    @property
    def named(self) -> str:
        return f'PostgreSQL server at "{place(self.target)}"'

    def stage(self, what: str) -> None:
        for deadline in self.deadlines:
            deadline.stage, deadline.target = what, self.target

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
            host = address[0]
            if len(address) == 4 and address[3] and "%" not in host:
                host = f"{host}%{address[3]}"  # a link-local address means nothing without its interface
            self.transport, protocol = await loop.create_connection(factory, host, address[1])
        opened = self.transport.get_extra_info("socket")
        ours = sock is None and not self.target.is_unix
        if opened is not None and (ours or opened.family in (socket.AF_INET, socket.AF_INET6)):
            configure_socket(opened, params)
        return protocol

    async def negotiate_tls(self, protocol: StartupProtocol, context: ssl_module.SSLContext, direct: bool) -> bool:
        """Start TLS; False when the server does not want it."""
        self.stage("negotiating TLS with")
        if not direct:
            self.transport.write(SSL_REQUEST)
            answer = await protocol.read()
            if answer[:1] == b"E":
                # What it says is nobody's word: it came before TLS could vouch for the server.
                raise ConnectionError(
                    f"{self.named}: server sent an error response during SSL exchange; check the server logs for "
                    "details"
                )
            if answer[:1] not in b"SN":
                raise ConnectionError(f"{self.named} rejected SSL upgrade")
            if len(answer) != 1:
                raise exceptions.ProtocolError(f"unexpected answer to SSLRequest: {answer[:16]!r}")
            if answer == b"N":
                return False
        self.refuse_early(protocol)
        self.transport = await self.loop.start_tls(
            self.transport, protocol, context, server_hostname=tls.server_hostname(self.params, self.target)
        )
        protocol.transport = self.transport
        self.refuse_early(protocol)
        if direct:
            ssl_object = self.transport.get_extra_info("ssl_object")
            if ssl_object is not None and ssl_object.selected_alpn_protocol() != tls.ALPN:
                raise exceptions.InterfaceError("direct TLS: the server did not agree on the protocol 'postgresql'")
        return True

    def refuse_early(self, protocol: StartupProtocol) -> None:
        """A server has nothing to say before the startup packet: bytes here were put in by somebody else."""
        early = protocol.take()
        if early:
            raise exceptions.ProtocolError(f"unencrypted data after the answer to SSLRequest: {len(early)} bytes")

    async def run(
        self, address: Any, context: ssl_module.SSLContext | None, mode: str, direct: bool, connector: Any, sock: Any
    ) -> Session:
        params = self.params
        try:
            protocol = await self.open(address, connector, sock)
            # A cancel goes to the address that answered, not to whatever the name means by then.
            peer = address if connector is None and sock is None else self.transport.get_extra_info("peername")
            if params.requirepeer and self.target.is_unix:
                check_peer(self.transport.get_extra_info("socket"), params.requirepeer)
            encrypted = False
            if context is not None and mode not in ("disable", "allow") and not self.target.is_unix:
                encrypted = await self.negotiate_tls(protocol, context, direct)
                if not encrypted and mode != "prefer":
                    raise ConnectionError(f"{self.named} rejected SSL upgrade")
                if not encrypted:
                    self.refuse_early(protocol)
            end_point = None
            if encrypted:
                ssl_object = self.transport.get_extra_info("ssl_object")
                certificate = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
                if certificate:
                    try:
                        end_point = tls.server_end_point_hash(certificate)[1]
                    except ValueError as error:
                        raise exceptions.ProtocolError(str(error)) from None
            self.stage("authenticating with")
            password: Any = self.target.password
            if isinstance(password, Secret):
                password = password.reveal()
            elif password is not None:
                password = await password_of(password)
            handshake = Handshake(
                params, password, tls=encrypted, local=is_loopback(peer), end_point=end_point,
                gss=gss_contexts(params, self.target),
            )  # fmt: skip
            self.dialogue = handshake
            await self.handshake(protocol, handshake)
        except BaseException:
            if self.transport is not None:
                self.transport.abort()
            raise
        addr = self.target.socket_path if self.target.is_unix else (self.target.host, self.target.port)
        return Session(
            self.transport, addr, params, self.target, peer, encrypted, context if encrypted else None,
            handshake.backend_pid, handshake.secret_key, handshake.parameters, handshake.tx_status, handshake,
        )  # fmt: skip

    async def handshake(self, protocol: StartupProtocol, handshake: Handshake) -> None:
        self.transport.write(handshake.start())
        while not handshake.done:
            try:
                data = await protocol.read()
            except ConnectionResetError as error:
                raise exceptions.ConnectionDoesNotExistError(
                    "connection was closed in the middle of operation"
                ) from error
            answer = handshake.receive(data)
            while isinstance(answer, Deferred):
                await self.loop.run_in_executor(None, answer.work)
                answer = handshake.resume()
            if answer:
                self.transport.write(answer)
        protocol.handshake = handshake
        handshake.receive(protocol.take())


def tls_modes(params: ConnectParams, context: ssl_module.SSLContext | None, target: Target) -> list[str]:
    """The encryptions to try in turn for one address (manual, libpq, sslmode)."""
    if target.is_unix or context is None:
        return ["disable"]
    if params.sslmode in ("allow", "prefer") and not params.security.allow_plaintext_fallback:
        return ["require"]
    return {"allow": ["disable", "require"], "prefer": ["prefer", "disable"]}.get(params.sslmode, [params.sslmode])


def may_fall_back(error: BaseException, mode: str, asked: bool) -> bool:
    """Whether another encryption is worth a try.

    To go on without TLS: TLS itself failed, or pg_hba.conf refused before it asked for a password (`asked`). A wrong
    password is not sent again in clear, and a client certificate that was refused is not left out.
    """
    if mode != "prefer":
        return isinstance(error, exceptions.PostgresError)
    if isinstance(error, ssl_module.SSLError):
        reason = error.reason or ""
        return "ALERT" not in reason or not any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "DENIED"))
    return isinstance(error, exceptions.InvalidAuthorizationSpecificationError) and not asked


async def addresses_of(params: ConnectParams, target: Target, loop: asyncio.AbstractEventLoop) -> list[Any]:
    """What a host name stands for, in the order to try."""
    if target.is_unix:
        return [target.socket_path]
    if target.address[-1:].isdecimal():
        # As it is: the addresses that a name stands for could be many, this one is itself.
        try:
            socket.inet_pton(socket.AF_INET, target.address)
        except OSError:
            pass
        else:
            return [(target.address, target.port)]
    infos = await loop.getaddrinfo(target.address, target.port, type=socket.SOCK_STREAM)
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
    data = session.handshake.take()
    value = b""
    kept = b""  # what may come at any time is for the session that follows
    while True:
        while len(data) >= 5:
            (length,) = struct.unpack_from("!i", data, 1)
            if data[:1] not in b"TDCZESNA" or length < 4 or length > 30_000:
                raise exceptions.ProtocolError(f"unexpected message from the server: {data[:16]!r}")
            if len(data) < length + 1:
                break
            message, payload, data = data[: length + 1], data[5 : length + 1], data[length + 1 :]
            tag = message[:1]
            if tag == b"D":
                value = payload[6:]
            elif tag == b"E":
                raise exceptions.from_fields(Handshake.fields(payload))
            elif tag in b"SNA":
                kept += message
            elif tag == b"Z":
                protocol.handshake = session.handshake
                session.handshake.receive(kept + data + protocol.take())
                return value in (b"t", b"on")
        data += await protocol.read()


async def open_session(
    params: ConnectParams,
    *,
    loop: asyncio.AbstractEventLoop,
    timeout: float | None = None,
    connector: Callable[[str, int], Any] | None = None,
    sock: Any = None,
    around: Callable[..., Any] | None = None,
) -> Session:
    """A started session with the first host that will have us.

    timeout: seconds for everything together; params.connect_timeout: for each address. around: an async callable of
    keywords addr, loop, params and attempt, that awaits attempt() and returns what it gives.
    """
    targets = list(params.targets)
    if params.load_balance_hosts == "random":
        random.shuffle(targets)
    wanted = params.target_session_attrs
    errors: list[tuple[Target, BaseException]] = []
    rejected = 0
    deadline = Deadline(loop, timeout)
    with deadline:
        context = None
        if needs_tls(params):
            deadline.stage = "reading certificates"
            context = await loop.run_in_executor(None, tls.build_context, params)
        for want in ("prefer-standby", "any") if wanted == "prefer-standby" else (wanted,):
            for target in targets:
                deadline.stage, deadline.target = "resolving", target
                try:
                    addresses = await addresses_of(params, target, loop)
                except OSError as error:
                    errors.append((target, error))
                    continue
                for address in addresses:
                    limit = NO_LIMIT if params.connect_timeout is None else Deadline(loop, params.connect_timeout)
                    deadlines = (deadline,) if isinstance(limit, nullcontext) else (deadline, limit)
                    session = accepted = None
                    try:
                        with limit:
                            attempt = partial(
                                try_address, params, target, address, context, loop, deadlines, connector, sock, errors
                            )
                            if around is None:
                                session = await attempt()
                            else:
                                where = address if target.is_unix else (target.host, target.port)
                                session = await around(addr=where, loop=loop, params=params, attempt=attempt)
                            accepted = session is not None and await fits(session, want, loop)
                    except (OSError, asyncio.TimeoutError, exceptions.ConnectionDoesNotExistError) as error:
                        # Of a host that answers too late, or dies when asked what it is.
                        if isinstance(error, ssl_module.SSLError):
                            raise
                        errors.append((target, error))
                    finally:
                        if session is not None and not accepted:
                            session.transport.abort()
                    deadline.check()
                    if accepted:
                        return cast(Session, session)
                    rejected += accepted is False and session is not None
    raise final_error(params, errors, rejected)


# Hosts and ports of servers that are of version 17 or later and have spoken TLS with us: they take direct TLS.
_direct: set[tuple[str, int]] = set()
ENFORCED = ("require", "verify-ca", "verify-full")


def needs_tls(params: ConnectParams) -> bool:
    """Whether a TLS context is to be made at all."""
    return params.sslmode != "disable" and any(not target.is_unix for target in params.targets)


async def try_address(
    params: ConnectParams,
    target: Target,
    address: Any,
    context: ssl_module.SSLContext | None,
    loop: asyncio.AbstractEventLoop,
    deadlines: Sequence[Deadline],
    connector: Any,
    sock: Any,
    errors: list[tuple[Target, BaseException]],
) -> Session | None:
    """One address with each encryption that sslmode permits; None when the next address may be tried."""
    tries = [(mode, params.sslnegotiation == "direct") for mode in tls_modes(params, context, target)]
    guess = params.security.prefer_direct_tls and (target.host, target.port) in _direct and tries[0][0] in ENFORCED
    if guess and not tries[0][1]:
        tries.insert(0, (tries[0][0], True))
    for i, (mode, direct) in enumerate(tries):
        last = i == len(tries) - 1
        attempt = Attempt(params, target, loop, *deadlines)
        try:
            session = await attempt.run(address, context, mode, direct, connector, sock)
            if params.security.prefer_direct_tls and session.tls:
                version = parse_server_version(session.parameters.get("server_version", ""))
                if version.major >= 17:
                    _direct.add((target.host, target.port))
            return session
        except exceptions.CannotConnectNowError as error:
            errors.append((target, error))
            return None
        except ssl_module.SSLCertVerificationError:
            raise
        except (OSError, exceptions.ConnectionDoesNotExistError, exceptions.InterfaceError) as error:
            if not last and direct and not attempt.asked:
                # It was another server that could do that, or it is behind a proxy now.
                _direct.discard((target.host, target.port))
                continue
            if isinstance(error, exceptions.InterfaceError):
                raise
            if not last and may_fall_back(error, mode, attempt.asked):
                continue
            errors.append((target, error))
            return None
        except exceptions.PostgresError as error:
            if last or not may_fall_back(error, mode, attempt.asked):
                raise
    return None


def final_error(params: ConnectParams, errors: list[tuple[Target, BaseException]], rejected: int) -> BaseException:
    """What the user sees when no host will do."""
    if rejected and not errors:
        return exceptions.TargetServerAttributeNotMatched(
            f"None of the hosts match the target attribute requirement {params.target_session_attrs!r}"
        )
    if not errors:
        return OSError("no host to connect to")
    target, last = errors[-1]
    if len(errors) == 1:
        # Some loops do not say whom they could not connect to.
        if type(last) in (ConnectionRefusedError, ConnectionResetError, OSError) and str(target.port) not in str(last):
            text = last.strerror or str(last)  # type: ignore[attr-defined]
            named = type(last)(*([last.errno] if last.errno else []), f"{text} ({place(target)})")  # type: ignore[attr-defined]
            named.__cause__ = last
            return named
        return last
    tried = "; ".join(f"{place(target)}: {type(error).__name__}: {error}" for target, error in errors)
    # Of the class of the last one, as when there is but one host. What has more to say than a text stays as it is.
    kind = type(last)
    if kind is exceptions.ConnectionDoesNotExistError and len({type(error) for _, error in errors}) > 1:
        kind = OSError
    elif kind.__module__ not in ("builtins", "socket") and kind not in (
        asyncio.TimeoutError, exceptions.ConnectionDoesNotExistError,
    ):  # fmt: skip
        return last
    number = getattr(last, "errno", None)
    combined = kind(*([number] if number else []), f"could not connect to any host: {tried}")
    combined.__cause__ = last
    return combined


def place(target: Target) -> str:
    """A target as messages name it."""
    return str(target.socket_path) if target.is_unix else f"{target.host}:{target.port}"
