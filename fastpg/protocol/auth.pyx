# SPDX-License-Identifier: MIT
# The start-up dialogue without I/O: startup packet, authentication, until the first ReadyForQuery.
# Limits here are far below those of a session: nobody has proved anything yet.
# May import: wire, backend, scram, exceptions.

import hashlib
import struct
import warnings
from types import MappingProxyType

from libc.stdint cimport uint8_t

from fastpg.protocol.backend cimport (
    AUTHENTICATION,
    BACKEND_KEY_DATA,
    ERROR_RESPONSE,
    NEGOTIATE_PROTOCOL_VERSION,
    NOTICE_RESPONSE,
    NOTIFICATION_RESPONSE,
    PARAMETER_STATUS,
    READY_FOR_QUERY,
    read_parameters,
)
from fastpg.wire cimport load_i32

from fastpg import exceptions
from fastpg.exceptions import InterfaceError, ProtocolError
from fastpg.protocol.scram import ScramClient

cdef enum:
    PROTOCOL_3_0 = 0x00030000
    PROTOCOL_3_2 = 0x00030002
    MAX_LENGTH = 30000      # of all messages but those of authentication and errors

METHODS = {2: "'kerberosv5'", 3: "password", 5: "md5", 7: "gss", 9: "sspi", 10: "sasl"}


class Deferred:
    """Work that takes long: call `work()` in a thread, then Handshake.resume()."""

    def __init__(self, work):
        self.work = work


cdef bytes cstring(object value, str what):
    # A C string of the startup packet.
    if "\0" in value:
        raise exceptions.ClientConfigurationError(f"{what} contains a NUL character")
    return encoded(value, what) + b"\0"


cdef bytes startup_parameters(list texts):
    # Names and values in turn, as C strings, and the NUL that ends them.
    cdef str whole = "\0".join(texts)
    if whole.count("\0") < len(texts) and whole.isascii():
        return whole.encode() + b"\0\0"
    # One by one, to name the parameter that cannot be sent.
    cdef bytes body = b""
    for name, value in zip(texts[::2], texts[1::2]):
        body += cstring(name, "a startup parameter") + cstring(value, f"startup parameter {name!r}")
    return body + b"\0"


cdef bytes encoded(object value, str what):
    # UTF-8; undecodable bytes of the environment or of a command line go back to what they were.
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        pass  # the error would hold the text, which may be a password
    raise exceptions.ClientConfigurationError(f"{what} cannot be encoded in UTF-8")


cdef bytes password_message(bytes body):
    return b"p" + struct.pack("!i", len(body) + 4) + body


cdef object not_postgres(bytes data):
    # The error for a message that no PostgreSQL server sends.
    return ProtocolError(f"the server does not speak PostgreSQL's protocol: it sent {data[:16]!r}")


cdef object too_much():
    # The error for a server that never comes to an end.
    return ProtocolError("the server sent too much before the session was ready")


cdef bint expected(uint8_t tag) noexcept:
    return tag in (AUTHENTICATION, ERROR_RESPONSE, NOTICE_RESPONSE, PARAMETER_STATUS, BACKEND_KEY_DATA,
                   READY_FOR_QUERY, NEGOTIATE_PROTOCOL_VERSION, NOTIFICATION_RESPONSE)


# What the last start-up packet was made of, and the packet: a program says the same to its server each time.
# Threads may read it while another puts a new one there: no C variable, whose references nothing would guard.
_last_start = (None, None, None, 0, b"")


