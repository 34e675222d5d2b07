# SPDX-License-Identifier: MIT
"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the client's side (RFC 5802, RFC 7677)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stringprep
import threading
import unicodedata
from collections import OrderedDict

from fastpg.exceptions import InterfaceError, ProtocolError

MAX_SERVER_FIRST = 8192  # bytes
MAX_NONCE = 1024
MAX_SALT = 1024
OFF_LOOP = 10_000  # iterations above which the derivation does not belong on an event loop
CACHE_SIZE = 256

_lock = threading.Lock()
_cache: OrderedDict[bytes, bytes] = OrderedDict()
_cache_key = os.urandom(32)
derivations = 0  # PBKDF2 runs of this process


def saslprep(text: str) -> bytes:
    """RFC 4013; text that it forbids is used as it is, like PostgreSQL does."""
    raw = text.encode("utf-8", "surrogateescape")
    if text.isascii():
        return raw
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    prohibited = (
        stringprep.in_table_a1, stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3,
        stringprep.in_table_c4, stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7,
        stringprep.in_table_c8, stringprep.in_table_c9,
    )  # fmt: skip
    if not normal or any(test(c) for c in normal for test in prohibited):
        return raw
    if any(stringprep.in_table_d1(c) for c in normal) and (
        any(stringprep.in_table_d2(c) for c in normal)
        or not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1]))
    ):
        return raw
    return normal.encode("utf-8")


def _digest(secret: bytes, salt: bytes, iterations: int) -> bytes:
    # Nothing in the cache tells the secret: the key of this digest never leaves the process.
    mac = hmac.new(_cache_key, digestmod="sha256")
    for part in (secret, salt, str(iterations).encode()):
        mac.update(len(part).to_bytes(8, "big") + part)
    return mac.digest()


def remembered(secret: bytes, salt: bytes, iterations: int) -> bytes | None:
    """The salted password of an earlier login, or None."""
    key = _digest(secret, salt, iterations)
    with _lock:
        found = _cache.get(key)
        if found is not None:
            _cache.move_to_end(key)
        return found


def derive(secret: bytes, salt: bytes, iterations: int) -> bytes:
    """The salted password (PBKDF2-HMAC-SHA-256), remembered. May take long: safe in any thread."""
    global derivations
    found = remembered(secret, salt, iterations)
    if found is not None:
        return found
    salted = hashlib.pbkdf2_hmac("sha256", secret, salt, iterations)
    with _lock:
        derivations += 1
        _cache[_digest(secret, salt, iterations)] = salted
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    return salted


def _decode64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(f"malformed SCRAM message from the server: {what} is not base64") from None


class ScramClient:
    """One exchange. `binding`: tls-server-end-point data for PLUS, b"" without; `offered`: what gs2 says of it."""

    def __init__(
        self,
        secret: str,
        *,
        binding: bytes | None = None,
        supports_binding: bool = False,
        max_iterations: int = 100_000,
        min_iterations: int = 0,
        nonce: str | None = None,
    ) -> None:
        self._secret = saslprep(secret)
        self._binding = binding
        self._max = max_iterations
        self._min = min_iterations
        self._nonce = nonce if nonce is not None else base64.b64encode(os.urandom(18)).decode()
        if binding is not None:
            self._gs2 = "p=tls-server-end-point,,"
        else:
            self._gs2 = "y,," if supports_binding else "n,,"
        self._auth_message = ""
        self._salted = b""
        self._without_proof = ""
        self.salt = b""
        self.iterations = 0
        self.verified = False

    def __repr__(self) -> str:
        return "<ScramClient>"

    @property
    def mechanism(self) -> str:
        """The SASL mechanism's name."""
        return "SCRAM-SHA-256-PLUS" if self._binding is not None else "SCRAM-SHA-256"

    def first(self) -> bytes:
        """client-first-message. The user name is empty: the server takes that of the startup packet."""
        return f"{self._gs2}n=,r={self._nonce}".encode()

    def server_first(self, data: bytes) -> bool:
        """Read server-first-message; True when the salted password is at hand (else call derive(), then final())."""
        if len(data) > MAX_SERVER_FIRST:
            raise ProtocolError("malformed SCRAM message from the server: too long")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("malformed SCRAM message from the server: not UTF-8") from None
        match = re.fullmatch(r"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,9})(?:,.*)?", text)
        if match is None:
            raise ProtocolError("malformed SCRAM message from the server")
        nonce, salt, count = match.groups()
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce) or len(nonce) > MAX_NONCE:
            raise ProtocolError("malformed SCRAM message from the server: its nonce does not extend ours")
        self.salt = _decode64(salt, "the salt")
        if not self.salt or len(self.salt) > MAX_SALT:
            raise ProtocolError("malformed SCRAM message from the server: impossible salt")
        self.iterations = int(count)
        if self.iterations > self._max:
            raise InterfaceError(
                f"the server asks for {self.iterations} SCRAM iterations; "
                f"scram_max_iterations allows {self._max}"
            )
        if self.iterations < self._min:
            raise InterfaceError(
                f"the server asks for {self.iterations} SCRAM iterations; at least {self._min} are required"
            )
        channel = base64.b64encode(self._gs2.encode() + (self._binding or b"")).decode()
        self._without_proof = f"c={channel},r={nonce}"
        self._auth_message = f"n=,r={self._nonce},{text},{self._without_proof}"
        found = remembered(self._secret, self.salt, self.iterations)
        if found is not None:
            self._salted = found
        return found is not None

    def derive(self) -> bytes:
        """The salted password; long work, for a thread when `iterations` is large."""
        self._salted = derive(self._secret, self.salt, self.iterations)
        return self._salted

    def final(self) -> bytes:
        """client-final-message."""
        key = hmac.digest(self._salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), self._auth_message.encode(), "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{self._without_proof},p={base64.b64encode(proof).decode()}".encode()

    def server_final(self, data: bytes) -> None:
        """Check the server's signature: it proves that the server knows the password."""
        text = data.decode("utf-8", "replace")
        if text.startswith("e="):
            raise InterfaceError(f"the server rejected the SCRAM exchange: {text[2:100]}")
        match = re.fullmatch(r"v=([A-Za-z0-9+/=]+)(?:,.*)?", text)
        if match is None:
            raise ProtocolError("malformed SCRAM message from the server")
        server_key = hmac.digest(self._salted, b"Server Key", "sha256")
        expected = hmac.digest(server_key, self._auth_message.encode(), "sha256")
        if not hmac.compare_digest(_decode64(match[1], "the signature"), expected):
            raise InterfaceError("could not verify the server's SCRAM signature: it does not know the password")
        self.verified = True
