# SPDX-License-Identifier: MIT
"""Hypothesis strategies of Python values, one for each kind of built-in type."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

booleans = st.booleans()
floats = st.floats()
floats32 = st.floats(width=32)
binary = st.binary(max_size=200)
one_byte = st.binary(min_size=1, max_size=1)
uuids = st.uuids()
# A NUL cannot be stored on the server, a lone surrogate cannot be encoded.
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
json_texts = st.one_of(st.sampled_from(["null", "[]", "{}", '{"a": [1, 2.5, "é"]}', '"\U0001f600"']), texts)


def integers(bits: int, signed: bool = True) -> st.SearchStrategy[int]:
    """Integers of so many bits, their limits likelier than chance has it."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.integers(low, high), st.sampled_from([low, low + 1, 0, 1, high - 1, high]))


def _decimal(sign: int, digits: list[int], exponent: int) -> Decimal:
    return Decimal((sign, tuple(digits), exponent))


# Runs of zeros exercise the trimming of groups, the exponents every alignment to groups of four.
decimals: st.SearchStrategy[Decimal] = st.one_of(
    st.builds(
        _decimal,
        st.integers(0, 1),
        st.lists(st.sampled_from([0, 0, 0, 1, 4, 9]), min_size=1, max_size=45),
        st.integers(-60, 30),
    ),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
    st.sampled_from(
        [
            Decimal("NaN"),
            Decimal("Infinity"),
            Decimal("-Infinity"),
            Decimal(0),
            Decimal("0.00"),
            Decimal("1E+131071"),
            Decimal("1E-16383"),
            Decimal(999999999999999999),
            Decimal(1000000000000000000),
            Decimal(9223372036854775807),
            Decimal("0.000000000000000001"),
        ]
    ),
)

tids = st.tuples(integers(32, signed=False), integers(16, signed=False))
_transactions = st.integers(0, 2**63 - 1)
snapshots: st.SearchStrategy[tuple[int, int, tuple[int, ...]]] = st.tuples(
    _transactions, _transactions, st.lists(_transactions, max_size=6).map(tuple)
)


def uuid_texts() -> st.SearchStrategy[tuple[str, uuid.UUID]]:
    """(a spelling, what it means)."""
    return uuids.flatmap(
        lambda value: st.sampled_from([str(value), str(value).upper(), value.hex]).map(lambda text: (text, value))
    )


def bit_strings() -> st.SearchStrategy[Any]:
    """BitString values of 0 to 40 bits."""
    from fastpg.types import BitString

    return st.text(alphabet="01", max_size=40).map(BitString)
