# SPDX-License-Identifier: MIT
"""Values that asyncpg changes or loses on the way, and fastpg does not."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from tests.contract import covers, differs

asyncpg = pytest.importorskip("asyncpg")
UTC = datetime.timezone.utc


@pytest_asyncio.fixture
async def pair(dsn: str) -> AsyncIterator[tuple[Any, Any]]:
    """A connection of asyncpg's, and one of ours."""
    theirs, ours = await asyncpg.connect(dsn), await fastpg.connect(dsn)
    yield theirs, ours
    await theirs.close()
    await ours.close()


@covers("codec: infinity", "defect: infinite timestamptz", "defect: values that change on a round trip")
@differs("Infinities")
async def test_infinities(pair: tuple[Any, Any], dsn: str) -> None:
    theirs, ours = pair
    like_theirs = await fastpg.connect(dsn, max_is_infinity=True)
    for type, high, low in (
        ("date", datetime.date.max, datetime.date.min),
        ("timestamp", datetime.datetime.max, datetime.datetime.min),
        ("timestamptz", datetime.datetime.max.replace(tzinfo=UTC), datetime.datetime.min.replace(tzinfo=UTC)),
    ):
        for literal, equal in (("infinity", high), ("-infinity", low)):
            read, send = f"SELECT '{literal}'::{type}", f"SELECT ($1::{type})::text"
            value = await ours.fetchval(read)
            assert value == equal
            if type == "timestamptz":
                assert (await theirs.fetchval(read)).tzinfo is None and value.tzinfo is UTC
            else:
                assert await theirs.fetchval(read) == equal
            assert await ours.fetchval(send, value) == literal
            # The largest and smallest plain values.
            assert await theirs.fetchval(send, equal) == await like_theirs.fetchval(send, equal) == literal
            assert await ours.fetchval(send, equal) != literal
    await like_theirs.close()


@covers("codec: out of range", "defect: one value out of range", "defect: dates and intervals beyond Python's")
@differs("Values out of range")
async def test_values_out_of_range(pair: tuple[Any, Any]) -> None:
    theirs, ours = pair
    for expression, kind in (
        ("'0044-03-15 BC'::date", ValueError),
        ("'10000-01-01'::date", ValueError),
        ("'24:00:00'::time", ValueError),
        ("'0044-03-15 BC'::timestamp", OverflowError),
        ("'294000-03-15'::timestamptz", OverflowError),
        ("'2000000000 days'::interval", OverflowError),
        ("ARRAY['0044-03-15 BC'::date]", ValueError),
        ("daterange('0044-03-15 BC', NULL)", ValueError),
    ):
        query = f"SELECT CASE i WHEN 1 THEN {expression} END AS v FROM generate_series(0, 2) i"
        with pytest.raises(kind) as lost:
            await theirs.fetch(query)
        assert "'v'" not in str(lost.value)
        with pytest.raises(kind, match="column 'v', row #1: "):
            await ours.fetch(query)
        assert await ours.fetchval("SELECT 1") == 1
    wrong = await theirs.fetchval("SELECT '178000000 years'::interval")
    assert wrong.days != 178_000_000 * 365
    with pytest.raises(fastpg.UnrepresentableValueError, match="178000000 years"):
        await ours.fetchval("SELECT '178000000 years'::interval")


@covers("codec: interval", "codec: time", "defect: values that change on a round trip")
@differs("Months and seconds")
async def test_months_and_seconds(pair: tuple[Any, Any]) -> None:
    theirs, ours = pair
    for type, literal in (("interval", "1 year 2 mons"), ("timetz", "12:00:00+01:02:03")):
        query, back = f"SELECT '{literal}'::{type}", f"SELECT ($1::{type})::text"
        lost, kept = await theirs.fetchval(query), await ours.fetchval(query)
        assert type == "timetz" or lost == kept
        assert await theirs.fetchval(back, lost) != literal
        assert await ours.fetchval(back, kept) == literal
