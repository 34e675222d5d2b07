# SPDX-License-Identifier: MIT
from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import fastpg.exceptions as fx
from fastpg.exceptions import _base
from fastpg.exceptions._sqlstate import BY_SQLSTATE

ROOT = Path(__file__).resolve().parent.parent
LETTERS = dict(zip("SVCMDHPpqWstcdnFLR", _base.FIELDS.values(), strict=True))
FULL = {letter: f"<{letter}>" for letter in LETTERS} | {"S": "ERROR", "V": "ERROR", "C": "23505"}


def test_generated_file_is_up_to_date() -> None:
    subprocess.run([sys.executable, str(ROOT / "tools/gen_sqlstate.py"), "--check"], check=True)


def test_tree_matches_asyncpg() -> None:
    other = pytest.importorskip("asyncpg.exceptions")
    for name in other.__all__:
        theirs, ours = getattr(other, name), getattr(fx, name)
        assert name in fx.__all__
        assert [c.__name__ for c in theirs.__mro__] == [
            c.__name__ for c in ours.__mro__ if not c.__name__.startswith("Pg")
        ], name
        assert getattr(theirs, "sqlstate", None) == getattr(ours, "sqlstate", None)
    for sqlstate, cls in BY_SQLSTATE.items():
        assert cls.__name__ == _class_name(other, sqlstate)


def _class_name(other: Any, sqlstate: str) -> str:
    return str(_base_of(other).PostgresMessageMeta.get_message_class_for_sqlstate(sqlstate).__name__)


def _base_of(other: Any) -> Any:
    return other._base


@pytest.mark.parametrize(
    "fields",
    [
        FULL,
        {},
        {"M": "no state"},
        {"C": "23505"},
        {"C": "99999", "M": "unknown"},
        {"C": "", "M": "empty"},
        {"C": "57P01", "M": "bye", "D": "d", "S": "FATAL"},
        {"C": "23503", "M": "x", "H": "hint only"},
        {"C": "0A000", "M": "plain"},
        {"C": "0A000", "M": "stale", "R": "RevalidateCachedQuery"},
    ],
)
def test_from_fields_matches_asyncpg(fields: dict[str, str]) -> None:
    other = pytest.importorskip("asyncpg.exceptions")
    theirs = other.PostgresError.new(fields, "SELECT 1")
    ours = fx.from_fields(fields, "SELECT 1")
    assert type(ours).__name__ == type(theirs).__name__
    assert vars(ours) == vars(theirs)
    assert ours.as_dict() == theirs.as_dict()
    assert ours.args == theirs.args
    assert str(ours) == str(theirs)


def test_fields_become_attributes() -> None:
    error = fx.from_fields(FULL, "INSERT ...")
    assert isinstance(error, fx.UniqueViolationError)
    assert error.as_dict() == {name: FULL[letter] for letter, name in LETTERS.items()}
    assert error.query == "INSERT ..."
    assert error.code == error.sqlstate == "23505"
    assert str(error) == "<M>\nDETAIL:  <D>\nHINT:  <H>"
    assert error.args == ("<M>",)
    assert type(error).__module__ == "fastpg.exceptions"


def test_unknown_letters_and_missing_state() -> None:
    error = fx.from_fields({"M": "m", "?": "x", "Z": "y"})
    assert type(error) is fx.UnknownPostgresError
    assert error.code is None
    assert error.as_dict() == {"message": "m"}
    assert fx.from_fields({"C": "00000"}).code == "00000"
    # A warning's state in an ErrorResponse must still give something that can be raised as an error.
    assert isinstance(fx.from_fields({"C": "01000", "M": "m"}), fx.PgError)


def test_families() -> None:
    def made(sqlstate: str) -> fx.PostgresError:
        return fx.from_fields({"C": sqlstate, "M": "m"})

    for sqlstate, cls in BY_SQLSTATE.items():
        if sqlstate[:2] in ("01", "02"):
            assert issubclass(cls, fx.PostgresWarning)
            continue
        error = made(sqlstate)
        assert isinstance(error, fx.PgError) and isinstance(error, fx.PostgresError)
        assert isinstance(error, fx.PgIntegrityError) == (sqlstate[:2] == "23")
        assert isinstance(error, fx.PgDataError) == (sqlstate[:2] == "22")
        assert isinstance(error, fx.PgSerializationError) == (sqlstate in ("40001", "40P01"))
    with pytest.raises(fx.PgIntegrityError):
        raise made("23505")
    assert not issubclass(fx.InterfaceError, fx.PgError)
    assert issubclass(fx.UnrepresentableValueError, ValueError)
    assert issubclass(fx.UnrepresentableValueError, fx.PgDataError)
    assert issubclass(fx.ProtocolError, fx.InternalClientError)
    assert BY_SQLSTATE["08P01"] is fx.ProtocolViolationError
    assert BY_SQLSTATE["22000"] is fx.DataError
    assert BY_SQLSTATE["0A000"] is fx.FeatureNotSupportedError


