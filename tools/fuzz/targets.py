# SPDX-License-Identifier: MIT
"""What is fuzzed: every registered codec, and codecs of each kind that a registry derives; samples of their values.

Nothing here lists types: a codec that is registered tomorrow is a target tomorrow, with samples of whatever values of
the pool it takes.
"""

from __future__ import annotations

import datetime
import ipaddress
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import fastpg.codecs  # noqa: F401  (registers everything)
from fastpg import types
from fastpg._temporal import DATE_INFINITY, TIMESTAMP_INFINITY, Interval
from fastpg.codecs.codec import builtin_handle, registered
from fastpg.codecs.knowledge import TypeInfo, TypeKnowledge
from fastpg.codecs.options import CodecOptions
from fastpg.codecs.registry import Registry
from tools.fuzz import driver

UTC = datetime.timezone.utc
#: Values of every type there is; a codec's samples are those it takes.
POOL: tuple[Any, ...] = (
    True, False, 0, 1, -1, 255, 32767, -32768, 70000, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63), 2**64 - 1,
    0.0, -0.0, 1.5, 1e300, float("nan"), float("inf"), "", "a", "abc", "grün €\U0001f600", '{"a": [1, null]}',
    "x" * 300, "1", "12.5", "2024-02-29", "10.0.0.1/8", "a=>b", "{1,2}", "(1,2)", "[1,2)", "{[1,2),[5,6)}", "\\\"',{}",
    b"", b"x", b"ab\0\xff", bytes(range(64)), Decimal(0), Decimal("1.50"), Decimal("-12345678901234567890.123456789"),
    Decimal("1E+300"), Decimal("1E-300"), Decimal("NaN"), Decimal("Infinity"), Decimal("100000000"),
    datetime.date(2024, 2, 29), datetime.date.min, DATE_INFINITY, datetime.time(1, 2, 3, 4),
    datetime.time(23, 59, tzinfo=datetime.timezone(datetime.timedelta(hours=5))), datetime.datetime(2024, 2, 29, 12, 1),
    datetime.datetime(1, 1, 1, tzinfo=UTC), datetime.datetime(9999, 12, 31, 23, tzinfo=UTC), TIMESTAMP_INFINITY,
    datetime.timedelta(days=3, seconds=4, microseconds=5), -datetime.timedelta(days=400), Interval.make(14, 3, 5),
    uuid.UUID(int=2**127 + 5), ipaddress.ip_address("10.1.2.3"), ipaddress.ip_address("::1"),
    # Small networks: a codec may take them for sequences.
    ipaddress.ip_interface("10.1.2.3/8"), ipaddress.ip_network("10.0.0.0/30"), ipaddress.ip_network("fe80::/126"),
    types.BitString(""), types.BitString("101"), types.BitString("1" * 33), types.Point(1.0, 2.0),
    types.Line(1, 2, 3), types.LineSegment((1, 2), (3, 4)), types.Box((3, 4), (1, 2)),
    types.Path((1, 2), (3, 4), is_closed=True), types.Path((1, 2), is_closed=False), types.Polygon((1, 2), (3, 4)),
    types.Circle((1, 2), 3), (1, 2), (1, 2, ()), (5, 9, (6, 7, 8)), {"a": "b", "c": None}, {},
)  # fmt: skip

FIRST = 90000
ENUM, DOMAIN, COMPOSITE, DEEP, ENUMS, COMPOSITES, RANGE, MULTIRANGE, SCALAR, RANGES = range(FIRST, FIRST + 10)
BINARY_ENUM, WORDY, WORDIES, WORDY_RANGE, WORDY_MULTIRANGE = range(FIRST + 10, FIRST + 15)
INTROSPECTED = (
    TypeInfo(ENUM, "mood", "public", "enum"),
    TypeInfo(DOMAIN, "positive", "public", "domain", element=23),
    TypeInfo(COMPOSITE, "pair", "public", "composite", attributes=(("a", 23), ("b", 25), ("c", 1007), ("d", 1700))),
    TypeInfo(DEEP, "deep", "public", "composite",
             attributes=(("p", COMPOSITE), ("ps", COMPOSITES), ("r", RANGE), ("any", 2249))),
    TypeInfo(ENUMS, "_mood", "public", "array", element=ENUM),
    TypeInfo(COMPOSITES, "_pair", "public", "array", element=COMPOSITE),
    TypeInfo(RANGE, "floatrange", "public", "range", element=701),
    TypeInfo(MULTIRANGE, "floatmultirange", "public", "multirange", element=RANGE),
    TypeInfo(SCALAR, "box3d", "public", "scalar"),
    TypeInfo(RANGES, "_floatrange", "public", "array", element=RANGE),
    # Types that travel as text, alone or because of what is in them.
    TypeInfo(BINARY_ENUM, "mood2", "public", "enum", send="enum_send"),
    TypeInfo(WORDY, "wordy", "public", "composite",
             attributes=(("a", 23), ("b", SCALAR), ("c", 1007), ("d", COMPOSITE), ("e", 1186), ("f", 17))),
    TypeInfo(WORDIES, "_wordy", "public", "array", element=WORDY),
    TypeInfo(WORDY_RANGE, "wordyrange", "public", "range", element=SCALAR),
    TypeInfo(WORDY_MULTIRANGE, "wordymultirange", "public", "multirange", element=WORDY_RANGE),
)  # fmt: skip


