# SPDX-License-Identifier: MIT
"""The start-up dialogue without I/O: startup packet, authentication, until the first ReadyForQuery.

Limits here are far below those of a session: nobody has proved anything yet.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastpg import exceptions
from fastpg.exceptions import InterfaceError, ProtocolError
from fastpg.protocol.backend import read_parameters
from fastpg.protocol.scram import ScramClient

if TYPE_CHECKING:
    from fastpg._params import ConnectParams

PROTOCOL_3_0 = 0x00030000
PROTOCOL_3_2 = 0x00030002
AUTHENTICATION, ERROR_RESPONSE, NOTICE_RESPONSE, PARAMETER_STATUS, BACKEND_KEY_DATA, READY_FOR_QUERY = b"RENSKZ"
NEGOTIATE_PROTOCOL_VERSION, NOTIFICATION_RESPONSE = b"vA"
EXPECTED = frozenset(b"RENSKZvA")
MAX_LENGTH = 30_000  # of all messages but those of authentication and errors
TX_STATUSES = (b"I", b"T", b"E")
read_i32 = struct.Struct("!i").unpack_from
METHODS = {2: "'kerberosv5'", 3: "password", 5: "md5", 7: "gss", 9: "sspi", 10: "sasl"}


class Deferred:
    """Work that takes long: call `work()` in a thread, then Handshake.resume()."""

    def __init__(self, work: Any) -> None:
        self.work = work


def cstring(value: str, what: str) -> bytes:
    """A C string of the startup packet."""
    if "\0" in value:
        raise exceptions.ClientConfigurationError(f"{what} contains a NUL character")
    return encoded(value, what) + b"\0"


def startup_parameters(texts: list[str]) -> bytes:
    """Names and values in turn, as C strings, and the NUL that ends them."""
    whole = "\0".join(texts)
    if whole.count("\0") < len(texts) and whole.isascii():
        return whole.encode() + b"\0\0"
    # One by one, to name the parameter that cannot be sent.
    body = b""
    for name, value in zip(texts[::2], texts[1::2], strict=True):
        body += cstring(name, "a startup parameter") + cstring(value, f"startup parameter {name!r}")
    return body + b"\0"


def encoded(value: str, what: str) -> bytes:
    """UTF-8; undecodable bytes of the environment or of a command line go back to what they were."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        pass  # the error would hold the text, which may be a password
    raise exceptions.ClientConfigurationError(f"{what} cannot be encoded in UTF-8")


def not_postgres(data: bytes) -> ProtocolError:
    """The error for a message that no PostgreSQL server sends."""
    return ProtocolError(f"the server does not speak PostgreSQL's protocol: it sent {data[:16]!r}")


def too_much() -> ProtocolError:
    """The error for a server that never comes to an end."""
    return ProtocolError("the server sent too much before the session was ready")