@pytest.mark.parametrize("sqlstate", ["42P05", "26000"])
def test_pooler_hint(sqlstate: str) -> None:
    assert "statement_cache_size=0" in (fx.from_fields({"C": sqlstate, "M": "m"}).hint or "")
    both = fx.from_fields({"C": sqlstate, "M": "m", "H": "server's hint"}).hint or ""
    assert both.startswith("server's hint\n") and "PgBouncer" in both
    assert fx.from_fields({"C": "42P04", "M": "m"}).hint is None


def test_empty_error() -> None:
    assert str(fx.DataError()) == ""
    assert str(fx.DataError("a", "b")) == "a"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": "hi"}, "PostgresLogMessage"),
        ({"S": "WARNUNG", "V": "WARNING", "C": "XXXXX", "M": "hi"}, "PostgresWarning"),
        ({"S": "WARNING", "C": "00000", "M": "hi"}, "PostgresWarning"),
        ({"S": "WARNING", "V": "WARNING", "C": "01007", "M": "hi"}, "PrivilegeNotGranted"),
        ({"S": "NOTICE", "V": "NOTICE", "C": "42P07", "M": "hi"}, "DuplicateTableError"),
        ({"S": "NOTICE", "C": "02000", "M": "hi"}, "NoData"),
    ],
)
def test_log_message(fields: dict[str, str], name: str) -> None:
    message = fx.log_message(fields)
    assert type(message).__name__ == name
    assert message.message == "hi"
    assert message.sqlstate == fields["C"]
    again = pickle.loads(pickle.dumps(message))
    assert type(again) is type(message) and vars(again) == vars(message)
    if isinstance(message, fx.PostgresLogMessage):
        assert str(message) == f"{name}: hi"
        with pytest.raises(TypeError, match=f"instances of {name} are immutable"):
            message.detail = "x"
        with pytest.raises(TypeError, match="immutable"):
            del message.message


def test_warning_can_be_issued_and_raised() -> None:
    warning = fx.log_message({"C": "01000", "M": "hi"})
    assert isinstance(warning, Warning)
    with warnings.catch_warnings(), pytest.raises(fx.PostgresWarning):
        warnings.simplefilter("error")
        warnings.warn(warning, stacklevel=1)


def test_interface_error() -> None:
    error = fx.InterfaceError("a", detail="d", hint="h")
    assert str(error) == "a\nDETAIL:  d\nHINT:  h"
    assert error.args == ("a",)
    other = error.with_msg("b")
    assert type(other) is fx.InterfaceError
    assert str(other) == "b\nDETAIL:  d\nHINT:  h"
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
    with pytest.raises(ValueError, match="wrong"):
        raise fx.ClientConfigurationError("wrong")
    warning = fx.InterfaceWarning("w", hint="h")
    assert str(warning) == "w\nHINT:  h" and isinstance(warning, UserWarning)
    outdated = fx.OutdatedSchemaCacheError("m", schema="s", data_type="t", position=3)
    assert (outdated.schema_name, outdated.data_type_name, outdated.position) == ("s", "t", 3)
    assert vars(pickle.loads(pickle.dumps(outdated))) == vars(outdated)


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        asyncio.CancelledError(),
        OSError(1, "x"),
        fx.DataError("x"),
        fx.InterfaceError("x"),
        fx.ProtocolError("x"),
        fx.UnrepresentableValueError("x"),
    ],
)
def test_annotate_and_pickle(error: BaseException) -> None:
    assert getattr(error, "fastpg", None) is None
    assert fx.annotate(error, phase="query", bytes_sent=True, outcome="unknown", backend_pid=7) is error
    outcome = fx.Outcome("query", True, "unknown", 7)
    assert vars(error)["fastpg"] == outcome
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and again.args == error.args
    assert vars(again)["fastpg"] == outcome


def test_class_default_of_outcome() -> None:
    for cls in (fx.PostgresError, fx.InterfaceError, fx.InternalClientError, fx.PostgresLogMessage):
        assert cls.fastpg is None


def test_server_error_pickles() -> None:
    error = fx.from_fields(FULL, "q")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is fx.UniqueViolationError
    assert vars(again) == vars(error) and str(again) == str(error)
