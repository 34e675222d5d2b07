# SPDX-License-Identifier: MIT
"""TLS contexts as libpq's parameters describe them, and the data of tls-server-end-point channel binding."""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
import sys
from collections.abc import Mapping
from types import MappingProxyType

from fastpg.dsn import ConnectParams, Target
from fastpg.exceptions import ClientConfigurationError

__all__ = ("ALPN", "build_context", "server_end_point_hash", "server_hostname")

ALPN = "postgresql"
_VERIFYING = ("require", "verify-ca", "verify-full")


def build_context(params: ConnectParams) -> ssl.SSLContext | None:
    """Return the context for the connections of `params`, None if they are not to use TLS.

    Reads files, so it may block for as long as the file system does. A file that was named or is needed but missing,
    unreadable, or a private key that others may read: ClientConfigurationError.
    """
    if params.sslmode == "disable":
        return None
    if params.ssl_context is not None:
        if params.sslnegotiation == "direct":
            params.ssl_context.set_alpn_protocols([ALPN])  # without it the server refuses
        return params.ssl_context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = params.sslmode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if not context.check_hostname else ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_RENEGOTIATION
    if params.ssl_min_protocol_version is not None:
        context.minimum_version = params.ssl_min_protocol_version
    if params.ssl_max_protocol_version is not None:
        context.maximum_version = params.ssl_max_protocol_version
    context.set_alpn_protocols([ALPN])
    if params.sslmode in _VERIFYING:
        _load_authorities(context, params)
    _load_client_certificate(context, params)
    if params.sslkeylogfile:
        try:
            context.keylog_filename = params.sslkeylogfile
        except OSError as exc:
            reason = exc.strerror
        else:
            reason = None
        if reason is not None:
            raise ClientConfigurationError(f'key log file "{params.sslkeylogfile}" cannot be opened: {reason}')
    return context


def server_hostname(params: ConnectParams, target: Target) -> str | None:
    """Return the name to check the certificate against and to send as SNI; None if neither is wanted.

    ``sslsni=0`` cannot be had together with ``verify-full``: the standard library sends the name that it checks.
    """
    checked = params.ssl_context.check_hostname if params.ssl_context is not None else params.sslmode == "verify-full"
    if not params.sslsni:
        if checked:
            raise ClientConfigurationError("sslsni=0 cannot be combined with a check of the host name")
        return None
    # A trailing dot makes a name absolute for DNS; certificates and SNI do not have it.
    return target.host.rstrip(".") or None


def _user_file(name: str) -> str | None:
    """Return the path of a file of the user's own directory, if it exists."""
    if sys.platform == "win32":
        appdata = os.environ.get("APPDATA")
        directory = os.path.join(appdata, "postgresql") if appdata else ""
    else:
        home = os.path.expanduser("~")
        directory = os.path.join(home, ".postgresql") if home != "~" else ""
    path = os.path.join(directory, name)
    return path if directory and os.path.exists(path) else None


def _load_authorities(context: ssl.SSLContext, params: ConnectParams) -> None:
    if params.sslrootcert == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        root = params.sslrootcert or _user_file("root.crt")
        if root is None and params.sslmode == "require":
            return  # nothing to verify with: require asks for encryption only
        if root is None:
            root = os.path.join(os.path.expanduser("~"), ".postgresql", "root.crt")
        if not os.path.isfile(root):
            raise ClientConfigurationError(
                f'root certificate file "{root}" does not exist or cannot be accessed\n'
                'HINT:  Provide the file, use the system\'s trusted roots with sslrootcert="system", '
                "or choose a weaker sslmode."
            )
        _load(context, "root certificate file", cafile=root)
    context.verify_mode = ssl.CERT_REQUIRED
    crl = params.sslcrl or (None if params.sslcrldir else _user_file("root.crl"))
    if crl is not None:
        _load(context, "certificate revocation list", cafile=crl)
    if params.sslcrldir is not None:
        if not os.path.isdir(params.sslcrldir):
            raise ClientConfigurationError(f'sslcrldir "{params.sslcrldir}" is not a directory')
        _load(context, "directory of revocation lists", capath=params.sslcrldir)
    if crl is not None or params.sslcrldir is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load(context: ssl.SSLContext, what: str, *, cafile: str | None = None, capath: str | None = None) -> None:
    try:
        context.load_verify_locations(cafile=cafile, capath=capath)
    except (OSError, ValueError) as exc:
        reason = _reason(exc)
    else:
        return
    raise ClientConfigurationError(f'{what} "{cafile or capath}" cannot be loaded: {reason}')


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return exc.reason or "it is not in the expected format"
    return getattr(exc, "strerror", None) or type(exc).__name__


def _load_client_certificate(context: ssl.SSLContext, params: ConnectParams) -> None:
    if params.sslcertmode == "disable":
        return
    if params.sslcertmode == "require":
        raise ClientConfigurationError(
            "sslcertmode=require is not supported: the ssl module does not tell whether a certificate was asked for"
        )
    certificate = params.sslcert or _user_file("postgresql.crt")
    if certificate is None:
        return
    key = params.sslkey or _user_file("postgresql.key")
    _check_key(key or certificate)
    secret = params.sslpassword
    try:
        # Without a function OpenSSL would ask on the terminal, and wait.
        context.load_cert_chain(certificate, key, password=lambda: secret.reveal() if secret is not None else "")
    except (OSError, ValueError) as exc:
        reason = _reason(exc)
    else:
        return
    with_key = f' with private key file "{key}"' if key is not None else " (which is to hold the private key too)"
    raise ClientConfigurationError(f'certificate file "{certificate}"{with_key} cannot be loaded: {reason}')


