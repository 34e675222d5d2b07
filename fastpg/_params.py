# SPDX-License-Identifier: MIT
"""What is known before connecting: the servers to try and how to speak to them. `fastpg.dsn.parse` makes these."""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fastpg.security import Secret, SecurityProfile

__all__ = ("ConnectParams", "Password", "RequireAuth", "Target")

#: A password: a string, or a function or coroutine function without arguments that gives one.
Password: TypeAlias = "Secret | Callable[[], Any] | None"


@dataclass(frozen=True, slots=True)
class Target:
    """One server to try: a host (or socket directory) and port, with the password that goes there."""

    host: str
    hostaddr: str | None
    port: int
    is_unix: bool
    password: Password = None

    @property
    def socket_path(self) -> str | None:
        """The path of the Unix socket (a leading NUL for Linux's abstract names), None for TCP."""
        if not self.is_unix:
            return None
        path = self.host if ".s.PGSQL." in self.host else f"{self.host}/.s.PGSQL.{self.port}"
        return "\0" + path[1:] if path.startswith("@") else path

    @property
    def address(self) -> str:
        """What to connect a TCP socket to: the numeric address if one was given, else the host name."""
        return self.hostaddr or self.host


@dataclass(frozen=True, slots=True)
class RequireAuth:
    """The methods of authentication that may (or, `negated`, may not) be completed; ``none`` is no exchange at all."""

    methods: frozenset[str]
    negated: bool = False

    def allows(self, method: str) -> bool:
        """Tell whether `method` (a name of libpq's require_auth) is acceptable."""
        return (method in self.methods) != self.negated


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectParams:
    """All that is needed to connect.

    `connect_timeout` is in seconds, `tcp_user_timeout` in milliseconds; 0 in the latter and in `keepalives_*` leaves
    the system's own value.
    """

    targets: tuple[Target, ...]
    user: str
    database: str
    security: SecurityProfile
    sslmode: str = "prefer"
    ssl_context: ssl_module.SSLContext | None = None
    sslnegotiation: str = "postgres"
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    sslpassword: Secret | None = None
    sslcrl: str | None = None
    sslcrldir: str | None = None
    sslsni: bool = True
    sslcertmode: str = "allow"
    sslkeylogfile: str | None = None
    ssl_min_protocol_version: ssl_module.TLSVersion | None = ssl_module.TLSVersion.TLSv1_2
    ssl_max_protocol_version: ssl_module.TLSVersion | None = None
    #: Ready for the startup packet, beside `user` and `database`.
    server_settings: Mapping[str, str] = field(default_factory=dict)
    channel_binding: str = "prefer"
    require_auth: RequireAuth | None = None
    allow_cleartext_password: bool = False
    target_session_attrs: str = "any"
    load_balance_hosts: str = "disable"
    #: None: not given (the caller's own limit, or the profile's, holds).
    connect_timeout: float | None = None
    keepalives: bool = True
    keepalives_idle: int = 0
    keepalives_interval: int = 0
    keepalives_count: int = 0
    tcp_user_timeout: int = 0
    min_protocol_version: tuple[int, int] = (3, 0)
    max_protocol_version: tuple[int, int] = (3, 0)
    requirepeer: str | None = None
    krbsrvname: str | None = None
    gsslib: str = "gssapi"
    gssencmode: str = "disable"
    gssdelegation: bool = False
    replication: str | None = None
    scram_client_key: Secret | None = None
    scram_server_key: Secret | None = None
    oauth_issuer: str | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: Secret | None = None
    oauth_scope: str | None = None

    # asyncpg's names, which tools read from `Connection._params`.

    @property
    def password(self) -> Any:
        """Of the first host: text, the function that gives it, or None."""
        password = self.targets[0].password
        return password.reveal() if isinstance(password, Secret) else password

    @property
    def ssl(self) -> ssl_module.SSLContext | bool | None:
        """The context that was given, else whether TLS may be used; None where there is only a Unix socket."""
        if all(target.is_unix for target in self.targets):
            return None
        return self.ssl_context if self.ssl_context is not None else self.sslmode != "disable"

    @property
    def ssl_negotiation(self) -> str:
        """How TLS begins: 'postgres' or 'direct'."""
        return self.sslnegotiation
