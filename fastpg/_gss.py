# SPDX-License-Identifier: MIT
"""GSSAPI and SSPI: the security context of one start-up (PostgreSQL's manual, "GSSAPI Authentication").

The tokens are those of the gssapi or the sspilib package, which are optional. A step may ask a KDC over the network, so
it runs in a thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from fastpg import exceptions
from fastpg._params import ConnectParams, Target

SERVICE = "postgres"
INSTALL = "install the {!r} package (the extra fastpg[gssapi] has it)"


class GssContext:
    """One security context; `step(token)` gives the token to send, b'' for none.

    negotiate: the server has asked for SSPI, whose tokens are those of SPNEGO. Raises InterfaceError.
    """

    def __init__(self, lib: str, service: str, host: str, *, delegate: bool = False, negotiate: bool = False) -> None:
        self._lib = lib
        start: Callable[..., Any] = self._start_sspi if lib == "sspi" else self._start_gssapi
        self._context: Any = None
        self._start = partial(start, service, host, delegate, negotiate)

    @property
    def complete(self) -> bool:
        """Whether both sides have proved who they are."""
        return self._context is not None and bool(self._context.complete)

    def step(self, token: bytes) -> bytes:
        """Take the server's token, b'' at first. May block; raises InterfaceError."""
        try:
            if self._context is None:
                self._context = self._start()
            answer: bytes | None = self._context.step(token or None)
            return answer or b""
        except exceptions.InterfaceError:
            raise
        except ImportError as error:
            package = "sspilib" if self._lib == "sspi" else "gssapi"
            raise exceptions.InterfaceError(
                f"the server asks for GSSAPI authentication: {INSTALL.format(package)}"
            ) from error
        except Exception as error:
            raise exceptions.InterfaceError(f"GSSAPI authentication failed: {error}") from error

    @staticmethod
    def _start_gssapi(service: str, host: str, delegate: bool, negotiate: bool) -> Any:
        gssapi: Any = importlib.import_module("gssapi")
        flags = gssapi.RequirementFlag.mutual_authentication
        if delegate:
            flags |= gssapi.RequirementFlag.delegate_to_peer
        name = gssapi.Name(f"{service}@{host}", gssapi.NameType.hostbased_service)
        mechanism = gssapi.OID.from_int_seq("1.3.6.1.5.5.2") if negotiate else None
        return gssapi.SecurityContext(name=name, mech=mechanism, flags=flags, usage="initiate")

    @staticmethod
    def _start_sspi(service: str, host: str, delegate: bool, negotiate: bool) -> Any:
        sspilib: Any = importlib.import_module("sspilib")
        flags = sspilib.IscReq.ISC_REQ_MUTUAL_AUTH
        if delegate:
            flags |= sspilib.IscReq.ISC_REQ_DELEGATE
        credential = sspilib.UserCredential(protocol="Negotiate" if negotiate else "Kerberos")
        return sspilib.ClientSecurityContext(credential, f"{service}/{host}", flags=flags)


def gss_contexts(params: ConnectParams, target: Target) -> Callable[[bool], GssContext]:
    """What makes the context for a target; its argument says whether the server has asked for SSPI.

    The principal is that of the name that the user gave, krbsrvname (default 'postgres') @ host.
    """

    def make(negotiate: bool) -> GssContext:
        if target.is_unix or not target.host:
            raise exceptions.InterfaceError(
                "the server asks for GSSAPI authentication, which needs the server's host name: set host="
            )
        return GssContext(
            params.gsslib, params.krbsrvname or SERVICE, target.host,
            delegate=params.gssdelegation, negotiate=negotiate,
        )  # fmt: skip

    return make
