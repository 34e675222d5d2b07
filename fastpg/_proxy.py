# SPDX-License-Identifier: MIT
"""Proxies between client and server: what a connection may do when its session is not its own.

PgBouncer and its kin lend a server's session to a client, for as long as the client is connected (``session``) or for
one transaction at a time (``transaction``). A client cannot see which; its user says so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from fastpg.exceptions import ClientConfigurationError, InterfaceError
from fastpg.security import SecurityProfile

__all__ = ("MODES", "ProxyMode", "behind_proxy", "proxy_mode")


@dataclass(frozen=True)
class ProxyMode:
    """What holds behind a proxy of this kind. session: the session is the client's own while it is connected."""

    name: str
    session: bool

    def refuse(self, what: str) -> None:
        """Raise InterfaceError for what needs a session of one's own."""
        if not self.session:
            raise InterfaceError(
                f"{what} is not possible with proxy={self.name!r}: the next transaction may run in another session of "
                "the server. Use a connection that goes straight to the server, or a proxy in session mode"
            )


MODES = {mode.name: mode for mode in (ProxyMode("session", True), ProxyMode("transaction", False))}


def proxy_mode(name: object) -> ProxyMode | None:
    """The mode of this name, None for no proxy. Raises ClientConfigurationError for another name."""
    if name is None:
        return None
    mode = MODES.get(name) if isinstance(name, str) else None
    if mode is None:
        raise ClientConfigurationError(f"proxy must be None or one of: {', '.join(MODES)}, got {name!r}")
    return mode


def behind_proxy(profile: SecurityProfile) -> SecurityProfile:
    """The profile without what proxies refuse: startup parameters of ours that they do not know, a newer protocol."""
    return dataclasses.replace(
        profile,
        idle_in_transaction_session_timeout=None,
        min_protocol_version=(3, 0),
        max_protocol_version=(3, 0),
    )
