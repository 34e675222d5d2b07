# SPDX-License-Identifier: MIT
"""GSSAPI authentication against a KDC and a server of our own, and with libpq beside it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastpg
from fastpg import exceptions
from tools.pgserver import Server, StartError, find_binaries, free_port

pytest.importorskip("gssapi", exc_type=ImportError)

REALM = "FASTPG.TEST"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
PROGRAMS = ("krb5kdc", "kadmin.local", "kdb5_util", "kinit")


class Realm:
    """A KDC with the principals alice and postgres/localhost, and a server that takes GSSAPI alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.cache = directory / "cache"
        self.environment = {
            **os.environ,
            "PATH": PATH,
            "KRB5_CONFIG": str(directory / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(directory / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.cache}",
        }
        (directory / "krb5.conf").write_text(
            f"[libdefaults]\ndefault_realm = {REALM}\ndns_canonicalize_hostname = false\nrdns = false\n"
            f"[realms]\n{REALM} = {{\nkdc = 127.0.0.1:{self.port}\n}}\n"
        )
        (directory / "kdc.conf").write_text(
            f"[kdcdefaults]\nkdc_listen = 127.0.0.1:{self.port}\nkdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"[realms]\n{REALM} = {{\ndatabase_name = {directory}/principals\nkey_stash_file = {directory}/stash\n}}\n"
        )
        self.run("kdb5_util", "create", "-s", "-P", "master", "-r", REALM)
        self.run("kadmin.local", "-q", "addprinc -pw secret alice")
        self.run("kadmin.local", "-q", "addprinc -randkey postgres/localhost")
        self.run("kadmin.local", "-q", f"ktadd -k {directory}/keytab postgres/localhost")
        (directory / "keytab").chmod(0o644)
        for path in [directory, *directory.parents[:2]]:
            path.chmod(path.stat().st_mode | 0o011)
        self.kdc = subprocess.Popen(
            [self.program("krb5kdc"), "-n"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.login()
        settings = [f"krb_server_keyfile={directory}/keytab"]
        self.server = Server(find_binaries(), settings).start()
        assert self.server.base is not None
        hba = self.server.base / "data" / "pg_hba.conf"
        hba.write_text(
            "local all all trust\nhost all other 127.0.0.1/32 trust\n"
            f"host all all 127.0.0.1/32 gss include_realm=0 krb_realm={REALM}\n"
        )
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGHUP)

    @staticmethod
    def program(name: str) -> str:
        found = shutil.which(name, path=PATH)
        assert found is not None
        return found

    def run(self, name: str, *args: str, text: str = "") -> None:
        subprocess.run(
            [self.program(name), *args], env=self.environment, input=text, text=True, check=True, capture_output=True,
            timeout=60,
        )  # fmt: skip

    def login(self) -> None:
        for _ in range(100):
            try:
                return self.run("kinit", "alice", text="secret\n")
            except subprocess.CalledProcessError:
                time.sleep(0.05)  # the KDC is not there yet
        raise AssertionError("no ticket")

    def stop(self) -> None:
        if hasattr(self, "server"):
            self.server.stop()
        self.kdc.kill()
        self.kdc.wait()


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    if any(shutil.which(name, path=PATH) is None for name in PROGRAMS):
        pytest.skip("no Kerberos KDC here")
    try:
        built = subprocess.run([find_binaries() / "pg_config", "--configure"], capture_output=True, text=True).stdout
    except (StartError, OSError):
        built = ""
    if "--with-gssapi" not in built:
        pytest.skip("no PostgreSQL server here with: gssapi")
    realm = Realm(tmp_path_factory.mktemp("realm"))
    try:
        admin = {"host": realm.server.socket_dir, "port": realm.server.port}
        async def make_role() -> None:
            connection = await fastpg.connect(user="postgres", database="postgres", **admin)  # type: ignore[arg-type]
            await connection.execute("CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE other LOGIN")
            await connection.close()

        asyncio.run(make_role())
        yield realm
    finally:
        realm.stop()


@pytest.fixture
def given(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name in ("KRB5_CONFIG", "KRB5CCNAME"):
        monkeypatch.setenv(name, realm.environment[name])
    return {
        "host": "localhost", "port": realm.server.port, "user": "alice", "database": "postgres", "timeout": 20,
        "ssl": "disable",
    }  # fmt: skip


async def test_a_ticket_opens_a_session(given: dict[str, Any]) -> None:
    for more in ({}, {"krbsrvname": "postgres"}, {"require_auth": "gss"}, {"gsslib": "gssapi"}):
        connection = await fastpg.connect(**given, **more)
        try:
            assert await connection.fetchval("SELECT current_user") == "alice"
            assert await connection.fetchval(
                "SELECT gss_authenticated FROM pg_stat_gssapi WHERE pid = pg_backend_pid()"
            )
        finally:
            await connection.close()


async def test_libpq_does_the_same(given: dict[str, Any]) -> None:
    psycopg = pytest.importorskip("psycopg")
    dsn = f"host=localhost port={given['port']} user=alice dbname=postgres sslmode=disable gssencmode=disable"
    try:
        with psycopg.connect(dsn) as theirs:
            assert theirs.execute("SELECT current_user").fetchone() == ("alice",)
    except psycopg.OperationalError as error:
        if "GSSAPI" in str(error) and "not supported" in str(error):
            pytest.skip("this libpq is built without GSSAPI")
        raise


async def test_another_user_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(exceptions.InvalidAuthorizationSpecificationError, match='failed for user "bob"'):
        await fastpg.connect(**{**given, "user": "bob"})


async def test_a_service_without_principal(given: dict[str, Any]) -> None:
    with pytest.raises(exceptions.InterfaceError, match="GSSAPI authentication failed"):
        await fastpg.connect(**given, krbsrvname="nosuch")


async def test_no_ticket(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")
    with pytest.raises(exceptions.InterfaceError, match="GSSAPI authentication failed"):
        await fastpg.connect(**given)


async def test_other_methods_required(given: dict[str, Any]) -> None:
    with pytest.raises(exceptions.InterfaceError, match="'gss' authentication, which require_auth excludes"):
        await fastpg.connect(**given, require_auth="scram-sha-256")
    with pytest.raises(exceptions.InterfaceError, match="channel_binding=require"):
        await fastpg.connect(**given, channel_binding="require")
    with pytest.raises(exceptions.InterfaceError, match="require_auth"):
        await fastpg.connect(**{**given, "user": "other"}, require_auth="gss")
