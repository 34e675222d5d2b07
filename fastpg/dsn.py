# SPDX-License-Identifier: MIT
"""Connection parameters: keywords, connection string, service file, environment and defaults become `ConnectParams`.

The order of precedence is keyword, string, service, environment, default. No error and no `repr` shows a secret.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import getpass
import os
import re
import ssl as ssl_module
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

from fastpg import _resolved
from fastpg._conninfo import FILE_KEYS, PARAMETERS, ConnectionString, parse_connection_string
from fastpg._encodings import python_encoding
from fastpg._params import ConnectParams, Password, RequireAuth, Target
from fastpg._passfile import default_passfile, find_password, read_passfile
from fastpg._service import load_service
from fastpg.exceptions import ClientConfigurationError
from fastpg.security import Secret, select_profile

__all__ = ("ConnectParams", "Password", "RequireAuth", "Target", "parse")

SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION_ATTRS = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")
AUTH_METHODS = ("password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none")
SOCKET_DIRECTORIES = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp")
PROTOCOL_VERSIONS = MappingProxyType({"3.0": (3, 0), "3.2": (3, 2), "latest": (3, 2)})
# Variables of the environment that libpq turns into settings of the session.
SETTING_VARIABLES = (("PGDATESTYLE", "datestyle"), ("PGTZ", "TimeZone"), ("PGGEQO", "geqo"))
# Keywords of `parse` beside libpq's own names.
EXTRA_KEYWORDS = frozenset({
    "database", "ssl", "direct_tls", "server_settings", "security", "allow_cleartext_password", "allowed_dsn_keys",
    "untrusted_dsn",
})  # fmt: skip
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*\Z")


def parse(dsn: str | None = None, **keywords: Any) -> ConnectParams:
    """Resolve everything that says where and how to connect.

    `dsn` is a ``postgresql://`` URI or a libpq ``key=value`` string. Keywords are libpq's parameters and asyncpg's
    ``database``, ``ssl``, ``direct_tls`` and ``server_settings``; ``security`` names a profile;
    ``allow_cleartext_password`` permits a password in clear on plain TCP; ``allowed_dsn_keys`` lists all parameters
    that the string may give; ``untrusted_dsn`` refuses those that make this process open a file.

    Raises ClientConfigurationError (a ValueError) for all that cannot be used, TypeError for an unknown keyword.
    """
    try:
        return _resolve(dsn, keywords)
    except Exception as exc:
        error = exc
    # The frames below, and any error that led to this one, may hold a password: nothing of them is passed on.
    del dsn, keywords
    error.__context__ = error.__cause__ = None
    try:
        raise error.with_traceback(None)
    finally:
        del error


def _resolve(dsn: str | None, keywords: dict[str, Any]) -> ConnectParams:
    key = _resolved.key_of(dsn, keywords)
    found = None if key is None else _resolved.find(key)
    if found is None:
        before = _resolved.copy_of_environment()
        resolver = _Resolver(dsn, keywords, os.environ)
        found = _resolved.Resolved(resolver.resolve(), resolver.passfile, before)
        if key is not None and not resolver.reads_service:
            _resolved.keep(key, found)
    return found.params if found.passfile is None else _with_passwords(found.params, found.passfile)


def _with_passwords(params: ConnectParams, passfile: str) -> ConnectParams:
    """Fill in what the password file says of the targets."""
    lines = read_passfile(passfile)
    if not lines:
        return params

    def own_password(target: Target) -> Password:
        names = (target.host, "localhost") if target.is_unix else (target.host,)
        found = find_password(lines, names, target.port, params.database, params.user)
        if found is None:
            return None
        _check_text("a password of the password file", found)
        return Secret(found)

    targets = tuple([dataclasses.replace(target, password=own_password(target)) for target in params.targets])
    return dataclasses.replace(params, targets=targets)


def _check_text(name: str, value: object) -> None:
    """Refuse a string, or one inside a list or dict, that cannot stand in a message as a C string."""
    if isinstance(value, str):
        if "\0" in value:
            raise ClientConfigurationError(f"{name} contains a NUL character")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            pass
        else:
            return
        raise ClientConfigurationError(f"{name} cannot be encoded as UTF-8")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_text(name, key)
            _check_text(name, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_text(name, item)


def _plain(name: str, value: object) -> str:
    """Turn a keyword's value into the text that a string would hold."""
    if isinstance(value, Enum) and name in ("sslmode", "sslnegotiation", "target_session_attrs"):
        return value.value if isinstance(value.value, str) else value.name.replace("_", "-")
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if name in ("host", "hostaddr", "port") and isinstance(value, (list, tuple)):
        return ",".join("" if item is None else _plain(name, item) for item in value)
    raise ClientConfigurationError(f"{name} is expected to be a str, got {type(value).__name__}")


