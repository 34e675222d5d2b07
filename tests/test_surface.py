# SPDX-License-Identifier: MIT
"""Every public name and signature of asyncpg, held against fastpg."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

import fastpg

asyncpg = pytest.importorskip("asyncpg")

CLASSES = {
    "Connection": "connection",
    "PoolConnectionProxy": "pool",
    "Pool": "pool",
    "PoolAcquireContext": "pool",
    "PreparedStatement": "prepared_stmt",
    "CursorFactory": "cursor",
    "CursorIterator": "cursor",
    "Cursor": "cursor",
    "Transaction": "transaction",
    "LoggedQuery": "connection",
}
SPECIAL = {"__aenter__", "__aexit__", "__aiter__", "__anext__", "__await__"}

# What fastpg has besides. Names of methods, or of keywords by "Class.method".
MORE: dict[str, set[str]] = {
    "Connection": {"notices_dropped", "pipeline"},
    "PoolConnectionProxy": {"pipeline"},
    "Pool": {"pipeline", "resize", "stats"},
    "connect": {"connector", "eager_begin", "row_factory", "sock", "libpq", "codecs", "json", "strict_numbers",
                "plain_uuid", "out_of_range", "max_is_infinity", "array_bounds", "proxy"},
    "create_pool": {"row_factory"},
    "PreparedStatement": set(),
    **{
        f"{cls}.{method}": {"row_factory"}
        for cls, methods in {
            "Connection": ("fetch", "fetchrow", "fetchmany", "prepare", "cursor"),
            "PoolConnectionProxy": ("fetch", "fetchrow", "fetchmany", "prepare", "cursor"),
            "Pool": ("fetch", "fetchrow", "fetchmany"),
            "PreparedStatement": ("fetch", "fetchrow", "fetchmany", "cursor"),
            "Cursor": ("fetch", "fetchrow"),
        }.items()
        for method in methods
    },
}
# Different on purpose: why.
DIFFERENT: dict[str, str] = {
    "connect.timeout": "None stands for the security profile's own limit, or for connect_timeout of each address",
}
# An `async def` in fastpg, a function that returns a coroutine in asyncpg: both are awaited.
ASYNC = {
    *(f"PreparedStatement.{name}" for name in ("executemany", "explain", "fetch", "fetchmany", "fetchrow", "fetchval")),
    *(f"Cursor.{name}" for name in ("fetch", "fetchrow", "forward")),
    "CursorIterator.__anext__",
    *(f"Transaction.{name}" for name in ("start", "commit", "rollback")),
}


def both(name: str) -> tuple[Any, Any]:
    module = CLASSES[name]
    return tuple(
        getattr(importlib.import_module(f"{package}.{module}"), name) for package in ("asyncpg", "fastpg")
    )  # type: ignore[return-value]


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_") or name in SPECIAL}


METHODS = [(cls, name) for cls in CLASSES for name in sorted(public(both(cls)[0]))]


def shape(function: Any) -> list[tuple[str, str, Any]]:
    """Names, kinds and defaults; classes by their names, the parameters of __aexit__ by their number."""
    parameters = list(inspect.signature(function).parameters.values())
    result = []
    for parameter in parameters:
        default = parameter.default
        if isinstance(default, type):
            default = default.__name__
        result.append((parameter.name, parameter.kind.name, default))
    return result


@pytest.mark.parametrize("name", CLASSES)
def test_names(name: str) -> None:
    theirs, ours = map(public, both(name))
    assert not theirs - ours, "missing"
    assert ours - theirs == MORE.get(name, set()), "not named above"


@pytest.mark.parametrize(("cls", "name"), METHODS)
def test_signatures(cls: str, name: str) -> None:
    theirs, ours = (getattr(kind, name, None) for kind in both(cls))
    assert callable(theirs) == callable(ours)
    if not callable(theirs):
        return
    if name == "__aexit__":
        # Called by the interpreter, with three arguments and by position.
        for method in (theirs, ours):
            inspect.signature(method).bind(None, None, None, None)
    elif cls != "LoggedQuery":
        more = MORE.get(f"{cls}.{name}", set())
        assert [parameter for parameter in shape(ours) if parameter[0] not in more] == shape(theirs)
        assert more == {parameter[0] for parameter in shape(ours)} - {parameter[0] for parameter in shape(theirs)}
    asynchronous = inspect.iscoroutinefunction(theirs)
    assert inspect.iscoroutinefunction(ours) == (asynchronous or f"{cls}.{name}" in ASYNC)


@pytest.mark.parametrize("name", ["connect", "create_pool"])
def test_functions(name: str) -> None:
    theirs, ours = ({p[0]: p for p in shape(getattr(package, name))} for package in (asyncpg, fastpg))
    assert ours.keys() - theirs.keys() == MORE.get(name, set())
    for parameter in theirs:
        if f"{name}.{parameter}" not in DIFFERENT:
            assert ours[parameter] == theirs[parameter]


def test_modules() -> None:
    """Public names of the package and of the modules that programs import from."""
    assert set(asyncpg.__all__) <= set(fastpg.__all__)
    for module in ("types", "exceptions", "pool", "connection", "cursor", "transaction", "prepared_stmt"):
        theirs = importlib.import_module(f"asyncpg.{module}")
        ours = importlib.import_module(f"fastpg.{module}")
        own = [
            name for name, value in vars(theirs).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == theirs.__name__
        ]  # fmt: skip
        missing = {name for name in own if not hasattr(ours, name)}
        assert missing <= {"connresource"}, module
    assert asyncpg.connection.LoggedQuery._fields == fastpg.connection.LoggedQuery._fields


def test_no_difference_is_out_of_date() -> None:
    for key in ASYNC:
        cls, name = key.split(".")
        theirs, ours = (getattr(kind, name) for kind in both(cls))
        assert inspect.iscoroutinefunction(ours) and not inspect.iscoroutinefunction(theirs)
    for key in DIFFERENT:
        name, parameter = key.split(".")
        theirs, ours = (inspect.signature(getattr(p, name)).parameters[parameter] for p in (asyncpg, fastpg))
        assert theirs.default != ours.default


def test_threaded_pool() -> None:
    """It has the methods of a pool, with the same parameters; those that it has not are named here."""
    absent = {"get_init_size", "resize"}
    assert public(fastpg.Pool) - public(fastpg.ThreadedPool) == absent
    assert public(fastpg.ThreadedPool) <= public(fastpg.Pool)
    for name in public(fastpg.ThreadedPool) - {"close"}:
        assert shape(getattr(fastpg.ThreadedPool, name)) == shape(getattr(fastpg.Pool, name)), name
    more = {parameter[0] for parameter in shape(fastpg.create_pool)} - {
        parameter[0] for parameter in shape(fastpg.ThreadedPool)
    }
    assert more == {"init_size", "min_size", "loop"}
