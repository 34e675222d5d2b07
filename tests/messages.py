# SPDX-License-Identifier: MIT
"""Backend messages as bytes, for tests that play the server."""

from __future__ import annotations

import struct


def message(tag: str, body: bytes = b"") -> bytes:
    """Any message: type byte, length, body."""
    return tag.encode() + struct.pack("!i", len(body) + 4) + body


def ready(status: str = "I") -> bytes:
    return message("Z", status.encode())


def logged_in(version: str = "15.1") -> bytes:
    """All that follows the startup packet when no password is asked for."""
    return (message("R", bytes(4)) + parameter_status("server_version", version)
            + message("K", struct.pack("!ii", 1, 2)) + ready())  # fmt: skip


def authentication(code: int, data: bytes = b"") -> bytes:
    return message("R", struct.pack("!i", code) + data)


def command_complete(tag: str) -> bytes:
    return message("C", tag.encode() + b"\0")


def parse_complete() -> bytes:
    return message("1")


def bind_complete() -> bytes:
    return message("2")


def close_complete() -> bytes:
    return message("3")


def no_data() -> bytes:
    return message("n")


def parameter_description(*oids: int) -> bytes:
    return message("t", struct.pack("!H", len(oids)) + b"".join(struct.pack("!I", oid) for oid in oids))


def row_description(*columns: tuple[str, int]) -> bytes:
    """Columns as (name, type OID)."""
    body = struct.pack("!H", len(columns))
    for name, oid in columns:
        body += name.encode() + b"\0" + struct.pack("!IhIhih", 0, 0, oid, -1, -1, 0)
    return message("T", body)


def data_row(*values: bytes | None) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return message("D", body)


def error(code: str = "42601", text: str = "wrong", severity: str = "ERROR", **fields: str) -> bytes:
    """ErrorResponse; fields by their one-letter codes."""
    all_fields = {"S": severity, "V": severity, "C": code, "M": text, **fields}
    return message("E", b"".join(k.encode() + v.encode() + b"\0" for k, v in all_fields.items()) + b"\0")


def notice(text: str = "hello") -> bytes:
    return message("N", b"SNOTICE\0VNOTICE\0C00000\0M" + text.encode() + b"\0\0")


def parameter_status(name: str = "application_name", value: str = "x") -> bytes:
    return message("S", name.encode() + b"\0" + value.encode() + b"\0")


def notification(pid: int = 1, channel: str = "c", payload: str = "p") -> bytes:
    return message("A", struct.pack("!i", pid) + channel.encode() + b"\0" + payload.encode() + b"\0")


def copy_in_response(columns: int = 0) -> bytes:
    return message("G", struct.pack("!bh", 0, columns) + bytes(2 * columns))


def copy_out_response() -> bytes:
    return message("H", b"\0\0\0")


def copy_data(data: bytes) -> bytes:
    return message("d", data)


def copy_done() -> bytes:
    return message("c")