@dataclass(eq=False)
class Target:
    """A codec. names: the types whose codec it is. keep: what must live as long as it does."""

    name: str
    handle: Any
    keep: Any = None
    names: list[str] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)

    @property
    def salt(self) -> int:
        """A number of its own, the same in every run."""
        return zlib.crc32(self.name.encode())


def values_for(handle: Any, depth: int = 0) -> list[Any]:
    """Values that a codec takes."""
    element = driver.element_of(handle)
    taken = [value for value in POOL if taking(handle, value) is not None]
    if element is None or depth > 3:
        return taken
    inner = values_for(element, depth + 1)[:8]
    made: list[Any] = [[], [None], inner, inner[:1], [inner[:2], inner[:2]], [[inner[:1]]], [*inner[:2], None]]
    made += [types.Range(empty=True), types.Range(), *(types.Range(value, None) for value in inner)]
    made += [types.Range(value, value, upper_inc=True) for value in inner]
    return taken + [value for value in made if taking(handle, value) is not None]


def taking(handle: Any, value: Any) -> bytes | None:
    """The payload, or None when the codec refuses the value."""
    try:
        return driver.encode_once(handle, value)
    except Exception:
        return None


def record(*members: tuple[int, bytes | None]) -> bytes:
    """The binary form of a record of (type OID, payload or None)."""
    body = struct.pack("!i", len(members))
    for oid, payload in members:
        body += struct.pack("!I", oid) + (struct.pack("!i", -1) if payload is None else struct.pack("!i", len(payload)))
        body += payload or b""
    return body


def array(oid: int, *elements: bytes) -> bytes:
    """The binary form of an array of one dimension."""
    body = struct.pack("!iiIii", 1, 0, oid, len(elements), 1)
    return body + b"".join(struct.pack("!i", len(element)) + element for element in elements)


def records() -> list[bytes]:
    """Samples of what cannot be encoded: anonymous records."""
    flat = record((23, b"\0\0\0\7"), (25, b"text"), (16, None), (1700, b"\0\1\0\0\0\0\0\2\0\7"))
    nested = flat
    for _ in range(40):
        nested = record((2249, nested))
    return [flat, nested, record(), record((1007, array(23, b"\0\0\0\1", b"\0\0\0\2")), (2249, flat)),
            record((2287, array(2249, flat, flat))), record((90002, None), (424242, None))]  # fmt: skip


def composites(registry: Registry) -> dict[str, list[Any]]:
    """Values of the introspected composites."""
    pair = (1, "x", [1, None, 3], Decimal("1.5"))
    wordy = (1, "a \"b\" (c),", [1, None], pair, datetime.timedelta(days=1), b"\0\xff")
    return {"pair": [pair, (None,) * 4], "deep": [(pair, [pair, pair], types.Range(1.0, 2.0), None), (None,) * 4],
            "wordy": [wordy, (None,) * 6], "_wordy": [[wordy, None], [[wordy], [wordy]]],
            "_pair": [[pair], [pair, None, pair], [[pair], [pair]]]}  # fmt: skip


