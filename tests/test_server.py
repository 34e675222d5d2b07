# SPDX-License-Identifier: MIT
"""The servers the tests run against are what they claim to be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from tests.server import AnyServer
from tools.pgserver import PASSWORD, ROLES

psycopg = pytest.importorskip("psycopg")


def test_dsn(server: AnyServer, dsn: str) -> None:
    assert dsn == server.dsn
    with psycopg.connect(dsn) as connection:
        assert connection.info.server_version // 10000 == server.version


def test_a_newer_one_is_another_one(server_with: Callable[..., AnyServer]) -> None:
    assert server_with("pg16").version >= 16


@pytest.mark.parametrize("role", ROLES)
def test_role_needs_its_password(server_with: Callable[..., AnyServer], role: str) -> None:
    server = server_with("tls")
    where = f"host={server.host} port={server.port} dbname={server.database} user={role}"
    with psycopg.connect(f"{where} password={PASSWORD} sslmode=prefer") as connection:
        assert connection.execute("SELECT current_user").fetchone() == (role,)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(f"{where} password=wrong")
    if role == "tls_role":
        with pytest.raises(psycopg.OperationalError, match="pg_hba.conf rejects"):
            psycopg.connect(f"{where} password={PASSWORD} sslmode=disable")


async def test_on_both_loops(request: pytest.FixtureRequest) -> None:
    name = type(asyncio.get_running_loop()).__module__.split(".")[0]
    assert f"[{name}" in request.node.name or os.name == "nt"
