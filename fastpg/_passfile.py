# SPDX-License-Identifier: MIT
"""The password file: ``hostname:port:database:username:password`` lines, first match wins."""

from __future__ import annotations

import os
import stat
import sys
import warnings

# Who looks for the file is who opens it, where that can be said.
_EFFECTIVE = {"effective_ids": True} if os.access in os.supports_effective_ids else {}

__all__ = ("default_passfile", "find_password", "read_passfile")


def default_passfile(home: str) -> str | None:
    """Return where the password file is when nobody says: ``~/.pgpass``, on Windows below %APPDATA%."""
    if sys.platform == "win32":
        appdata = os.environ.get("APPDATA")
        return os.path.join(appdata, "postgresql", "pgpass.conf") if appdata else None
    return os.path.join(home, ".pgpass") if home else None


def read_passfile(path: str) -> list[list[str]]:
    """Return the lines of the file at `path` as lists of five decoded fields; a field that is a bare ``*`` is kept.

    A file that is missing or unreadable gives no lines. One that is not a plain file, or that group or others may
    access, is ignored with a warning, as libpq does.
    """
    if not os.access(path, os.F_OK, **_EFFECTIVE):
        return []  # most often; quicker than an open() that fails
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                warnings.warn(f"password file {path!r} is not a plain file and is ignored", stacklevel=2)
                return []
            if sys.platform != "win32" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                warnings.warn(
                    f"password file {path!r} can be accessed by its group or by others and is ignored; "
                    "permissions should be u=rw (0600) or less",
                    stacklevel=2,
                )
                return []
            data = file.read()
    except IsADirectoryError:
        warnings.warn(f"password file {path!r} is not a plain file and is ignored", stacklevel=2)
        return []
    except OSError:
        return []
    lines = []
    for raw in data.split(b"\n"):
        line = raw.rstrip(b"\r")
        if not line or line.startswith(b"#"):
            continue
        fields = _split(line.decode("utf-8", "surrogateescape"))
        if fields is not None:
            lines.append(fields)
    return lines


def _open_nonblocking(path: str, flags: int) -> int:
    # A FIFO in place of the file must not block the caller.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _split(line: str) -> list[str] | None:
    """Split at unescaped colons. The marker NUL keeps an unescaped ``*`` apart from ``\\*``: no field may hold it."""
    fields: list[str] = []
    field: list[str] = []
    pos = 0
    while pos < len(line) and len(fields) < 5:
        char = line[pos]
        if char == ":":
            fields.append("".join(field))
            field = []
        elif char == "\\" and pos + 1 < len(line):
            pos += 1
            field.append(line[pos])
            if line[pos] == "*" and len(fields) < 4:
                field.append("\0")  # `\*` is a star, not a wildcard
        else:
            field.append(char)
        pos += 1
    if len(fields) < 5:
        fields.append("".join(field))
    return fields if len(fields) == 5 else None


def find_password(lines: list[list[str]], hosts: tuple[str, ...], port: int, database: str, user: str) -> str | None:
    """Return the password of the first line that fits, or None.

    `hosts` are the names under which the host may stand (a socket directory is also known as ``localhost``).
    """
    for host, line_port, line_database, line_user, password in lines:
        if host != "*" and host.replace("*\0", "*") not in hosts:
            continue
        wanted = ((line_port, str(port)), (line_database, database), (line_user, user))
        if all(given == "*" or given.replace("*\0", "*") == value for given, value in wanted):
            return password
    return None