def derived() -> Iterator[Target]:
    """What registries make: of introspected types, in other encodings, of a user's functions."""
    knowledge = TypeKnowledge()
    knowledge.add(INTROSPECTED)
    plain = Registry(knowledge)
    named = Registry(knowledge, lambda names: lambda values: dict(zip(names, values, strict=True)))
    latin = Registry(knowledge)
    latin.set_encoding("LATIN1")
    japanese = Registry(knowledge)
    japanese.set_encoding("EUC_JP")
    for label, registry, oids in (
        ("", plain, [info.oid for info in INTROSPECTED] + [2249, 2287]),
        ("named ", named, [COMPOSITE, DEEP, COMPOSITES, 2249]),
        ("latin1 ", latin, [25, 1009, 114, 199, 3802, ENUM, ENUMS, COMPOSITE, WORDY]),
        ("euc_jp ", japanese, [25, 1009, 829, ENUMS]),
    ):
        for oid in oids:
            handle = registry.lookup(oid)
            assert handle is not None, oid
            target = Target(f"{label}{handle.name} (derived)", handle, registry)
            for value in composites(registry).get(handle.name, []):
                payload = taking(handle, value)
                if payload is not None:
                    target.samples.append(payload)
            yield target
    yield from by_options(knowledge)
    unknown = Registry()
    yield Target("unknown type (derived)", unknown.lookup_or_text(FIRST + 999), unknown)
    yield from of_users(knowledge)


def by_options(knowledge: TypeKnowledge) -> Iterator[Target]:
    """Codecs that options of connect() ask for, alone and in containers."""
    everything: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
        ("json=True ", {"json": True}, (114, 3802, 3807)),
        ("json=orjson ", {"json": "orjson"}, (114, 3802, 199)),
        ("json=msgspec ", {"json": "msgspec"}, (114, 3802)),
        ("strict ", {"strict_numbers": True}, (20, 21, 23, 26, 1007, 3904)),
        ("plain ", {"plain_uuid": True}, (2950, 2951)),
        ("bounded ", {"array_bounds": True}, (1007, 1009, 791, 2277, COMPOSITES, WORDIES)),
    ]
    for mode in ("error", "text", "clamp"):
        options = {"out_of_range": mode, "max_is_infinity": True}
        everything.append((f"{mode} ", options, (1082, 1083, 1266, 1114, 1184, 1186, 1182, 3912)))
    for label, options, oids in everything:
        registry = Registry(knowledge, None, CodecOptions(**options))
        for oid in oids:
            handle = registry.lookup(oid)
            assert handle is not None, oid
            target = Target(f"{label}{handle.name} (derived)", handle, registry)
            if "json" in label:
                version = b"\1" if handle.name == "jsonb" else b""
                target.samples += [version + text for text in (b'{"a": [1, null, 2.5e3]}', b'"\\u00e9"', b"[]", b"x")]
            yield target


def of_users(knowledge: TypeKnowledge) -> Iterator[Target]:
    """Codecs that users set."""
    for oid, form in ((23, "binary"), (25, "text"), (1082, "tuple"), (1186, "tuple"), (COMPOSITE, "tuple")):
        registry = Registry(knowledge)
        registry.set_python(oid, f"user_{form}_{oid}", lambda value: value, lambda value: value, form)
        yield Target(f"user's {form} codec of {oid} (derived)", registry.lookup(oid), registry)
    for oid, form in ((23, "binary"), (25, "text"), (1082, "tuple")):
        registry = Registry(knowledge)
        registry.set_python(oid, f"user_decoder_{form}_{oid}", None, lambda value: value, form)
        yield Target(f"user's {form} decoder of {oid} (derived)", registry.lookup(oid), registry)
    for name in ("pg_contrib.hstore", "int4", "json"):
        registry = Registry(knowledge)
        registry.set_alias(SCALAR, "alias", name, None)
        target = Target(f"{name} by alias (derived)", registry.lookup(SCALAR), registry)
        target.samples.append(struct.pack("!iicici", 2, 1, b"a", 1, b"b", 1) + b"c" + struct.pack("!i", -1))
        yield target


def targets() -> list[Target]:
    """All of them. Codecs that are the same code under several names are one target."""
    found: dict[Any, Target] = {}
    builtin = [Target(name, builtin_handle(oid)) for oid, (name, _, _) in sorted(registered().items())]
    for target in [*builtin, *derived()]:
        first = found.setdefault(driver.code_of(target.handle), target)
        first.names.append(target.name)
    for target in found.values():
        values = values_for(target.handle)
        samples = [taking(target.handle, value) or b"" for value in values]
        if "record" in target.name:
            samples += records()
        if "_record" in target.name:
            samples += [array(2249, *records()[:2])]
        target.samples = sorted({*target.samples, *samples})
    return list(found.values())