cdef class Handshake:
    """One start-up. Feed it with receive(); when `done`, the attributes below say what the session is like.

    backend_pid, secret_key (None when the server gave none), parameters, tx_status, protocol_version, notices.
    Bytes after ReadyForQuery stay in `leftover`.
    """

    def __init__(self, params, password, *, tls=False, local=False, end_point=None, nonce=None, gss=None):
        self.params = params
        self.security = params.security
        self.password = password
        self.tls = tls
        self.local = local
        self.end_point = end_point or None
        self.nonce = nonce
        self.buffer = self.token = self.held = b""
        self.allowed = self.security.max_startup_bytes
        self.gss = gss
        self.step = ""
        self.completed = "none"
        self.parameters = {}
        self.protocol_version = PROTOCOL_3_2 if params.max_protocol_version >= (3, 2) else PROTOCOL_3_0
        self.notices = []

    def __repr__(self):
        return f"<Handshake authenticated={self.authenticated} done={self.done}>"

    @property
    def leftover(self):
        """What came after ReadyForQuery."""
        return self.buffer

    def start(self):
        """The startup packet."""
        global _last_start
        cdef tuple last = _last_start
        cdef bytes body, packet
        cdef list texts
        params = self.params
        user, database, settings = params.user, params.database, params.server_settings
        if (settings is last[0] and user is last[1] and database is last[2]
                and self.protocol_version == <int>last[3]):
            packet = <bytes>last[4]
        else:
            texts = ["user", user, "database", database]
            for item in settings.items():
                texts += item
            body = startup_parameters(texts)
            packet = struct.pack("!ii", len(body) + 8, self.protocol_version) + body
            if type(settings) is MappingProxyType:      # nobody changes it
                _last_start = (settings, user, database, self.protocol_version, packet)
        if len(packet) > self.security.max_startup_packet:
            raise exceptions.ClientConfigurationError(
                f"the startup parameters take {len(packet)} bytes; "
                f"the server accepts {self.security.max_startup_packet}"
            )
        return packet

    def take(self):
        """What came after ReadyForQuery, given away."""
        data, self.buffer = self.buffer, b""
        return data

    # ----------------------------------------------------------------- framing

    cpdef object receive(self, bytes data):
        """Take bytes; what is to be sent in answer, work to be done first, or None."""
        self.buffer = self.buffer + data if self.buffer else data
        if self.done:
            return None
        return self.pump(b"")

    def resume(self):
        """Go on after the work of a Deferred."""
        out, self.held = self.held, b""
        if self.step == "gss":
            return self.pump(out + (password_message(self.token) if self.token else b""))
        return self.pump(out + password_message(self._scram.final()))

    cdef object pump(self, bytes out):
        cdef bytes data = self.buffer
        cdef const char *p = data
        cdef Py_ssize_t pos = 0, end, size = len(data)
        cdef Py_ssize_t allowance = self.allowed - self.total
        cdef int length
        cdef uint8_t tag
        try:
            while pos < size:
                tag = p[pos]
                if tag == PARAMETER_STATUS and self.authenticated:
                    pos = read_parameters(data, pos, self.parameters)
                    if pos > allowance:
                        raise too_much()
                    if pos == size:
                        break
                    tag = p[pos]
                if not expected(tag):
                    raise not_postgres(data[pos:])
                if size - pos < 5:
                    break
                length = load_i32(p + pos + 1)
                if length < 4 or length > self.longest(tag):
                    raise not_postgres(data[pos:])
                end = pos + length + 1
                if end > size:
                    break
                body = p[pos + 5:end]
                pos = end
                if end > allowance:
                    raise too_much()
                answer = self.message(tag, body)
                if self.done:
                    break
                if answer is not None:
                    if isinstance(answer, Deferred):
                        self.held = out
                        return answer
                    out += <bytes>answer
        finally:
            self.buffer = data[pos:]
            self.total += pos
        return out or None

    cdef Py_ssize_t longest(self, uint8_t tag) except -1:
        if tag == AUTHENTICATION:
            return self.security.max_auth_request
        return self.security.max_startup_error if tag == ERROR_RESPONSE else MAX_LENGTH

    cdef object message(self, uint8_t tag, bytes body):
        if tag == AUTHENTICATION:
            return self.authentication(body)
        if tag == ERROR_RESPONSE:
            raise exceptions.from_fields(self.fields(body))
        if tag == NOTICE_RESPONSE:
            if len(self.notices) < 100:
                self.notices.append(self.fields(body))
        elif tag == NEGOTIATE_PROTOCOL_VERSION:
            self.negotiate(body)
        elif not self.authenticated:
            raise ProtocolError(f"unexpected message {chr(tag)!r} from the server before authentication")
        elif tag == BACKEND_KEY_DATA:
            self.backend_key(body)
        elif tag == NOTIFICATION_RESPONSE:
            pass  # a notification, that nobody can have asked for yet: a pooler's session is not new
        else:
            if body != b"I" and body != b"T" and body != b"E":
                raise ProtocolError("malformed ReadyForQuery message from the server")
            self.tx_status = body[0]
            self.done = True
        return None

    @staticmethod
    def fields(bytes body not None):
        """ErrorResponse and NoticeResponse."""
        fields = {}
        if not body.endswith(b"\0"):
            raise ProtocolError("malformed ErrorResponse message from the server")
        for part in body.split(b"\0"):
            if part:
                fields[chr(part[0])] = part[1:].decode("utf-8", "backslashreplace")
        return fields

    cdef int negotiate(self, bytes body) except -1:
        if self.negotiated or self.authenticated or self.step or len(body) < 8:
            raise ProtocolError("unexpected NegotiateProtocolVersion message from the server")
        minor, count = struct.unpack_from("!ii", body)
        if count < 0 or body[8:].count(b"\0") != count or (body[8:] and not body.endswith(b"\0")):
            raise ProtocolError("malformed NegotiateProtocolVersion message from the server")
        # Servers before 18 send the minor number alone, newer ones the whole version.
        version = minor if minor >> 16 else PROTOCOL_3_0 | minor
        lowest = self.params.min_protocol_version
        if version >> 16 != 3 or version > self.protocol_version or (3, version & 0xFFFF) < tuple(lowest):
            offered = f"{version >> 16}.{version & 0xFFFF}"
            raise ProtocolError(f"the server offers protocol {offered}, which is not acceptable")
        self.negotiated = True
        self.protocol_version = version

    cdef int backend_key(self, bytes body) except -1:
        key = body[4:]
        longest = 256 if self.protocol_version >= PROTOCOL_3_2 else 4
        if self.secret_key is not None or not 4 <= len(key) <= longest:
            raise ProtocolError("malformed BackendKeyData message from the server")
        self.backend_pid = load_i32(body)
        self.secret_key = key

    # ---------------------------------------------------------- authentication

    cdef object authentication(self, bytes body):
        if len(body) < 4:
            raise ProtocolError("malformed Authentication message from the server")
        cdef int code = load_i32(body)
        data = body[4:]
        self.asked = True
        if self.authenticated:
            raise ProtocolError("unexpected Authentication message from the server")
        if code == 0:
            self.accepted()
            return None
        if code in (11, 12):
            return self.sasl_step(code, data)
        if code == 8 and self.step == "gss":
            return self._gss_step(data)
        if self.step:
            raise ProtocolError("unexpected Authentication message from the server")
        if code == 3:
            return self.cleartext()
        if code == 5 and len(data) == 4:
            return self.md5(data)
        if code == 10:
            return self.sasl(data)
        if code in (7, 9) and self.gss is not None:
            self.require(METHODS[code])
            self.context = self.gss(code == 9)
            self.step, self.completed = "gss", METHODS[code]
            return self._gss_step(b"")
        name = METHODS.get(code, str(code))
        raise InterfaceError(f"unsupported authentication method requested by the server: {name}")

    cdef int require(self, str method) except -1:
        allowed = self.params.require_auth
        if allowed is not None and not allowed.allows(method):
            raise InterfaceError(f"the server asks for {method!r} authentication, which require_auth excludes")
        if self.params.channel_binding == "require" and method != "scram-sha-256":
            raise InterfaceError(f"channel_binding=require: the server asks for {method!r} authentication")

    cdef object secret(self):
        # Like asyncpg: a server that asks gets the empty password when there is none.
        password = self.password or ""
        if "\0" in password:
            raise exceptions.ClientConfigurationError("the password contains a NUL character")
        encoded(password, "the password")
        return password

    def _gss_step(self, token):
        context = self.context
        if token and context.complete:
            raise ProtocolError("unexpected Authentication message from the server")

        def work():
            self.token = context.step(token)

        return Deferred(work)

    cdef bytes cleartext(self):
        self.require("password")
        permitted = self.params.allow_cleartext_password or self.security.allow_cleartext_password
        if not self.tls and not self.local and not permitted:
            raise InterfaceError(
                "the server asks for the password in clear text over an unencrypted connection: "
                "use TLS (sslmode=require), or allow_cleartext_password=True to send it all the same"
            )
        self.step = self.completed = "password"
        return password_message(cstring(self.secret(), "the password"))

    cdef bytes md5(self, bytes salt):
        self.require("md5")
        if not self.tls and not self.local:
            text = "md5 authentication over an unencrypted connection"
            warnings.warn(text, exceptions.InterfaceWarning, stacklevel=1)
        self.step = self.completed = "md5"
        user = encoded(self.params.user, "the user")
        inner = hashlib.md5(encoded(self.secret(), "the password") + user).hexdigest()
        outer = hashlib.md5(inner.encode() + salt).hexdigest()
        return password_message(b"md5" + outer.encode() + b"\0")

    cdef bytes sasl(self, bytes data):
        self.require("scram-sha-256")
        offered = [name.decode("ascii", "replace") for name in data.split(b"\0") if name]
        wanted = self.params.channel_binding
        plus = "SCRAM-SHA-256-PLUS" in offered and wanted != "disable" and self.end_point is not None
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
        if "SCRAM-SHA-256-PLUS" in offered and not self.tls:
            raise ProtocolError("the server offers SCRAM-SHA-256-PLUS over a connection without TLS")
        if not self.password:
            raise InterfaceError("the server asks for a password and none was given")
        security = self.security
        # 'y' says: we could, the server did not offer; a man in the middle who took it away is found out by that.
        able = self.end_point is not None and wanted != "disable" and not plus
        self._scram = ScramClient(
            self.secret(),
            binding=self.end_point if plus else None,
            supports_binding=able and "SCRAM-SHA-256-PLUS" not in offered,
            max_iterations=security.scram_max_iterations,
            min_iterations=security.scram_min_iterations if security.refuse_low_iterations else 0,
            nonce=self.nonce,
        )
        self.step = "sasl-first"
        first = self._scram.first()
        return password_message(
            self._scram.mechanism.encode() + b"\0" + struct.pack("!i", len(first)) + first
        )

    cdef object sasl_step(self, int code, bytes data):
        scram = self._scram
        if scram is None or self.step != {11: "sasl-first", 12: "sasl-final"}[code]:
            raise ProtocolError("unexpected Authentication message from the server")
        if code == 12:
            scram.server_final(data)
            self.step = "sasl-done"
            self.completed = "scram-sha-256"
            self.bound = scram.mechanism.endswith("PLUS")
            return None
        ready = scram.server_first(data)
        if scram.iterations < self.security.scram_min_iterations:
            text = (
                f"the server's SCRAM verifier has {scram.iterations} iterations, fewer than RFC 7677's 4096: "
                "set the password again"
            )
            warnings.warn(text, exceptions.InterfaceWarning, stacklevel=1)
        self.step = "sasl-final"
        if not ready:
            if scram.iterations > self.security.scram_thread_iterations:
                return Deferred(scram.derive)
            scram.derive()
        return password_message(scram.final())

    cdef int accepted(self) except -1:
        # The one place that decides, over what was completed and not over what was offered.
        if self.step in ("sasl-first", "sasl-final"):
            raise ProtocolError("the server ended the SCRAM exchange before proving that it knows the password")
        if self.step == "gss" and not self.context.complete:
            raise ProtocolError("the server ended the GSSAPI exchange before proving who it is")
        params = self.params
        if params.require_auth is not None and not params.require_auth.allows(self.completed):
            raise InterfaceError(
                "the server accepted the connection without an authentication that require_auth permits"
            )
        if params.channel_binding == "require" and not self.bound:
            raise InterfaceError("channel_binding=require: the server accepted the connection without it")
        if (
            self.completed == "none"
            and self.password is not None
            and not self.security.allow_trust_with_password
        ):
            raise InterfaceError("a password was given, but the server did not ask for it")
        self.authenticated = True
