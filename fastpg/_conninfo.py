# SPDX-License-Identifier: MIT
"""Connection strings: libpq's table of parameters, the URI form and the ``key=value`` form.

Nothing here knows what a value means. An error never quotes more of the string than a parameter's name, for any part
of it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from fastpg.exceptions import ClientConfigurationError

__all__ = ("FILE_KEYS", "PARAMETERS", "ConnectionString", "parse_connection_string", "parse_key_value", "parse_uri")

# Every parameter of libpq 18 (and `servicefile`), with the environment variable that gives its default.
PARAMETERS: Mapping[str, str | None] = MappingProxyType({
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER",
    "password": "PGPASSWORD", "passfile": "PGPASSFILE", "require_auth": "PGREQUIREAUTH",
    "channel_binding": "PGCHANNELBINDING", "connect_timeout": "PGCONNECT_TIMEOUT",
    "client_encoding": "PGCLIENTENCODING", "options": "PGOPTIONS", "application_name": "PGAPPNAME",
    "fallback_application_name": None, "keepalives": None, "keepalives_idle": None, "keepalives_interval": None,
    "keepalives_count": None, "tcp_user_timeout": None, "replication": None, "gssencmode": "PGGSSENCMODE",
    "sslmode": "PGSSLMODE", "sslnegotiation": "PGSSLNEGOTIATION", "sslcompression": "PGSSLCOMPRESSION",
    "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslkeylogfile": None, "sslpassword": None,
    "sslcertmode": "PGSSLCERTMODE", "sslrootcert": "PGSSLROOTCERT", "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR", "sslsni": "PGSSLSNI", "requirepeer": "PGREQUIREPEER",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION", "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "min_protocol_version": "PGMINPROTOCOLVERSION", "max_protocol_version": "PGMAXPROTOCOLVERSION",
    "krbsrvname": "PGKRBSRVNAME", "gsslib": "PGGSSLIB", "gssdelegation": "PGGSSDELEGATION",
    "scram_client_key": None, "scram_server_key": None, "service": "PGSERVICE", "servicefile": "PGSERVICEFILE",
    "target_session_attrs": "PGTARGETSESSIONATTRS", "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "oauth_issuer": None, "oauth_client_id": None, "oauth_client_secret": None, "oauth_scope": None,
})  # fmt: skip

# Parameters that make the client open a file: refused in a string that the caller does not trust.
FILE_KEYS = frozenset({
    "passfile", "service", "servicefile", "sslcert", "sslkey", "sslkeylogfile", "sslrootcert", "sslcrl", "sslcrldir",
})  # fmt: skip

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_NAME = re.compile(r"[^\W\d][\w.$]{0,62}\Z")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SPACE = " \t\n\v\f\r"


@dataclass(slots=True)
class ConnectionString:
    """What a connection string says: libpq's parameters, other URI keys, and where two readers would differ."""

    values: dict[str, str] = field(default_factory=dict, repr=False)
    settings: dict[str, str] = field(default_factory=dict, repr=False)
    #: Why asyncpg and libpq read this string differently, or one refuses it; empty if all agree. Holds no value.
    ambiguous: list[str] = field(default_factory=list)


def parse_connection_string(dsn: str) -> ConnectionString:
    """Parse either form; the text before ``://`` tells them apart. Refusals are ClientConfigurationError."""
    scheme = _SCHEME.match(dsn.lstrip(_SPACE))
    if scheme is not None:
        outer, dsn = dsn, dsn.lstrip(_SPACE)
    if scheme is None and ("=" in dsn or not dsn.strip(_SPACE)):
        return parse_key_value(dsn)
    if scheme is None or scheme[1].lower() not in ("postgresql", "postgres") or dsn[scheme.end() :][:2] != "//":
        found = scheme[1] if scheme is not None and dsn[scheme.end() :][:2] == "//" else ""
        raise ClientConfigurationError(
            f'invalid DSN: scheme is expected to be either "postgresql" or "postgres", got {found!r}'
        )
    out = parse_uri(dsn)
    if dsn != outer:
        out.ambiguous.append("it begins with a blank")
    return out


def parse_key_value(text: str) -> ConnectionString:
    """Parse ``host=a password='it\\'s'``: quotes, backslash escapes, blanks around ``=``; the last value wins."""
    out = ConnectionString()
    pos, end = 0, len(text)
    while True:
        while pos < end and text[pos] in _SPACE:
            pos += 1
        if pos == end:
            return out
        start = pos
        while pos < end and text[pos] != "=" and text[pos] not in _SPACE:
            pos += 1
        name = text[start:pos]
        while pos < end and text[pos] in _SPACE:
            pos += 1
        if pos == end or text[pos] != "=":
            raise ClientConfigurationError(f'invalid DSN: missing "=" after the word at position {start + 1}')
        pos += 1
        while pos < end and text[pos] in _SPACE:
            pos += 1
        value: list[str] = []
        quoted = pos < end and text[pos] == "'"
        pos += quoted
        while pos < end and text[pos] != "'" if quoted else pos < end and text[pos] not in _SPACE:
            if text[pos] == "\\":
                pos += 1
                if pos == end:
                    break
            value.append(text[pos])
            pos += 1
        if quoted:
            if pos >= end:
                raise ClientConfigurationError("invalid DSN: unterminated quoted string")
            pos += 1
        _store_key_value(out, name, "".join(value))


