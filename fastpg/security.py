# SPDX-License-Identifier: MIT
"""Security profiles, the defaults of a connection under ``security="compat"`` and ``"strict"``; and `Secret`."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from fastpg.exceptions import ClientConfigurationError

__all__ = ("PROFILES", "Secret", "SecurityProfile", "select_profile")


class Secret:
    """A string that is never shown: `repr`, `str`, `format` and pickling do not give it away; `reveal()` does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string itself; do not keep it in a local variable longer than needed."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('****')"

    def __str__(self) -> str:
        return "****"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityProfile:
    """One column of defaults. Times are seconds, sizes bytes, `tcp_user_timeout` milliseconds; None means no limit."""

    name: str
    # transport
    sslmode: str
    prefer_direct_tls: bool  # direct negotiation with a server that was seen to be 17 or later
    channel_binding: str
    min_protocol_version: tuple[int, int]
    max_protocol_version: tuple[int, int]
    keepalives: bool
    keepalives_idle: int
    keepalives_interval: int
    keepalives_count: int
    tcp_user_timeout: int
    tls_keylog_from_environment: bool  # SSLKEYLOGFILE gives session keys away
    allow_plaintext_fallback: bool  # sslmode allow and prefer may go on without TLS
    # authentication
    require_auth: str | None
    allow_cleartext_password: bool  # `password` on plain TCP to a host that is not loopback
    allow_trust_with_password: bool  # AuthenticationOk without an exchange although a password was given
    scram_min_iterations: int
    refuse_low_iterations: bool  # below scram_min_iterations: refuse, else warn
    scram_max_iterations: int
    scram_thread_iterations: int = 10_000  # above this the key is derived in a worker thread
    # limits of messages; those of a session are the same for all (protocol/backend)
    max_auth_request: int
    max_startup_error: int = 30_000
    max_startup_bytes: int = 1024 * 1024  # all that a server may send before ReadyForQuery
    max_startup_packet: int = 10_000
    max_result_bytes: int | None
    max_queued_notices: int
    # time limits
    connect_timeout: float
    command_timeout: float | None
    cancel_timeout: float
    close_timeout: float
    idle_in_transaction_session_timeout: float | None
    # pool
    pool_max_lifetime: float = 1800.0
    pool_acquire_timeout: float | None
    pool_check_idle: float | None  # ping on acquire after so long idle
    reset_discard_all: bool
    reuse_after_cancel: bool
    # strings under another's control
    allow_unknown_uri_keys: bool  # as server settings, as asyncpg does
    allowed_server_settings: frozenset[str] | None  # lower case; None: any


_STRICT_SETTINGS = frozenset({
    "application_name", "client_encoding", "datestyle", "default_transaction_deferrable",
    "default_transaction_isolation", "default_transaction_read_only", "extra_float_digits", "geqo",
    "idle_in_transaction_session_timeout", "idle_session_timeout", "intervalstyle", "jit", "lock_timeout",
    "replication", "search_path", "standard_conforming_strings", "statement_timeout", "timezone",
    "transaction_timeout", "work_mem",
})  # fmt: skip

PROFILES: Mapping[str, SecurityProfile] = MappingProxyType({
    "compat": SecurityProfile(
        name="compat",
        sslmode="prefer",
        prefer_direct_tls=False,
        channel_binding="prefer",
        min_protocol_version=(3, 0),
        max_protocol_version=(3, 0),
        keepalives=True,
        keepalives_idle=60,
        keepalives_interval=10,
        keepalives_count=6,
        tcp_user_timeout=120_000,
        tls_keylog_from_environment=True,
        allow_plaintext_fallback=True,
        require_auth=None,
        allow_cleartext_password=False,
        allow_trust_with_password=True,
        scram_min_iterations=4096,
        refuse_low_iterations=False,
        scram_max_iterations=100_000,
        max_auth_request=64 * 1024,
        max_result_bytes=None,
        max_queued_notices=10_000,
        connect_timeout=60.0,
        command_timeout=None,
        cancel_timeout=5.0,
        close_timeout=10.0,
        idle_in_transaction_session_timeout=None,
        pool_acquire_timeout=None,
        pool_check_idle=None,
        reset_discard_all=False,
        reuse_after_cancel=True,
        allow_unknown_uri_keys=True,
        allowed_server_settings=None,
    ),
    "strict": SecurityProfile(
        name="strict",
        sslmode="verify-full",
        prefer_direct_tls=True,
        channel_binding="require",
        min_protocol_version=(3, 0),
        max_protocol_version=(3, 2),
        keepalives=True,
        keepalives_idle=30,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=30_000,
        tls_keylog_from_environment=False,
        allow_plaintext_fallback=False,
        require_auth="scram-sha-256",
        allow_cleartext_password=False,
        allow_trust_with_password=False,
        scram_min_iterations=4096,
        refuse_low_iterations=True,
        scram_max_iterations=100_000,
        max_auth_request=2000,
        max_result_bytes=4 * 1024**3,
        max_queued_notices=1000,
        connect_timeout=15.0,
        command_timeout=60.0,
        cancel_timeout=2.0,
        close_timeout=3.0,
        idle_in_transaction_session_timeout=60.0,
        pool_acquire_timeout=30.0,
        pool_check_idle=5.0,
        reset_discard_all=True,
        reuse_after_cancel=False,
        allow_unknown_uri_keys=False,
        allowed_server_settings=_STRICT_SETTINGS,
    ),
})  # fmt: skip


def select_profile(name: str | SecurityProfile | None, environ: Mapping[str, str]) -> SecurityProfile:
    """Return the profile named by the keyword `security`, else by FASTPG_SECURITY, else ``compat``.

    A `SecurityProfile` of the caller's own making is taken as it is. An unknown name is a ClientConfigurationError.
    """
    if isinstance(name, SecurityProfile):
        return name
    chosen = name or environ.get("FASTPG_SECURITY") or "compat"
    profile = PROFILES.get(chosen) if isinstance(chosen, str) else None
    if profile is None:
        raise ClientConfigurationError(f"security must be one of: {', '.join(PROFILES)}, got {chosen!r}")
    return profile
