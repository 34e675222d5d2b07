# SPDX-License-Identifier: MIT
"""Text types, json and its kin."""

from __future__ import annotations

from typing import Any

import pytest

import fastpg.codecs.json
import fastpg.codecs.text  # noqa: F401
from fastpg.codecs.codec import decode, encode, registered
from fastpg.exceptions import ProtocolError, UnrepresentableValueError

TEXT, JSON, JSONB, JSONPATH, MONEY = 25, 114, 3802, 4072, 790
VALUES = ["", "a", "abc" * 1000, "é", "€", "\U0001f600", "a\0b", "Ā" * 500]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("oid", [TEXT, JSON, MONEY])
def test_text_is_utf8(oid: int, value: str) -> None:
    assert encode(oid, value) == value.encode()
    assert decode(oid, value.encode()) == value


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("oid", [JSONB, JSONPATH])
def test_version_byte(oid: int, value: str) -> None:
    assert encode(oid, value) == b"\1" + value.encode()
    assert decode(oid, b"\1" + value.encode()) == value


@pytest.mark.parametrize("oid", [JSONB, JSONPATH])
@pytest.mark.parametrize("payload", [b"", b"\0{}", b"\2{}", b"{}"])
def test_bad_version(oid: int, payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="version"):
        decode(oid, payload)


@pytest.mark.parametrize("oid", [TEXT, JSON, JSONB, JSONPATH, MONEY])
@pytest.mark.parametrize("value", [1, None, b"a", bytearray(b"a"), {}, []])
def test_only_str(oid: int, value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        encode(oid, value)
    assert str(caught.value) == f"expected str, got {type(value).__name__}"


def test_subclass_of_str() -> None:
    class Tag(str):
        def __str__(self) -> str:
            return "other"

    assert encode(TEXT, Tag("é")) == "é".encode()
    assert encode(JSONB, Tag("{}")) == b"\1{}"


@pytest.mark.parametrize("oid", [TEXT, JSON, JSONB])
def test_surrogates(oid: int) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        encode(oid, "a\ud800")


@pytest.mark.parametrize("payload", [b"\xff", b"ab\xed\xa0\x80", b"\xc0\x80", b"\xe2\x82", b"\xf4\x90\x80\x80"])
def test_invalid_utf8(payload: bytes) -> None:
    for oid, data in ((TEXT, payload), (JSONB, b"\1" + payload)):
        with pytest.raises(UnrepresentableValueError, match="can't decode byte") as caught:
            decode(oid, data)
        assert isinstance(caught.value, ValueError)


def test_formats() -> None:
    table = registered()
    for oid in (TEXT, 1043, 1042, 19, 142, 194, 1790, JSON, JSONB):
        assert table[oid][2] == 1
    for oid in (MONEY, 829, 774, 3614, 3615, 2205, 1033):
        assert table[oid][2] == 0
