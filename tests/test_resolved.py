# SPDX-License-Identifier: MIT
"""Arguments are resolved once, and anew as soon as anything has changed that they depend on."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from fastpg import _resolved
from fastpg import dsn as dsn_module
from fastpg.dsn import ConnectParams, parse
from fastpg.exceptions import ClientConfigurationError
from fastpg.security import PROFILES, Secret


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str | None]:
    """The strings that have been resolved, and not only looked up."""
    for name in list(os.environ):
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_resolved, "_resolved", {})
    seen: list[str | None] = []

    class Resolver(dsn_module._Resolver):
        def __init__(self, dsn: str | None, *args: Any) -> None:
            seen.append(dsn)
            super().__init__(dsn, *args)

    monkeypatch.setattr(dsn_module, "_Resolver", Resolver)
    return seen


def password(params: ConnectParams) -> str | None:
    given = params.targets[0].password
    return given.reveal() if isinstance(given, Secret) else None


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"user": "u", "password": "p", "host": None},
        {"password": Secret("p"), "security": "strict", "sslmode": "disable"},
        {"security": PROFILES["strict"]},
        {"server_settings": {"application_name": "a"}},
        {"port": 5433, "ssl": False},
    ],
)
def test_the_same_arguments_are_resolved_once(runs: list[str | None], keywords: dict[str, Any]) -> None:
    first = parse("postgresql://h/d", **keywords)
    assert parse("postgresql://h/d", **keywords) is first
    assert len(runs) == 1
    assert parse("postgresql://i/d", **keywords) != first
    assert parse("postgresql://h/d", **{**keywords, "user": "other"}).user == "other"


def test_what_is_equal_but_not_the_same(runs: list[str | None]) -> None:
    assert parse("postgresql://h", ssl=False).sslmode == "disable"
    with pytest.raises(ClientConfigurationError, match="sslmode"):
        parse("postgresql://h", ssl=0)
    settings = {"application_name": "a"}
    assert parse("postgresql://h", server_settings=settings).server_settings["application_name"] == "a"
    settings["application_name"] = "b"
    assert parse("postgresql://h", server_settings=settings).server_settings["application_name"] == "b"


@pytest.mark.parametrize(
    "keywords",
    [
        {"password": lambda: "p"},
        {"host": ["h", "i"]},
        {"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)},
        {"ssl": True},
    ],
)
def test_objects_of_the_caller_are_not_kept(runs: list[str | None], keywords: dict[str, Any]) -> None:
    parse(user="u", **keywords)
    parse(user="u", **keywords)
    assert len(runs) == 2 and not _resolved._resolved


def test_errors_are_not_kept(runs: list[str | None]) -> None:
    for _ in range(2):
        with pytest.raises(ClientConfigurationError):
            parse("postgresql://h:99999")
        with pytest.raises(ClientConfigurationError):
            parse("postgresql://h", server_settings={"a": []})
        with pytest.raises(TypeError):
            parse("postgresql://h", frobnicate=1)
    assert len(runs) == 6 and not _resolved._resolved


def test_what_was_given_out_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        parse("postgresql://h").server_settings["application_name"] = "x"  # type: ignore[index]


def test_a_change_of_the_environment_counts(runs: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("postgresql://h").user != "env"
    monkeypatch.setenv("PGUSER", "env")
    assert parse("postgresql://h").user == "env"
    monkeypatch.setenv("PGPASSWORD", "one")
    assert password(parse("postgresql://h")) == "one"
    monkeypatch.setenv("PGPASSWORD", "two")
    assert password(parse("postgresql://h")) == "two"
    monkeypatch.delenv("PGPASSWORD")
    assert password(parse("postgresql://h")) is None
    monkeypatch.setenv("PGTZ", "UTC")
    assert parse("postgresql://h").server_settings["TimeZone"] == "UTC"
    monkeypatch.setenv("FASTPG_SECURITY", "strict")
    assert parse("postgresql://h").security is PROFILES["strict"]


@pytest.mark.skipif(sys.platform == "win32", reason="no permissions to check there")
def test_a_change_of_the_password_file_counts(
    runs: list[str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / ".pgpass"
    assert password(parse("postgresql://u@h")) is None
    for text in ("one", "two", "six"):  # of one length, and sooner than a file's time changes
        path.write_text(f"h:*:*:u:{text}\n")
        path.chmod(0o600)
        assert password(parse("postgresql://u@h")) == text
    assert len(runs) == 1
    path.chmod(0o640)
    with pytest.warns(UserWarning, match="group or by others"):
        assert password(parse("postgresql://u@h")) is None
    path.unlink()
    assert password(parse("postgresql://u@h")) is None
    other = tmp_path / "home"
    other.mkdir()
    (other / ".pgpass").write_text("*:*:*:*:other\n")
    (other / ".pgpass").chmod(0o600)
    monkeypatch.setenv("HOME", str(other))
    assert password(parse("postgresql://u@h")) == "other"
    assert password(parse("postgresql://u@h", password="own")) == "own"


def test_a_change_of_the_service_file_counts(runs: list[str | None], tmp_path: Path) -> None:
    path = tmp_path / "services"
    for text in ("[s]\n", "[s]\nuser=one\n", "[s]\nuser=two\n"):
        path.write_text(text)
        found = parse("service=s", servicefile=str(path)).user
        assert found == text[-4:-1] or "user" not in text
    assert len(runs) == 3


def test_only_so_many_are_kept(runs: list[str | None]) -> None:
    for i in range(_resolved.KEPT + 10):
        parse(f"postgresql://h{i}")
    assert len(_resolved._resolved) == _resolved.KEPT
    parse(f"postgresql://h{i}")
    assert len(runs) == _resolved.KEPT + 10


def test_an_environment_of_another_kind(runs: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": "/nowhere", "PGUSER": "one"})
    assert parse("postgresql://h").user == parse("postgresql://h").user == "one"
    assert len(runs) == 1
    os.environ["PGUSER"] = "two"
    assert parse("postgresql://h").user == "two"
