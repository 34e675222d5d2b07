# SPDX-License-Identifier: MIT
"""Every codec against the server's own binary and text forms, by way of libpq."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fastpg.codecs.codec import decode, encode, registered
from tests.samples import SAMPLES, Sample, same

psycopg = pytest.importorskip("psycopg")

CASES = [
    pytest.param(sample, literal, value, id=f"{sample.type}-{literal}")
    for sample in SAMPLES
    for literal, value in sample.literals
]


@pytest.fixture(scope="module")
def server(dsn: str) -> Iterator[Any]:
    """A libpq connection."""
    connection = psycopg.connect(dsn, autocommit=True)
    try:
        yield connection.pgconn
    finally:
        connection.close()


def run(server: Any, query: str, payload: bytes | None = None, oid: int = 0, format: int = 0, result: int = 0) -> bytes:
    """The one value of a query, as it came over the wire."""
    given = payload is not None
    answer = server.exec_params(
        query.encode(), [payload] if given else None, [oid] if given else None, [format] if given else None, result
    )
    assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK, answer.error_message
    value = answer.get_value(0, 0)
    assert isinstance(value, bytes)
    return value


@pytest.mark.parametrize(("sample", "literal", "value"), CASES)
def test_literal(server: Any, sample: Sample, literal: str, value: Any) -> None:
    if server.server_version < sample.version * 10000:
        pytest.skip(f"type {sample.type} is of PostgreSQL {sample.version}")
    format = registered()[sample.oid][2]
    quoted = "'" + literal.replace("'", "''") + "'"
    cast = f"{quoted}::{sample.type}"

    payload = run(server, f"SELECT {cast}", result=format)
    assert same(decode(sample.oid, payload), value)

    # What goes back is the same to the byte, and means the same to the server.
    if "Infinity" not in literal or sample.type != "numeric":  # the server states a meaningless scale there
        assert encode(sample.oid, value) == payload
    expected = run(server, f"SELECT ({cast})::text")
    assert run(server, f"SELECT ($1::{sample.type})::text", encode(sample.oid, value), sample.oid, format) == expected


def test_numeric_keeps_the_scale(server: Any) -> None:
    for literal in ("0.00", "1.00000", "-7.10", "12300", "1e30", "123456789012345678901234567890.10"):
        payload = run(server, f"SELECT {literal}::numeric", result=1)
        printed = run(server, f"SELECT ({literal}::numeric)::text").decode()
        assert format(decode(1700, payload), "f") == printed


def test_many_numerics(server: Any) -> None:
    query = (
        "SELECT (CASE WHEN i % 2 = 0 THEN 1 ELSE -1 END * i::numeric ^ (i % 9) * 10007::numeric ^ (i % 5)"
        " / 10::numeric ^ (i % 23))::numeric(200, {scale}) FROM generate_series(0, 400) i"
    )
    for scale in (0, 1, 2, 4, 5, 18, 19, 40):
        text = query.format(scale=scale).encode()
        printed = server.exec_params(text, None, None, None, 0)
        sent = server.exec_params(text, None, None, None, 1)
        assert printed.ntuples == sent.ntuples == 401
        for row in range(sent.ntuples):
            payload = sent.get_value(row, 0)
            value = decode(1700, payload)
            assert format(value, "f") == printed.get_value(row, 0).decode()
            assert encode(1700, value) == payload
