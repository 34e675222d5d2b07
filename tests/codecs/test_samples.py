# SPDX-License-Identifier: MIT
"""What holds for the codec of every built-in type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpg.codecs.codec import decode, encode, registered
from fastpg.exceptions import ProtocolError, UnrepresentableValueError
from tests.samples import SAMPLES, Sample, same

DEFINED = (ProtocolError, UnrepresentableValueError)
each = pytest.mark.parametrize("sample", SAMPLES, ids=str)


@each
def test_registered(sample: Sample) -> None:
    assert registered()[sample.oid][0] == sample.type.strip('"')


@each
def test_round_trip(sample: Sample) -> None:
    @settings(max_examples=100, deadline=None)
    @given(value=sample.strategy())
    def check(value: Any) -> None:
        assert same(decode(sample.oid, encode(sample.oid, value)), value)

    check()
    for _, value in sample.literals:
        assert same(decode(sample.oid, encode(sample.oid, value)), value)


@each
def test_truncated(sample: Sample) -> None:
    @settings(max_examples=30, deadline=None)
    @given(value=sample.strategy())
    def check(value: Any) -> None:
        payload = encode(sample.oid, value)
        for cut in range(min(len(payload), 300)):
            if sample.framed:
                with pytest.raises(ProtocolError):
                    decode(sample.oid, payload[:cut])
                continue
            try:
                decode(sample.oid, payload[:cut])
            except DEFINED:
                pass

    check()


@each
def test_extended(sample: Sample) -> None:
    if not sample.framed:
        pytest.skip("any number of bytes may be a value")

    @settings(max_examples=30, deadline=None)
    @given(value=sample.strategy(), more=st.binary(min_size=1, max_size=9))
    def check(value: Any, more: bytes) -> None:
        with pytest.raises(ProtocolError):
            decode(sample.oid, encode(sample.oid, value) + more)

    check()


@each
def test_random_bytes(sample: Sample) -> None:
    @settings(max_examples=100, deadline=None)
    @given(payload=st.binary(max_size=40))
    def check(payload: bytes) -> None:
        try:
            decode(sample.oid, payload)
        except DEFINED:
            pass

    check()


@each
def test_flipped_bytes(sample: Sample) -> None:
    @settings(max_examples=60, deadline=None)
    @given(data=st.data(), value=sample.strategy())
    def check(data: st.DataObject, value: Any) -> None:
        payload = bytearray(encode(sample.oid, value)[:300])
        if payload:
            at = data.draw(st.integers(0, len(payload) - 1))
            payload[at] = data.draw(st.integers(0, 255))
        try:
            decode(sample.oid, bytes(payload))
        except DEFINED:
            pass

    check()


@each
def test_wrong_values(sample: Sample) -> None:
    for value in sample.wrong:
        with pytest.raises((TypeError, ValueError, ArithmeticError, AttributeError)) as caught:
            encode(sample.oid, value)
        assert str(caught.value), value


def test_no_sample_twice() -> None:
    oids = [sample.oid for sample in SAMPLES]
    assert len(set(oids)) == len(oids)
