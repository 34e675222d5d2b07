# SPDX-License-Identifier: MIT
"""The text forms of the built-in types, to and from their binary forms.

For containers whose other members have no binary form: the server sends such a container as text, and what stands in
it is turned into the binary form that the type's own codec reads. So a value is the same by either way. Dates and
intervals are read as DateStyle ISO and IntervalStyle postgres write them, which are the server's defaults; they are
written so that every style reads them alike. A slow path, plain Python.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_interface, ip_network
from typing import NoReturn

from fastpg.codecs.codec import decode, encode

__all__ = ["PARSE", "RENDER"]

_EPOCH = 2451545  # the Julian day of 2000-01-01
_DAY = 86_400_000_000
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|Infinity|NaN)")
_DATE = r"(\d{4,})-(\d\d)-(\d\d)"
_TIME = r"(\d+):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?"
_ZONE = r"([-+])(\d\d)(?::?(\d\d))?(?::?(\d\d))?"
_RE_DATE = re.compile(rf"{_DATE}( BC)?")
_RE_TIME = re.compile(_TIME)
_RE_TIMETZ = re.compile(_TIME + _ZONE)
_RE_TIMESTAMP = re.compile(rf"{_DATE} {_TIME}(?:{_ZONE})?( BC)?")
_RE_INTERVAL = re.compile(
    rf"(?:([-+]?\d+) years? ?)?(?:([-+]?\d+) mons? ?)?(?:([-+]?\d+) days? ?)?(?:([-+])?{_TIME})?"
)


def _fail(what: str, text: str) -> NoReturn:
    raise ValueError(f"{text!r} is no {what} as DateStyle ISO and IntervalStyle postgres write it")


# ----------------------------------------------------------------- dates and times


def _days(year: str, month: str, day: str, bc: str | None) -> int:
    # From 2000-01-01, in the proleptic Gregorian calendar; 1 BC is year 0.
    y, m = 1 - int(year) if bc else int(year), int(month)
    y, m = (y, m - 3) if m > 2 else (y - 1, m + 9)
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + int(day) - 1 - 730425


def _microseconds(hours: str, minutes: str, seconds: str | None, fraction: str | None) -> int:
    whole = (int(hours) * 60 + int(minutes)) * 60 + int(seconds or 0)
    return whole * 1_000_000 + int((fraction or "").ljust(6, "0"))


def _east(sign: str, hours: str, minutes: str | None, seconds: str | None) -> int:
    total = int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return -total if sign == "-" else total


def _clock(us: int) -> str:
    seconds, fraction = divmod(us, 1_000_000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}"


def _parse_date(text: str) -> bytes:
    if text in ("infinity", "-infinity"):
        return struct.pack("!i", 2**31 - 1 if text == "infinity" else -(2**31))
    found = _RE_DATE.fullmatch(text) or _fail("date", text)
    return struct.pack("!i", _days(*found.group(1, 2, 3, 4)))


def _render_date(payload: bytes) -> str:
    (days,) = struct.unpack("!i", payload)
    if days in (2**31 - 1, -(2**31)):
        return "infinity" if days > 0 else "-infinity"
    return f"J{days + _EPOCH}"


def _parse_time(text: str) -> bytes:
    found = _RE_TIME.fullmatch(text) or _fail("time", text)
    return struct.pack("!q", _microseconds(*found.group(1, 2, 3, 4)))


def _parse_timetz(text: str) -> bytes:
    found = _RE_TIMETZ.fullmatch(text) or _fail("timetz", text)
    return struct.pack("!qi", _microseconds(*found.group(1, 2, 3, 4)), -_east(*found.group(5, 6, 7, 8)))


def _render_timetz(payload: bytes) -> str:
    us, west = struct.unpack("!qi", payload)
    seconds = abs(west)
    sign = "+" if west <= 0 else "-"
    return f"{_clock(us)}{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _parse_timestamp(text: str) -> bytes:
    if text in ("infinity", "-infinity"):
        return struct.pack("!q", 2**63 - 1 if text == "infinity" else -(2**63))
    found = _RE_TIMESTAMP.fullmatch(text) or _fail("timestamp", text)
    us = _days(*found.group(1, 2, 3, 12)) * _DAY + _microseconds(*found.group(4, 5, 6, 7))
    if found[8]:
        us -= _east(*found.group(8, 9, 10, 11)) * 1_000_000
    return struct.pack("!q", us)


def _render_timestamp(payload: bytes) -> str:
    (us,) = struct.unpack("!q", payload)
    if us in (2**63 - 1, -(2**63)):
        return "infinity" if us > 0 else "-infinity"
    days, rest = divmod(us, _DAY)
    return f"J{days + _EPOCH} {_clock(rest)}"


def _parse_interval(text: str) -> bytes:
    if text in ("infinity", "-infinity"):
        extreme = (2**63 - 1, 2**31 - 1, 2**31 - 1) if text == "infinity" else (-(2**63), -(2**31), -(2**31))
        return struct.pack("!qii", *extreme)
    found = _RE_INTERVAL.fullmatch(text)
    if not text or found is None:
        _fail("interval", text)
    us = _microseconds(*found.group(5, 6, 7, 8)) if found[5] else 0
    months = int(found[1] or 0) * 12 + int(found[2] or 0)
    return struct.pack("!qii", -us if found[4] == "-" else us, int(found[3] or 0), months)


def _render_interval(payload: bytes) -> str:
    us, days, months = struct.unpack("!qii", payload)
    if days == months and abs(days) >= 2**31 - 1 and abs(us) >= 2**63 - 1:
        return "infinity" if us > 0 else "-infinity"
    return f"{months} mons {days} days {'-' if us < 0 else ''}{_clock(abs(us))}"


# ------------------------------------------------------------------------- shapes


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]


def _parse_floats(text: str) -> bytes:
    numbers = _numbers(text)
    return struct.pack(f"!{len(numbers)}d", *numbers)


def _parse_path(text: str) -> bytes:
    numbers = _numbers(text)
    return struct.pack(f"!?i{len(numbers)}d", not text.startswith("["), len(numbers) // 2, *numbers)


def _parse_polygon(text: str) -> bytes:
    numbers = _numbers(text)
    return struct.pack(f"!i{len(numbers)}d", len(numbers) // 2, *numbers)


def _floats(payload: bytes) -> tuple[float, ...]:
    return struct.unpack(f"!{len(payload) // 8}d", payload)


def _join(numbers: tuple[float, ...]) -> str:
    return ",".join(map(repr, numbers))


def _points(payload: bytes) -> str:
    numbers = _floats(payload)
    return ",".join(f"({x!r},{y!r})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))


# ------------------------------------------------------------------------- others


def _parse_bytea(text: str) -> bytes:
    if text.startswith("\\x"):
        return bytes.fromhex(text[2:])
    data = re.sub(rb"\\([0-7]{3}|\\)", _unescape, text.encode())
    return data


def _unescape(found: re.Match[bytes]) -> bytes:
    return b"\\" if found[1] == b"\\" else bytes([int(found[1], 8)])


def _parse_char(text: str) -> bytes:
    if re.fullmatch(r"\\[0-7]{3}", text):
        return bytes([int(text[1:], 8)])
    return text.encode()[:1] or b"\0"


def _render_char(payload: bytes) -> str:
    if payload == b"\0":
        return ""
    # Octal is read from PostgreSQL 16 on; an older server reads the byte of a plain character only.
    return payload.decode() if payload < b"\x80" else f"\\{payload[0]:03o}"


def _parse_bits(text: str) -> bytes:
    size = (len(text) + 7) // 8
    return struct.pack("!i", len(text)) + int(text.ljust(size * 8, "0") or "0", 2).to_bytes(size, "big")


def _render_bits(payload: bytes) -> str:
    (length,) = struct.unpack_from("!i", payload)
    return "".join(f"{byte:08b}" for byte in payload[4:])[:length]


def _parse_snapshot(text: str) -> bytes:
    low, high, running = text.split(":")
    items = [int(item) for item in running.split(",") if item]
    return struct.pack(f"!iQQ{len(items)}Q", len(items), int(low), int(high), *items)


def _render_snapshot(payload: bytes) -> str:
    low, high, *items = struct.unpack(f"!{len(payload[4:]) // 8}Q", payload[4:])
    return f"{low}:{high}:{','.join(map(str, items))}"


def _parse_lsn(text: str) -> bytes:
    high, low = text.split("/")
    return struct.pack("!II", int(high, 16), int(low, 16))


def _number(form: str, kind: type) -> tuple[Callable[[str], bytes], Callable[[bytes], str]]:
    return lambda text: struct.pack(form, kind(text)), lambda payload: repr(struct.unpack(form, payload)[0])


def _address(oid: int, kind: Callable[[str], object]) -> tuple[Callable[[str], bytes], Callable[[bytes], str]]:
    return lambda text: encode(oid, kind(text)), lambda payload: str(decode(oid, payload))


def _vector(oid: int) -> tuple[Callable[[str], bytes], Callable[[bytes], str]]:
    # int2vector and oidvector: numbers with spaces between them.
    return lambda text: encode(oid, list(map(int, text.split()))), lambda payload: " ".join(
        map(str, decode(oid, payload))
    )


def _tid(payload: bytes) -> str:
    return "({},{})".format(*struct.unpack("!IH", payload))


_TABLE: dict[int, tuple[Callable[[str], bytes], Callable[[bytes], str]]] = {
    16: (lambda text: b"\1" if text in ("t", "true") else b"\0", lambda payload: "t" if payload != b"\0" else "f"),
    17: (_parse_bytea, lambda payload: "\\x" + payload.hex()),
    18: (_parse_char, _render_char),
    20: _number("!q", int),
    21: _number("!h", int),
    22: _vector(22),
    23: _number("!i", int),
    26: _number("!I", int),
    27: (lambda text: struct.pack("!IH", *map(int, text.strip("()").split(","))), _tid),
    30: _vector(30),
    28: _number("!I", int),
    29: _number("!I", int),
    5069: _number("!Q", int),
    6437: _number("!Q", int),
    3220: (_parse_lsn, lambda payload: "{:X}/{:X}".format(*struct.unpack("!II", payload))),
    700: _number("!f", float),
    701: _number("!d", float),
    1700: (lambda text: encode(1700, Decimal(text)), lambda payload: str(decode(1700, payload))),
    2950: (lambda text: bytes.fromhex(text.replace("-", "")), lambda payload: payload.hex()),
    3802: (lambda text: b"\1" + text.encode(), lambda payload: payload[1:].decode()),
    4072: (lambda text: b"\1" + text.encode(), lambda payload: payload[1:].decode()),
    1082: (_parse_date, _render_date),
    1083: (_parse_time, lambda payload: _clock(struct.unpack("!q", payload)[0])),
    1266: (_parse_timetz, _render_timetz),
    1114: (_parse_timestamp, _render_timestamp),
    1184: (_parse_timestamp, lambda payload: _zoned(_render_timestamp(payload))),
    1186: (_parse_interval, _render_interval),
    869: _address(869, ip_interface),
    650: _address(650, ip_network),
    1560: (_parse_bits, _render_bits),
    1562: (_parse_bits, _render_bits),
    600: (_parse_floats, _points),
    601: (_parse_floats, lambda payload: f"[{_points(payload)}]"),
    602: (_parse_path, lambda payload: ("({})" if payload[0] else "[{}]").format(_points(payload[5:]))),
    603: (_parse_floats, _points),
    604: (_parse_polygon, lambda payload: f"({_points(payload[4:])})"),
    628: (_parse_floats, lambda payload: f"{{{_join(_floats(payload))}}}"),
    718: (_parse_floats, lambda payload: f"<({_join(_floats(payload)[:2])}),{_floats(payload)[2]!r}>"),
    2278: (lambda text: b"", lambda payload: ""),
    2970: (_parse_snapshot, _render_snapshot),
    5038: (_parse_snapshot, _render_snapshot),
}


def _zoned(text: str) -> str:
    return text if text.endswith("infinity") else f"{text}+00"


PARSE: dict[int, Callable[[str], bytes]] = {oid: functions[0] for oid, functions in _TABLE.items()}
"""OID -> text form to binary form. Raises ValueError."""

RENDER: dict[int, Callable[[bytes], str]] = {oid: functions[1] for oid, functions in _TABLE.items()}
"""OID -> binary form to a text that the server reads as the same value."""
