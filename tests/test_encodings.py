# SPDX-License-Identifier: MIT
"""Client encodings and Python's codecs for them."""

from __future__ import annotations

import codecs

import pytest

from fastpg._encodings import ENCODINGS, python_encoding


def test_every_name_has_a_codec() -> None:
    for name, codec in ENCODINGS.items():
        assert codecs.lookup(codec)
        assert python_encoding(name.upper()) == (None if name == "sql_ascii" else codecs.lookup(codec).name)


@pytest.mark.parametrize("name", ["UTF8", "utf-8", "Unicode", "SQL_ASCII"])
def test_unconverted(name: str) -> None:
    assert python_encoding(name) is None


@pytest.mark.parametrize("name", ["EUC_TW", "MULE_INTERNAL", "no such thing"])
def test_unknown(name: str) -> None:
    assert python_encoding(name) == "ascii"


def test_names_of_python() -> None:
    assert python_encoding("ISO-8859-5") == "iso8859-5"
    assert python_encoding("latin-1") == "iso8859-1"
