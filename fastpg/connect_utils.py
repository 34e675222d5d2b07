# SPDX-License-Identifier: MIT
"""asyncpg's view of where and how to connect: enumerations, addresses, parameters."""

from __future__ import annotations

import asyncio
import enum
import ssl as ssl_module
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from fastpg import tls
from fastpg._params import ConnectParams
from fastpg.dsn import parse

PGPASSFILE: Final = ".pgpass"
PG_SERVICEFILE: Final = ".pg_service.conf"


class SSLMode(enum.IntEnum):
    """libpq's sslmode, from the least to the most secure."""

    disable = 0
    allow = 1
    prefer = 2
    require = 3
    verify_ca = 4
    verify_full = 5

    @classmethod
    def parse(cls, sslmode: SSLMode | str) -> SSLMode:
        """'verify-full' gives SSLMode.verify_full. Raises AttributeError for what is no sslmode."""
        if isinstance(sslmode, cls):
            return sslmode
        found: SSLMode = getattr(cls, str(sslmode).replace("-", "_"))
        return found


class SSLNegotiation(str, enum.Enum):
    """How TLS begins: after a request in PostgreSQL's own protocol, or at once."""

    postgres = "postgres"
    direct = "direct"

    __str__ = str.__str__


class SessionAttribute(str, enum.Enum):
    """target_session_attrs: which servers of several will do."""

    any = "any"
    primary = "primary"
    standby = "standby"
    prefer_standby = "prefer-standby"
    read_write = "read-write"
    read_only = "read-only"


class _ConnectionParameters(NamedTuple):
    user: str
    password: Any
    database: str
    ssl: Any
    sslmode: SSLMode
    ssl_negotiation: SSLNegotiation
    server_settings: dict[str, str] | None
    target_session_attrs: SessionAttribute
    krbsrvname: str | None
    gsslib: str | None


class _ClientConfiguration(NamedTuple):
    command_timeout: float | None
    statement_cache_size: int
    max_cached_statement_lifetime: float
    max_cacheable_statement_size: int


_ConnectionParameters.__name__ = _ConnectionParameters.__qualname__ = "ConnectionParameters"
_ClientConfiguration.__name__ = _ClientConfiguration.__qualname__ = "ConnectionConfiguration"


def _addresses(params: ConnectParams) -> list[Any]:
    return [
        target.socket_path if target.is_unix else (target.address, target.port) for target in params.targets
    ]


def _view(params: ConnectParams) -> _ConnectionParameters:
    """What asyncpg's parameters say of these; the password of the first host."""
    context: ssl_module.SSLContext | bool | None = None
    if not all(target.is_unix for target in params.targets):
        context = False if params.sslmode == "disable" else tls.build_context(params)
    mode = SSLMode.parse(params.sslmode) if context else SSLMode.disable
    settings = dict(params.server_settings)
    if settings.get("client_encoding") == "UTF8":
        del settings["client_encoding"]  # sent by default, not asked for
    return _ConnectionParameters(
        params.user, params.password, params.database, context, mode, SSLNegotiation(params.sslnegotiation),
        settings or None, SessionAttribute(params.target_session_attrs), params.krbsrvname,
        params.gsslib,
    )  # fmt: skip


def _parse_connect_dsn_and_args(**arguments: Any) -> tuple[list[Any], _ConnectionParameters]:
    """The addresses to try, and the parameters, from connect()'s arguments, which may be None."""
    params = parse(**{name: value for name, value in arguments.items() if value is not None})
    return _addresses(params), _view(params)


def _parse_connect_arguments(
    *,
    command_timeout: float | None,
    statement_cache_size: int,
    max_cached_statement_lifetime: float,
    max_cacheable_statement_size: int,
    **arguments: Any,
) -> tuple[list[Any], _ConnectionParameters, _ClientConfiguration]:
    """The same with the configuration of the client, checked."""
    from fastpg.connection import check_limits

    limits = {
        "statement_cache_size": statement_cache_size,
        "max_cached_statement_lifetime": max_cached_statement_lifetime,
        "max_cacheable_statement_size": max_cacheable_statement_size,
    }
    command_timeout = check_limits(limits, command_timeout)
    addrs, params = _parse_connect_dsn_and_args(**arguments)
    config = _ClientConfiguration(
        command_timeout, statement_cache_size, max_cached_statement_lifetime, max_cacheable_statement_size
    )
    return addrs, params, config


async def _connect_addr(
    *, addr: Any, loop: asyncio.AbstractEventLoop, params: Any, attempt: Callable[[], Awaitable[Any]], **unused: Any
) -> Any:
    """One attempt at one address. connect() goes through here when somebody has put a function around it."""
    return await attempt()


ORIGINAL_CONNECT_ADDR: Final = _connect_addr


def around_attempt() -> Callable[..., Awaitable[Any]] | None:
    """What stands in for _connect_addr now, if anything."""
    return None if _connect_addr is ORIGINAL_CONNECT_ADDR else _connect_addr


async def _connect(
    *, loop: asyncio.AbstractEventLoop, connection_class: Any, record_class: Any, **kwargs: Any
) -> Any:
    """connect() with every argument given."""
    from fastpg.connection import connect

    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    return await connect(loop=loop, connection_class=connection_class, record_class=record_class, **kwargs)