class _Resolver:
    """Holds the sources of one call of `parse`."""

    def __init__(self, dsn: str | None, keywords: dict[str, Any], environ: Mapping[str, str]) -> None:
        _check_text("dsn", dsn)
        for name, value in keywords.items():
            if name not in PARAMETERS and name not in EXTRA_KEYWORDS:
                raise TypeError(f"connect() got an unexpected keyword argument {name!r}")
            _check_text(name, value)
        if dsn is not None and not isinstance(dsn, str):
            raise ClientConfigurationError(f"dsn is expected to be a str, got {type(dsn).__name__}")
        self.environ = environ
        self.home = os.path.expanduser("~") if os.path.expanduser("~") != "~" else ""
        self.options = {name: keywords.get(name) for name in EXTRA_KEYWORDS}
        self.profile = select_profile(self.options["security"], environ)
        self.password: Callable[[], Any] | None = None
        #: Where to look for the passwords of the targets, None when they have one.
        self.passfile: str | None = None
        self.keywords = self._read_keywords(keywords)
        self.string = self._read_string(dsn) if dsn else ConnectionString()
        self.service = self._read_service()
        self.variables = self._read_environment()

    # -- sources -------------------------------------------------------------------------------------------------

    def _read_keywords(self, keywords: dict[str, Any]) -> dict[str, str]:
        given = {name: value for name, value in keywords.items() if value is not None and name in PARAMETERS}
        if self.options["database"] is not None:
            given["dbname"] = self.options["database"]
        if self.options["direct_tls"] is not None:
            given["sslnegotiation"] = "direct" if self.options["direct_tls"] else "postgres"
        if callable(given.get("password")):
            self.password = given.pop("password")
        elif isinstance(given.get("password"), Secret):
            given["password"] = given["password"].reveal()
        return {name: _plain(name, value) for name, value in given.items()}

    def _read_string(self, dsn: str) -> ConnectionString:
        string = parse_connection_string(dsn)
        if not self.profile.allow_unknown_uri_keys and string.settings:
            raise ClientConfigurationError(f"invalid DSN: unknown connection parameter {next(iter(string.settings))!r}")
        if self.profile.name == "strict" and string.ambiguous:
            raise ClientConfigurationError(f"invalid DSN: clients read it in different ways: {string.ambiguous[0]}")
        allowed: Collection[str] | None = self.options["allowed_dsn_keys"]
        names = (*string.values, *string.settings)
        for name in names:
            if allowed is not None and name not in allowed and not (name == "dbname" and "database" in allowed):
                raise ClientConfigurationError(f"invalid DSN: the parameter {name!r} is not allowed here")
            if self.options["untrusted_dsn"] and name in FILE_KEYS:
                raise ClientConfigurationError(f"invalid DSN: the parameter {name!r} names a file: not allowed here")
        return string

    def _read_service(self) -> dict[str, str]:
        def first(name: str) -> str:
            return (
                self.keywords.get(name) or self.string.values.get(name) or self.environ.get("PG" + name.upper()) or ""
            )

        name = first("service")
        self.reads_service = bool(name)
        if not name:
            return {}
        found = load_service(name, first("servicefile"), self.environ, self.home)
        for key, value in found.items():
            _check_text(key, value)
        return found

    def _read_environment(self) -> dict[str, str]:
        found = {}
        for name, variable in PARAMETERS.items():
            value = self.environ.get(variable) if variable else None
            if value:
                _check_text(variable or "", value)
                found[name] = value
        if self.environ.get("PGREQUIRESSL", "").startswith("1"):
            found.setdefault("sslmode", "require")
        above = (self.keywords, self.string.values, self.service)
        if any(source.get("host") for source in above):
            # An address from the environment must not redirect a host that was asked for by name.
            found.pop("hostaddr", None)
        encoding = found.get("client_encoding")
        if encoding is not None and not _is_utf8(encoding):
            del found["client_encoding"]  # it is about a terminal; all text here is str
        return found

    # -- access --------------------------------------------------------------------------------------------------

    def get(self, name: str) -> str | None:
        """Return the value of highest precedence, None if there is none or it is empty (which means the default)."""
        for source in (self.keywords, self.string.values, self.service, self.variables):
            if name in source:
                return source[name] or None
        return None

    def choice(self, name: str, values: Sequence[str], default: str) -> str:
        value = self.get(name)
        if value is None:
            return default
        if value not in values:
            raise ClientConfigurationError(f"`{name}` parameter must be one of: {', '.join(values)}")
        return value

    def integer(self, name: str, default: int) -> int:
        value = self.get(name)
        if value is None:
            return default
        if not _INTEGER.match(value) or not -(2**31) <= int(value) < 2**31:
            raise ClientConfigurationError(f"{name} is expected to be an integer, got {value!r}")
        return int(value)

    def secret(self, name: str) -> Secret | None:
        value = self.get(name)
        return None if value is None else Secret(value)

    # -- resolution ----------------------------------------------------------------------------------------------

    def resolve(self) -> ConnectParams:
        user = self.get("user") or _system_user()
        database = self.get("dbname") or user
        targets = self._targets()
        if targets[0].password is None:
            self.passfile = self.get("passfile") or default_passfile(self.home)
        has_tcp = any(not target.is_unix for target in targets)
        sslmode, context, sslrootcert = self._ssl(has_tcp)
        sslnegotiation = self.choice("sslnegotiation", ("postgres", "direct"), "postgres")
        if sslnegotiation == "direct" and has_tcp and SSLMODES.index(sslmode) < SSLMODES.index("require"):
            raise ClientConfigurationError("direct TLS requires sslmode=require, verify-ca, or verify-full")
        keylog = self.get("sslkeylogfile")
        if keylog is None and self.profile.tls_keylog_from_environment:
            keylog = self.environ.get("SSLKEYLOGFILE") or None
        tls_min, tls_max = self._tls_versions()
        protocol_min, protocol_max = self._protocol_versions()
        gssencmode = self.choice("gssencmode", ("disable", "prefer", "require"), "disable")
        if gssencmode == "require":
            raise ClientConfigurationError("gssencmode=require: GSSAPI encryption is not supported")
        gsslib = self.get("gsslib") or ("sspi" if sys.platform == "win32" else "gssapi")
        if gsslib not in ("gssapi", "sspi"):
            raise ClientConfigurationError(f"gsslib parameter must be either 'gssapi' or 'sspi', got {gsslib!r}")
        attrs = self.get("target_session_attrs") or "any"
        if attrs not in SESSION_ATTRS:
            allowed = ", ".join(map(repr, SESSION_ATTRS))
            raise ClientConfigurationError(f"target_session_attrs is expected to be one of {allowed}, got {attrs!r}")
        cleartext = self.options["allow_cleartext_password"]
        profile = self.profile
        # Sockets of this machine have no TLS that could be bound to.
        binding = profile.channel_binding if has_tcp else "prefer"
        return ConnectParams(
            targets=targets,
            user=user,
            database=database,
            security=profile,
            sslmode=sslmode,
            ssl_context=context,
            sslnegotiation=sslnegotiation,
            sslrootcert=sslrootcert,
            sslcert=self.get("sslcert"),
            sslkey=self.get("sslkey"),
            sslpassword=self.secret("sslpassword"),
            sslcrl=self.get("sslcrl"),
            sslcrldir=self.get("sslcrldir"),
            sslsni=self.choice("sslsni", ("0", "1"), "1") == "1",
            sslcertmode=self.choice("sslcertmode", ("disable", "allow", "require"), "allow"),
            sslkeylogfile=keylog,
            ssl_min_protocol_version=tls_min,
            ssl_max_protocol_version=tls_max,
            server_settings=MappingProxyType(self._settings(user, database)),
            channel_binding=self.choice("channel_binding", ("disable", "prefer", "require"), binding),
            require_auth=_parse_require_auth(self.get("require_auth") or profile.require_auth),
            allow_cleartext_password=profile.allow_cleartext_password if cleartext is None else bool(cleartext),
            target_session_attrs=attrs,
            load_balance_hosts=self.choice("load_balance_hosts", ("disable", "random"), "disable"),
            connect_timeout=self._connect_timeout(),
            keepalives=self.integer("keepalives", int(profile.keepalives)) != 0,
            keepalives_idle=max(0, self.integer("keepalives_idle", profile.keepalives_idle)),
            keepalives_interval=max(0, self.integer("keepalives_interval", profile.keepalives_interval)),
            keepalives_count=max(0, self.integer("keepalives_count", profile.keepalives_count)),
            tcp_user_timeout=max(0, self.integer("tcp_user_timeout", profile.tcp_user_timeout)),
            min_protocol_version=protocol_min,
            max_protocol_version=protocol_max,
            requirepeer=self.get("requirepeer"),
            krbsrvname=self.get("krbsrvname"),
            gsslib=gsslib,
            gssencmode=gssencmode,
            gssdelegation=self.choice("gssdelegation", ("0", "1"), "0") == "1",
            replication=self.get("replication"),
            scram_client_key=self._scram_key("scram_client_key"),
            scram_server_key=self._scram_key("scram_server_key"),
            oauth_issuer=self.get("oauth_issuer"),
            oauth_client_id=self.get("oauth_client_id"),
            oauth_client_secret=self.secret("oauth_client_secret"),
            oauth_scope=self.get("oauth_scope"),
        )

    def _targets(self) -> tuple[Target, ...]:
        hosts = _split_list(self.get("host"))
        addresses = _split_list(self.get("hostaddr"))
        port_text = self.get("port")
        if self.keywords.get("port") == "0":  # asyncpg takes 0 for "not given"
            port_text = self.variables.get("port")
        if hosts and addresses and len(hosts) != len(addresses):
            raise ClientConfigurationError(f"could not match {len(addresses)} hostaddr values to {len(hosts)} hosts")
        if not hosts and addresses:
            hosts = [""] * len(addresses)
        elif not any(hosts):
            directories = () if sys.platform == "win32" else SOCKET_DIRECTORIES
            if len(hosts) <= 1:
                hosts = [*directories, "localhost"]
        ports = [self._port(item) for item in _split_list(port_text) or [""]]
        if len(ports) == 1:
            ports *= len(hosts)
        if len(ports) != len(hosts):
            raise ClientConfigurationError(f"could not match {len(ports)} port numbers to {len(hosts)} hosts")
        password = self._password()
        targets = []
        for host, address, port in zip(hosts, addresses or [""] * len(hosts), ports, strict=True):
            if not host and not address:
                host = "localhost"
            is_unix = not address and host.startswith(("/", "@"))
            targets.append(Target(host or address, address or None, port, is_unix, password))
        return tuple(targets)

    def _port(self, text: str) -> int:
        text = text.strip()
        if not text:
            own = self.variables.get("port", "")
            text = own if own and "," not in own else "5432"
        if not _INTEGER.match(text) or not 1 <= int(text) <= 65535:
            # The text may be part of a password that holds an unescaped "/" or "?": it is not shown.
            raise ClientConfigurationError("invalid port number: expected an integer from 1 to 65535")
        return int(text)

    def _password(self) -> Password:
        if self.password is not None:
            return self.password
        for source in (self.keywords, self.string.values, self.service, self.variables):
            value = source.get("password")
            if value is not None and (value or source is self.keywords):
                return Secret(value)
        return None

    def _ssl(self, has_tcp: bool) -> tuple[str, ssl_module.SSLContext | None, str | None]:
        """Return sslmode, the caller's context if any, and sslrootcert."""
        rootcert = self.get("sslrootcert")
        given = self.options["ssl"]
        if isinstance(given, ssl_module.SSLContext):
            return "require", given, rootcert
        if given is True:
            return "verify-full", ssl_module.create_default_context(), rootcert
        if given is False:
            return "disable", None, rootcert
        if given is not None:
            self.keywords["sslmode"] = _plain("sslmode", given) or "?"
        mode = self.get("sslmode")
        if mode is None:
            # Sockets of this machine do without TLS.
            mode = "verify-full" if rootcert == "system" else self.profile.sslmode if has_tcp else "disable"
        if mode not in SSLMODES:
            raise ClientConfigurationError(f"`sslmode` parameter must be one of: {', '.join(SSLMODES)}")
        if rootcert == "system" and has_tcp and mode != "verify-full":
            raise ClientConfigurationError(f"sslrootcert=system requires sslmode=verify-full, not {mode}")
        return mode, None, rootcert

    def _tls_versions(self) -> tuple[ssl_module.TLSVersion | None, ssl_module.TLSVersion | None]:
        def version(name: str, default: ssl_module.TLSVersion | None) -> ssl_module.TLSVersion | None:
            value = self.get(name)
            if value is None:
                return default
            for item in ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"):
                if item.lower() == value.lower():
                    return ssl_module.TLSVersion[item.replace(".", "_")]
            raise ClientConfigurationError(f"No such TLS version: {value}")

        lowest = version("ssl_min_protocol_version", ssl_module.TLSVersion.TLSv1_2)
        highest = version("ssl_max_protocol_version", None)
        if lowest is not None and highest is not None and lowest > highest:
            raise ClientConfigurationError("ssl_min_protocol_version is above ssl_max_protocol_version")
        return lowest, highest

    def _protocol_versions(self) -> tuple[tuple[int, int], tuple[int, int]]:
        names = tuple(PROTOCOL_VERSIONS)
        lowest, highest = self.profile.min_protocol_version, self.profile.max_protocol_version
        if self.get("min_protocol_version") is not None:
            lowest = PROTOCOL_VERSIONS[self.choice("min_protocol_version", names, "3.0")]
            highest = max(lowest, highest)
        if self.get("max_protocol_version") is not None:
            highest = PROTOCOL_VERSIONS[self.choice("max_protocol_version", names, "3.0")]
        if lowest > highest:
            raise ClientConfigurationError("min_protocol_version is above max_protocol_version")
        return lowest, highest

    def _connect_timeout(self) -> float | None:
        value = self.get("connect_timeout")
        if value is None:
            return None
        try:
            seconds = float(value)
        except ValueError:
            seconds = float("nan")
        if not abs(seconds) < 2**31:
            raise ClientConfigurationError(f"connect_timeout is expected to be a number of seconds, got {value!r}")
        return seconds if seconds > 0 else None

    def _scram_key(self, name: str) -> Secret | None:
        value = self.get(name)
        if value is None:
            return None
        try:
            size = len(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            size = -1
        if size != 32:
            raise ClientConfigurationError(f"{name} is expected to be the base64 form of 32 bytes")
        return Secret(value)

    def _settings(self, user: str, database: str) -> dict[str, str]:
        given = self.options["server_settings"]
        if given is not None and not (
            isinstance(given, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in given.items())
        ):
            raise ClientConfigurationError("server_settings is expected to be None or a Dict[str, str]")
        settings = {"client_encoding": "UTF8"}
        for variable, name in SETTING_VARIABLES:
            value = self.environ.get(variable)
            if value and value.lower() != "default":
                _check_text(variable, value)
                _override(settings, name, value)
        if self.profile.idle_in_transaction_session_timeout is not None:
            limit = round(self.profile.idle_in_transaction_session_timeout * 1000)
            settings["idle_in_transaction_session_timeout"] = str(limit)
        encoding = self.get("client_encoding")
        if encoding is not None and not _is_utf8(encoding):
            if python_encoding(encoding) == "ascii":
                raise ClientConfigurationError(f"client_encoding: Python has no codec for {encoding!r}, use UTF8")
            settings["client_encoding"] = encoding
        named = {
            "application_name": self.get("application_name") or self.get("fallback_application_name"),
            "options": self.get("options"),
            "replication": self.get("replication"),
        }
        # The keyword server_settings goes before the string, the service and the environment, but after a keyword.
        own = ((name, self.keywords[name]) for name in named if self.keywords.get(name))
        for name, value in (*named.items(), *self.string.settings.items(), *(given or {}).items(), *own):
            if not name:
                raise ClientConfigurationError("server_settings: a name may not be empty")
            if value is not None:
                _override(settings, name, value)
        allowed = self.profile.allowed_server_settings
        for name in settings:
            if name.lower() in ("user", "database") or name.startswith("_pq_."):
                raise ClientConfigurationError(f"server_settings may not hold {name!r}")
            if allowed is not None and name.lower() not in allowed:
                raise ClientConfigurationError(f"the server setting {name!r} is not in the profile's list")
        size = 9 + sum(len(text.encode()) + 1 for item in (*settings.items(), ("user", user)) for text in item)
        size += len("database") + len(database.encode()) + 2
        if size > self.profile.max_startup_packet:
            raise ClientConfigurationError(
                f"user, database and server_settings take {size} bytes; at most {self.profile.max_startup_packet} fit"
            )
        return settings


def _override(settings: dict[str, str], name: str, value: str) -> None:
    # Names of settings do not depend on case: a later one takes the place of an earlier.
    for other in [key for key in settings if key.lower() == name.lower()]:
        del settings[other]
    settings[name] = value


def _is_utf8(encoding: str) -> bool:
    return re.sub("[^a-z0-9]", "", encoding.lower()) in ("utf8", "unicode", "auto")


def _split_list(text: str | None) -> list[str]:
    return [item.strip() for item in text.split(",")] if text else []


def _system_user() -> str:
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):
        user = ""
    if not user:
        raise ClientConfigurationError("could not determine user name to connect with")
    return user


def _parse_require_auth(text: str | None) -> RequireAuth | None:
    if text is None:
        return None
    methods: set[str] = set()
    signs = set()
    for item in text.split(","):
        name = item.strip()
        signs.add(name.startswith("!"))
        name = name.removeprefix("!")
        if name not in AUTH_METHODS:
            raise ClientConfigurationError(f"invalid require_auth value: {name!r}; known: {', '.join(AUTH_METHODS)}")
        if name in methods:
            raise ClientConfigurationError(f"require_auth method {name!r} is given twice")
        methods.add(name)
    if len(signs) > 1:
        raise ClientConfigurationError("require_auth cannot mix methods that are required with some that are refused")
    return RequireAuth(frozenset(methods), signs == {True})