def _store_key_value(out: ConnectionString, name: str, value: str) -> None:
    if name == "requiressl":
        name, value = "sslmode", "require" if value.startswith("1") else "prefer"
    if name not in PARAMETERS:
        shown = repr(name) if _NAME.match(name) else "of a form that no parameter has"
        raise ClientConfigurationError(f"invalid DSN: unknown connection parameter {shown}")
    if name == "servicefile":
        out.ambiguous.append("servicefile is not known to every libpq")
    out.values[name] = value


def parse_uri(uri: str) -> ConnectionString:
    """Parse ``postgresql://user:password@host:port,host:port/dbname?key=value&...``.

    Where asyncpg and libpq disagree asyncpg's reading is taken, and the reason added to `ambiguous`.
    """
    out = ConnectionString()
    plain = uri.translate({9: None, 10: None, 13: None})
    if plain != uri:
        out.ambiguous.append("it holds a tab or a line break")
    scheme, _, rest = plain.partition("://")
    if scheme not in ("postgresql", "postgres"):
        out.ambiguous.append("its scheme is not in lower case")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    userinfo, at, _ = authority.partition("@")
    if not at and "@" in rest.partition("/")[0]:
        out.ambiguous.append('it has "@" in its query without a "/" before')
    if at:
        rest = rest[len(userinfo) + 1 :]
        user, _, password = userinfo.partition(":")
        for name, text in (("user", user), ("password", password)):
            if text:
                out.values[name] = _decode(out, name, text)
    rest, fragment, _ = rest.partition("#")
    if fragment:
        out.ambiguous.append('it has a fragment ("#")')
    split = re.search("[/?]", _mask_brackets(rest))
    hosts = rest[: split.start()] if split else rest
    if "@" in hosts:
        # Mostly a password with a bare "@"; what follows could even name a socket of this machine.
        raise ClientConfigurationError('invalid DSN: "@" in a user, password or host must be written as %40')
    rest = rest[split.start() :] if split else ""
    _parse_hosts(out, hosts)
    path, question, query = rest.partition("?")
    if len(path) > 1:
        out.values["dbname"] = _decode(out, "dbname", path[1:])
    if question and query:
        _parse_query(out, query)
    return out


def _mask_brackets(text: str) -> str:
    """Blank out ``[...]`` at the start of a host, where "/" and "?" are no delimiters."""
    return re.sub(r"(^|,)(\[[^\]]*\])", lambda m: m[1] + "_" * len(m[2]), text)


def _parse_hosts(out: ConnectionString, text: str) -> None:
    hosts: list[str] = []
    ports: list[str] = []
    while True:
        if text.startswith("["):
            host, bracket, text = text[1:].partition("]")
            if not bracket:
                raise ClientConfigurationError('invalid DSN: missing "]" after an IPv6 address')
            if not host:
                raise ClientConfigurationError("invalid DSN: an IPv6 address may not be empty")
            if text and text[0] not in ":,":
                raise ClientConfigurationError('invalid DSN: expected ":", "," or "/" after an IPv6 address')
        else:
            host = re.split("[:,]", text, maxsplit=1)[0]
            text = text[len(host) :]
        port = ""
        if text.startswith(":"):
            port = text[1:].split(",", 1)[0]
            text = text[1 + len(port) :]
        hosts.append(host)
        ports.append(port)
        if not text:
            break
        text = text[1:]
    for name, items in (("host", hosts), ("port", ports)):
        joined = ",".join(items)
        if joined:
            out.values[name] = _decode(out, name, joined)


def _parse_query(out: ConnectionString, query: str) -> None:
    taken: dict[str, str] = {}
    fields = query.split("&")
    if not fields[-1]:
        fields.pop()
    for item in fields:
        raw_key, equals, raw = item.partition("=")
        if not equals:
            raise ClientConfigurationError('invalid DSN: a query field without "="')
        key = _decode(out, "a query key", raw_key, query=True)
        value = _decode(out, key if key in PARAMETERS else "a query value", raw, query=True)
        if "=" in raw:
            out.ambiguous.append('a query value holds "="')
        if key == "database":
            out.ambiguous.append('the query key "database" is not libpq\'s')
            key = "dbname"
        elif key == "servicefile":
            out.ambiguous.append("servicefile is not known to every libpq")
        elif key == "ssl":
            if value != "true":
                raise ClientConfigurationError("invalid DSN: ssl may only be true in a URI; use sslmode")
            key, value = "sslmode", "require"
        elif key == "requiressl":
            key, value = "sslmode", "require" if value.startswith("1") else "prefer"
        if not value:
            out.ambiguous.append("a query value is empty")
        elif key in PARAMETERS:
            taken[key] = value
        elif not _NAME.match(key):
            raise ClientConfigurationError("invalid DSN: a query key of a form that no parameter has")
        else:
            out.ambiguous.append(f"unknown connection parameter {key!r}")
            out.settings[key] = value
    for key, value in taken.items():
        if out.values.get(key, "").strip(",") or (key not in ("host", "port") and key in out.values):
            out.ambiguous.append(f"it gives {key} twice, before and after the question mark")
        else:
            out.values[key] = value


def _decode(out: ConnectionString, name: str, text: str, *, query: bool = False) -> str:
    if " " in text:
        out.ambiguous.append("it holds a blank")
    if query and "+" in text:
        out.ambiguous.append('its query holds "+"')
        text = text.replace("+", " ")
    if _BAD_PERCENT.search(text):
        out.ambiguous.append('it holds a "%" that is no escape')
    data = unquote_to_bytes(text)
    if b"\0" in data:
        raise ClientConfigurationError(f"invalid DSN: {name} contains a NUL character")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise ClientConfigurationError(f"invalid DSN: {name} is not valid UTF-8 after percent-decoding")
