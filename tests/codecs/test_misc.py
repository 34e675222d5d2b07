# SPDX-License-Identifier: MIT
"""bytea, uuid, bit, "char", void, tid and snapshots."""

from __future__ import annotations

import array
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpg.codecs.codec import decode, encode
from fastpg.exceptions import ProtocolError
from tests.samples import load
from tests.strategies import uuid_texts

load()
BYTEA, CHAR, TID, UUID, VOID, SNAPSHOT, BIT, VARBIT = 17, 18, 27, 2950, 2278, 5038, 1560, 1562


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", b""),
        (b"\0\xff", b"\0\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcdef"), b"abcdef"),
        (memoryview(b"abcdef")[::2], b"ace"),
        (memoryview(b"abcdef")[::-1], b"fedcba"),
        (memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef"),
        (array.array("H", [1, 2]), array.array("H", [1, 2]).tobytes()),
    ],
)
def test_bytea_takes_buffers(value: Any, expected: bytes) -> None:
    assert encode(BYTEA, value) == expected


def test_bytea_lets_go_of_the_buffer() -> None:
    value = bytearray(b"abc")
    encode(BYTEA, value)
    value += b"d"  # a bytearray with an exported buffer cannot grow


@pytest.mark.parametrize("oid", [BYTEA, CHAR, BIT, VARBIT])
@pytest.mark.parametrize("value", ["a", 1, None, [1]])
def test_bytes_like_is_required(oid: int, value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        encode(oid, value)
    assert str(caught.value) == f"a bytes-like object is required, not '{type(value).__name__}'"


@settings(max_examples=100, deadline=None)
@given(pair=uuid_texts())
def test_uuid_spellings(pair: tuple[str, uuid.UUID]) -> None:
    text, value = pair
    assert encode(UUID, text) == encode(UUID, value) == value.bytes
    assert decode(UUID, value.bytes) == value
    assert hash(decode(UUID, value.bytes)) == hash(value)


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="0aF-gé", min_size=30, max_size=38))
def test_uuid_from_odd_text(text: str) -> None:
    plain = text.replace("-", "")
    good = 32 <= len(text.encode()) <= 36 and len(plain) == 32 and set(plain) <= set("0aF")
    if good:
        assert encode(UUID, text) == bytes.fromhex(plain)
    else:
        with pytest.raises(ValueError, match="invalid UUID"):
            encode(UUID, text)


class HasBytes:
    def __init__(self, data: Any) -> None:
        self.bytes = data


def test_uuid_from_bytes_attribute() -> None:
    assert encode(UUID, HasBytes(b"x" * 16)) == b"x" * 16
    assert encode(UUID, HasBytes(bytearray(b"x" * 16))) == b"x" * 16
    with pytest.raises(ValueError, match="16 bytes long, got 3"):
        encode(UUID, HasBytes(b"xyz"))
    with pytest.raises(TypeError):
        encode(UUID, HasBytes("x" * 16))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("zz", "invalid UUID 'zz': length must be between 32..36 characters, got 2"),
        ("z" * 32, f"invalid UUID '{'z' * 32}': unexpected character 'z'"),
        ("0" * 33, f"invalid UUID '{'0' * 33}': decodes to more than 16 bytes"),
        ("-" * 32, f"invalid UUID '{'-' * 32}': decodes to less than 16 bytes"),
        (1, "'int' object has no attribute 'bytes'"),
    ],
)
def test_uuid_reasons(value: Any, reason: str) -> None:
    with pytest.raises((AttributeError, ValueError)) as caught:
        encode(UUID, value)
    assert str(caught.value) == reason


def test_bit_takes_bytes() -> None:
    assert encode(VARBIT, b"\xa5\x80") == b"\0\0\0\x10\xa5\x80"
    assert decode(VARBIT, b"\0\0\0\x09\xa5\x80").as_string() == "1010 0101 1"
    for payload in (b"\0\0\0\x09\xa5", b"\0\0\0\x08\xa5\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff\0", b"\0\0\0"):
        with pytest.raises(ProtocolError):
            decode(VARBIT, payload)


def test_void() -> None:
    assert decode(VOID, b"") is None
    assert encode(VOID, None) == b""


@pytest.mark.parametrize(
    ("oid", "value", "reason"),
    [
        (CHAR, b"ab", "exactly one byte is required, got 2"),
        (TID, "(1,2)", "list or tuple expected (got type <class 'str'>)"),
        (TID, (1, 2, 3), "invalid number of elements in tid tuple, expecting 2"),
        (TID, (2**32, 1), "tuple id block value out of uint32 range"),
        (TID, (1, -1), "tuple id offset value out of uint16 range"),
        (TID, ("a", 1), "an integer is required"),
        (SNAPSHOT, "1:1:", "list or tuple expected (got type <class 'str'>)"),
        (SNAPSHOT, (1, 5, 5), "object of type 'int' has no len()"),
        (SNAPSHOT, ("a", 5, ()), "an integer is required"),
    ],
)
def test_reasons(oid: int, value: Any, reason: str) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)) as caught:
        encode(oid, value)
    assert str(caught.value) == reason


def test_items_that_change_the_list() -> None:
    victim: list[Any] = []

    class Evil:
        def __int__(self) -> int:
            victim.clear()
            return 1

    victim[:] = [Evil(), 2]
    assert decode(TID, encode(TID, victim)) == (1, 2)
    victim[:] = [Evil(), 2, (3,)]
    assert decode(SNAPSHOT, encode(SNAPSHOT, victim)) == (1, 2, (3,))


def test_snapshot_with_an_invented_count() -> None:
    for count in (1, 2, 0x20000000, 0xFFFFFFFF):
        with pytest.raises(ProtocolError):
            decode(SNAPSHOT, count.to_bytes(4, "big") + bytes(16))