class Handshake:
    """One start-up. Feed it with receive(); when `done`, the attributes below say what the session is like.

    backend_pid, secret_key (None when the server gave none), parameters, tx_status, protocol_version, notices.
    Bytes after ReadyForQuery stay in `leftover`.
    """

    def __init__(
        self,
        params: ConnectParams,
        password: str | None,
        *,
        tls: bool = False,
        local: bool = False,
        end_point: bytes | None = None,
        nonce: str | None = None,
        gss: Callable[[bool], Any] | None = None,
    ) -> None:
        self._params = params
        self._password = password
        self._tls = tls
        self._local = local
        self._end_point = end_point or None
        self._nonce = nonce
        self._buffer = b""
        self._total = 0
        self._scram: ScramClient | None = None
        self._gss = gss  # makes the security context: for SSPI when its argument is true
        self._context: Any = None
        self._token = b""
        self._held = b""  # to be sent before the result of a Deferred
        self._step = ""
        self._completed = "none"
        self._bound = False
        #: Whether the server has said anything about authentication.
        self.asked = False
        self.authenticated = False
        self.done = False
        self.backend_pid = 0
        self.secret_key: bytes | None = None
        self.parameters: dict[str, str] = {}
        self.tx_status = 0
        wanted = params.max_protocol_version
        self.protocol_version = PROTOCOL_3_2 if wanted >= (3, 2) else PROTOCOL_3_0
        self._negotiated = False
        self.notices: list[dict[str, str]] = []

    def __repr__(self) -> str:
        return f"<Handshake authenticated={self.authenticated} done={self.done}>"

    @property
    def leftover(self) -> bytes:
        """What came after ReadyForQuery."""
        return self._buffer

    def start(self) -> bytes:
        """The startup packet."""
        params = self._params
        texts = ["user", params.user, "database", params.database]
        for item in params.server_settings.items():
            texts += item
        body = startup_parameters(texts)
        size = len(body) + 8
        if size > params.security.max_startup_packet:
            raise exceptions.ClientConfigurationError(
                f"the startup parameters take {size} bytes; the server accepts {params.security.max_startup_packet}"
            )
        return struct.pack("!ii", size, self.protocol_version) + body

    def take(self) -> bytes:
        """What came after ReadyForQuery, given away."""
        data, self._buffer = self._buffer, b""
        return data

    # ----------------------------------------------------------------- framing

    def receive(self, data: bytes) -> bytes | Deferred | None:
        """Take bytes; what is to be sent in answer, work to be done first, or None."""
        self._buffer += data
        if self.done:
            return None
        return self._pump(b"")

    def resume(self) -> bytes | Deferred | None:
        """Go on after the work of a Deferred."""
        out, self._held = self._held, b""
        if self._step == "gss":
            return self._pump(out + (self._password_message(self._token) if self._token else b""))
        assert self._scram is not None
        return self._pump(out + self._password_message(self._scram.final()))

    def _pump(self, out: bytes) -> bytes | Deferred | None:
        security = self._params.security
        data, pos, size = self._buffer, 0, len(self._buffer)
        allowance = security.max_startup_bytes - self._total
        try:
            while pos < size:
                tag = data[pos]
                if tag == PARAMETER_STATUS and self.authenticated:
                    pos = read_parameters(data, pos, self.parameters)
                    if pos > allowance:
                        raise too_much()
                    if pos == size:
                        break
                    tag = data[pos]
                if tag not in EXPECTED:
                    raise not_postgres(data[pos:])
                if size - pos < 5:
                    break
                (length,) = read_i32(data, pos + 1)
                if length < 4 or length > self._longest(tag):
                    raise not_postgres(data[pos:])
                end = pos + length + 1
                if end > size:
                    break
                body = data[pos + 5 : end]
                pos = end
                if end > allowance:
                    raise too_much()
                answer = self._message(tag, body)
                if self.done:
                    break
                if answer is not None:
                    if isinstance(answer, Deferred):
                        self._held = out
                        return answer
                    out += answer
        finally:
            self._buffer = data[pos:]
            self._total += pos
        return out or None

    def _longest(self, tag: int) -> int:
        if tag == AUTHENTICATION:
            return self._params.security.max_auth_request
        return self._params.security.max_startup_error if tag == ERROR_RESPONSE else MAX_LENGTH

    def _message(self, tag: int, body: bytes) -> bytes | Deferred | None:
        if tag == AUTHENTICATION:
            return self._authentication(body)
        if tag == ERROR_RESPONSE:
            raise exceptions.from_fields(self.fields(body))
        if tag == NOTICE_RESPONSE:
            if len(self.notices) < 100:
                self.notices.append(self.fields(body))
        elif tag == NEGOTIATE_PROTOCOL_VERSION:
            self._negotiate(body)
        elif not self.authenticated:
            raise ProtocolError(f"unexpected message {chr(tag)!r} from the server before authentication")
        elif tag == BACKEND_KEY_DATA:
            self._backend_key(body)
        elif tag == NOTIFICATION_RESPONSE:
            pass  # a notification, that nobody can have asked for yet: a pooler's session is not new
        else:
            if body not in TX_STATUSES:
                raise ProtocolError("malformed ReadyForQuery message from the server")
            self.tx_status = body[0]
            self.done = True
        return None

    @staticmethod
    def fields(body: bytes) -> dict[str, str]:
        """ErrorResponse and NoticeResponse."""
        fields = {}
        if not body.endswith(b"\0"):
            raise ProtocolError("malformed ErrorResponse message from the server")
        for part in body.split(b"\0"):
            if part:
                fields[chr(part[0])] = part[1:].decode("utf-8", "backslashreplace")
        return fields

    def _negotiate(self, body: bytes) -> None:
        if self._negotiated or self.authenticated or self._step or len(body) < 8:
            raise ProtocolError("unexpected NegotiateProtocolVersion message from the server")
        minor, count = struct.unpack_from("!ii", body)
        if count < 0 or body[8:].count(b"\0") != count or (body[8:] and not body.endswith(b"\0")):
            raise ProtocolError("malformed NegotiateProtocolVersion message from the server")
        # Servers before 18 send the minor number alone, newer ones the whole version.
        version = minor if minor >> 16 else PROTOCOL_3_0 | minor
        lowest = self._params.min_protocol_version
        if version >> 16 != 3 or version > self.protocol_version or (3, version & 0xFFFF) < tuple(lowest):
            offered = f"{version >> 16}.{version & 0xFFFF}"
            raise ProtocolError(f"the server offers protocol {offered}, which is not acceptable")
        self._negotiated = True
        self.protocol_version = version

    def _backend_key(self, body: bytes) -> None:
        key = body[4:]
        longest = 256 if self.protocol_version >= PROTOCOL_3_2 else 4
        if self.secret_key is not None or not 4 <= len(key) <= longest:
            raise ProtocolError("malformed BackendKeyData message from the server")
        (self.backend_pid,) = struct.unpack_from("!i", body)
        self.secret_key = key

    # ---------------------------------------------------------- authentication

    def _authentication(self, body: bytes) -> bytes | Deferred | None:
        if len(body) < 4:
            raise ProtocolError("malformed Authentication message from the server")
        (code,) = struct.unpack_from("!i", body)
        data = body[4:]
        self.asked = True
        if self.authenticated:
            raise ProtocolError("unexpected Authentication message from the server")
        if code == 0:
            self._accepted()
            return None
        if code in (11, 12):
            return self._sasl_step(code, data)
        if code == 8 and self._step == "gss":
            return self._gss_step(data)
        if self._step:
            raise ProtocolError("unexpected Authentication message from the server")
        if code == 3:
            return self._cleartext()
        if code == 5 and len(data) == 4:
            return self._md5(data)
        if code == 10:
            return self._sasl(data)
        if code in (7, 9) and self._gss is not None:
            self._require(METHODS[code])
            self._context = self._gss(code == 9)
            self._step, self._completed = "gss", METHODS[code]
            return self._gss_step(b"")
        name = METHODS.get(code, str(code))
        raise InterfaceError(f"unsupported authentication method requested by the server: {name}")

    def _require(self, method: str) -> None:
        allowed = self._params.require_auth
        if allowed is not None and not allowed.allows(method):
            raise InterfaceError(f"the server asks for {method!r} authentication, which require_auth excludes")
        if self._params.channel_binding == "require" and method != "scram-sha-256":
            raise InterfaceError(f"channel_binding=require: the server asks for {method!r} authentication")

    def _secret(self) -> str:
        # Like asyncpg: a server that asks gets the empty password when there is none.
        password = self._password or ""
        if "\0" in password:
            raise exceptions.ClientConfigurationError("the password contains a NUL character")
        encoded(password, "the password")
        return password

    def _gss_step(self, token: bytes) -> Deferred:
        context = self._context
        if token and context.complete:
            raise ProtocolError("unexpected Authentication message from the server")

        def work() -> None:
            self._token = context.step(token)

        return Deferred(work)

    def _cleartext(self) -> bytes:
        self._require("password")
        permitted = self._params.allow_cleartext_password or self._params.security.allow_cleartext_password
        if not self._tls and not self._local and not permitted:
            raise InterfaceError(
                "the server asks for the password in clear text over an unencrypted connection: "
                "use TLS (sslmode=require), or allow_cleartext_password=True to send it all the same"
            )
        self._step = self._completed = "password"
        return self._password_message(cstring(self._secret(), "the password"))

    def _md5(self, salt: bytes) -> bytes:
        self._require("md5")
        if not self._tls and not self._local:
            text = "md5 authentication over an unencrypted connection"
            warnings.warn(text, exceptions.InterfaceWarning, stacklevel=2)
        self._step = self._completed = "md5"
        user = encoded(self._params.user, "the user")
        inner = hashlib.md5(encoded(self._secret(), "the password") + user).hexdigest()
        outer = hashlib.md5(inner.encode() + salt).hexdigest()
        return self._password_message(b"md5" + outer.encode() + b"\0")

    @staticmethod
    def _password_message(body: bytes) -> bytes:
        return b"p" + struct.pack("!i", len(body) + 4) + body

    def _sasl(self, data: bytes) -> bytes:
        self._require("scram-sha-256")
        offered = [name.decode("ascii", "replace") for name in data.split(b"\0") if name]
        wanted = self._params.channel_binding
        plus = "SCRAM-SHA-256-PLUS" in offered and wanted != "disable" and self._end_point is not None
        if wanted == "require" and not plus:
            raise InterfaceError(
                "channel_binding=require: the server does not offer it"
                if "SCRAM-SHA-256-PLUS" not in offered
                else "channel_binding=require: the connection has no TLS, or its certificate has no usable signature"
            )
        if not plus and "SCRAM-SHA-256" not in offered:
            raise InterfaceError(
                f"unsupported SASL Authentication methods requested by the server: "
                f"{', '.join(offered)!r}"
            )
        if "SCRAM-SHA-256-PLUS" in offered and not self._tls:
            raise ProtocolError("the server offers SCRAM-SHA-256-PLUS over a connection without TLS")
        if not self._password:
            raise InterfaceError("the server asks for a password and none was given")
        security = self._params.security
        # 'y' says: we could, the server did not offer; a man in the middle who took it away is found out by that.
        able = self._end_point is not None and wanted != "disable" and not plus
        self._scram = ScramClient(
            self._secret(),
            binding=self._end_point if plus else None,
            supports_binding=able and "SCRAM-SHA-256-PLUS" not in offered,
            max_iterations=security.scram_max_iterations,
            min_iterations=security.scram_min_iterations if security.refuse_low_iterations else 0,
            nonce=self._nonce,
        )
        self._step = "sasl-first"
        first = self._scram.first()
        return self._password_message(
            self._scram.mechanism.encode() + b"\0" + struct.pack("!i", len(first)) + first
        )

    def _sasl_step(self, code: int, data: bytes) -> bytes | Deferred | None:
        scram = self._scram
        if scram is None or self._step != {11: "sasl-first", 12: "sasl-final"}[code]:
            raise ProtocolError("unexpected Authentication message from the server")
        if code == 12:
            scram.server_final(data)
            self._step = "sasl-done"
            self._completed = "scram-sha-256"
            self._bound = scram.mechanism.endswith("PLUS")
            return None
        ready = scram.server_first(data)
        if scram.iterations < self._params.security.scram_min_iterations:
            text = (
                f"the server's SCRAM verifier has {scram.iterations} iterations, fewer than RFC 7677's 4096: "
                "set the password again"
            )
            warnings.warn(text, exceptions.InterfaceWarning, stacklevel=2)
        self._step = "sasl-final"
        if not ready:
            if scram.iterations > self._params.security.scram_thread_iterations:
                return Deferred(scram.derive)
            scram.derive()
        return self._password_message(scram.final())

    def _accepted(self) -> None:
        # The one place that decides, over what was completed and not over what was offered.
        if self._step in ("sasl-first", "sasl-final"):
            raise ProtocolError("the server ended the SCRAM exchange before proving that it knows the password")
        if self._step == "gss" and not self._context.complete:
            raise ProtocolError("the server ended the GSSAPI exchange before proving who it is")
        params = self._params
        if params.require_auth is not None and not params.require_auth.allows(self._completed):
            raise InterfaceError(
                "the server accepted the connection without an authentication that require_auth permits"
            )
        if params.channel_binding == "require" and not self._bound:
            raise InterfaceError("channel_binding=require: the server accepted the connection without it")
        if (
            self._completed == "none"
            and self._password is not None
            and not params.security.allow_trust_with_password
        ):
            raise InterfaceError("a password was given, but the server did not ask for it")
        self.authenticated = True