def _check_key(path: str) -> None:
    """Refuse a private key that others may use: at most 0600, or 0640 if it belongs to root."""
    try:
        status = os.stat(path)
    except OSError:
        return  # loading it tells the reason
    if not stat.S_ISREG(status.st_mode):
        raise ClientConfigurationError(f'private key file "{path}" is not a regular file')
    if sys.platform == "win32":
        return
    group = stat.S_IWGRP | stat.S_IXGRP if status.st_uid == 0 else stat.S_IRWXG
    if status.st_mode & (group | stat.S_IRWXO):
        raise ClientConfigurationError(
            f'private key file "{path}" can be accessed by its group or by others; permissions must be '
            "0600 or less, or 0640 or less if root owns it"
        )


# -- channel binding ---------------------------------------------------------------------------------------------

# Signature algorithms by the body of their OBJECT IDENTIFIER, with the hash they imply.
_RSA = bytes.fromhex("2a864886f70d0101")
_ECDSA = bytes.fromhex("2a8648ce3d0403")
_NIST_SIGNATURE = bytes.fromhex("6086480165030403")
_NIST_HASH = bytes.fromhex("6086480165030402")
_SHA3 = ("sha3_224", "sha3_256", "sha3_384", "sha3_512")
_RSA_PSS = _RSA + b"\x0a"
_HASHES: Mapping[bytes, str] = MappingProxyType(
    {
        _RSA + b"\x04": "md5",
        _RSA + b"\x05": "sha1",
        _RSA + b"\x0b": "sha256",
        _RSA + b"\x0c": "sha384",
        _RSA + b"\x0d": "sha512",
        _RSA + b"\x0e": "sha224",
        _RSA + b"\x0f": "sha512_224",
        _RSA + b"\x10": "sha512_256",
        bytes.fromhex("2b0e03021d"): "sha1",  # sha1WithRSA of OIW
        bytes.fromhex("2a8648ce3d0401"): "sha1",
        _ECDSA + b"\x01": "sha224",
        _ECDSA + b"\x02": "sha256",
        _ECDSA + b"\x03": "sha384",
        _ECDSA + b"\x04": "sha512",
        bytes.fromhex("2a8648ce380403"): "sha1",  # DSA
        **{
            _NIST_SIGNATURE + bytes([number]): name
            for number, name in enumerate(
                ("sha224", "sha256", "sha384", "sha512", *_SHA3, *_SHA3, *_SHA3),  # DSA; then DSA, ECDSA, RSA
                start=1,
            )
        },
    }
)
_DIGESTS: Mapping[bytes, str] = MappingProxyType(
    {
        bytes.fromhex("2a864886f70d0205"): "md5",
        bytes.fromhex("2b0e03021a"): "sha1",
        **{
            _NIST_HASH + bytes([number]): name
            for number, name in enumerate(
                ("sha256", "sha384", "sha512", "sha224", "sha512_224", "sha512_256", *_SHA3),
                start=1,
            )
        },
    }
)


def server_end_point_hash(der: bytes) -> tuple[str | None, bytes]:
    """Return the hash's name and value that bind a session to the certificate `der` (RFC 5929, tls-server-end-point).

    The hash is that of the certificate's signature, SHA-256 where that is MD5 or SHA-1. A signature without a hash of
    its own (Ed25519, Ed448, post-quantum ones) or unknown gives ``(None, b"")``: there is no such binding then, and
    the caller must not go on as if there were one. A malformed certificate is a ValueError.
    """
    start, end = _element(der, 0, len(der), 0x30)
    _, after = _element(der, start, end, 0x30)  # tbsCertificate
    start, end = _element(der, after, end, 0x30)  # signatureAlgorithm
    oid_start, oid_end = _element(der, start, end, 0x06)
    oid = der[oid_start:oid_end]
    name = _pss_hash(der, oid_end, end) if oid == _RSA_PSS else _HASHES.get(oid)
    if name is None:
        return None, b""
    if name in ("md5", "sha1"):
        name = "sha256"
    try:
        digest = hashlib.new(name, der).digest()
    except ValueError:
        return None, b""  # this build of OpenSSL lacks it
    return name, digest


def _pss_hash(der: bytes, pos: int, end: int) -> str | None:
    """Return the hash that the parameters of RSASSA-PSS name; SHA-1 is the default."""
    if pos == end:
        return "sha1"
    start, stop = _element(der, pos, end, 0x30)
    if start == stop or der[start] != 0xA0:
        return "sha1"
    start, stop = _element(der, start, stop, 0xA0)
    start, stop = _element(der, start, stop, 0x30)
    start, stop = _element(der, start, stop, 0x06)
    return _DIGESTS.get(der[start:stop])


def _element(der: bytes, pos: int, end: int, tag: int) -> tuple[int, int]:
    """Return where the content of the element at `pos` begins and ends; it must have `tag` and end by `end`."""
    if end - pos < 2 or der[pos] != tag:
        raise ValueError("malformed certificate: unexpected element")
    size = der[pos + 1]
    pos += 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or end - pos < count:
            raise ValueError("malformed certificate: length")
        size = int.from_bytes(der[pos : pos + count], "big")
        pos += count
    if size > end - pos:
        raise ValueError("malformed certificate: truncated")
    return pos, pos + size
