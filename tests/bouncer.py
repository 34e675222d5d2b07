# SPDX-License-Identifier: MIT
"""A throw-away PgBouncer before a server, where one is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tools import pgserver

CONFIGURATION = """\
[databases]
{database} = host={host} port={port} user={user} {password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
logfile = {base}/log
admin_users = {user}
{more}
"""


def program() -> str | None:
    """Where PgBouncer is; None when it is not installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def bouncer(dsn: str, mode: str, size: int = 2, more: str = "") -> Iterator[str]:
    """Run PgBouncer with `size` sessions of the server for all clients; the DSN that goes through it.

    mode: its pool_mode. more: further lines of its configuration.
    """
    path = program()
    assert path is not None
    parts = urlsplit(dsn)
    listen = pgserver.free_port()
    privileges = pgserver.unprivileged()
    with tempfile.TemporaryDirectory(prefix="fastpg-bouncer-") as name:
        base = Path(name)
        base.chmod(0o777)
        password = f"password={unquote(parts.password)}" if parts.password else ""
        (base / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                database=parts.path[1:], host=parts.hostname, port=parts.port, user=parts.username, password=password,
                listen=listen, mode=mode, size=size, base=base, more=more,
            )  # fmt: skip
        )
        process = subprocess.Popen([path, "-q", str(base / "pgbouncer.ini")], **privileges)
        try:
            for _ in range(100):
                if process.poll() is not None:
                    raise RuntimeError((base / "log").read_text())
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", listen)) == 0:
                        break
                time.sleep(0.05)
            yield f"postgresql://{parts.username}@127.0.0.1:{listen}{parts.path}?sslmode=disable"
        finally:
            process.terminate()
            process.wait(10)
