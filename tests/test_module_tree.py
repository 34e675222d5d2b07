# SPDX-License-Identifier: MIT
"""Every public name of every public module of asyncpg is there, but for a short list."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
import textwrap
import types

import asyncpg
import pytest

import fastpg._alias

# Module -> why fastpg has none.
NO_MODULE = {
    "cluster": "starting and stopping servers is no task of a driver",
    "protocol.codecs": "a package without content: asyncpg's codecs are compiled into another module",
}
# Name -> why it is not there.
NO_NAME = {
    "connect_utils.TLSUpgradeProto": "a step of asyncpg's own way to connect",
    "connect_utils.target_attrs_check": "a step of asyncpg's own way to connect",
    "exceptions._base.DataError": "never raised, and not the DataError that asyncpg exports",
    "pgproto.pgproto.BufferError": "of asyncpg's compiled codecs; nothing of it can be used from Python",
    "pgproto.pgproto.CodecContext": "of asyncpg's compiled codecs; nothing of it can be used from Python",
    "pgproto.pgproto.ReadBuffer": "of asyncpg's compiled codecs; nothing of it can be used from Python",
    "pgproto.pgproto.WriteBuffer": "of asyncpg's compiled codecs; nothing of it can be used from Python",
    "protocol.protocol.AUTH_METHOD_NAME": "of asyncpg's own authentication",
    "protocol.protocol.BaseProtocol": "the inner structure of asyncpg's protocol",
    "protocol.protocol.Codec": "the inner structure of asyncpg's codecs",
    "protocol.protocol.CodecMap": "the inner structure of asyncpg's codecs",
    "protocol.protocol.CoreProtocol": "the inner structure of asyncpg's protocol",
    "protocol.protocol.DataCodecConfig": "the inner structure of asyncpg's codecs",
    "protocol.protocol.SCRAMAuthentication": "of asyncpg's own authentication",
    "protocol.protocol.Timer": "the inner structure of asyncpg's protocol",
    "protocol.protocol.codec_map": "the inner structure of asyncpg's codecs",
    "protocol.record.RecordItemsIterator": "the type of an iterator, which nobody names",
    "protocol.record.RecordIterator": "the type of an iterator, which nobody names",
}
# Private names that programs are known to use.
PRIVATE = [
    "connect_utils._ClientConfiguration", "connect_utils._ConnectionParameters", "connect_utils._connect_addr",
    "connect_utils._parse_connect_arguments", "connect_utils._parse_connect_dsn_and_args", "connect_utils._connect",
    "connection._ConnectionProxy", "exceptions._base.PostgresMessage", "protocol.protocol._create_record",
    "utils._mogrify", "utils._quote_ident", "utils._quote_literal",
]  # fmt: skip


def is_public(name: str) -> bool:
    return name == "exceptions._base" or not any(part.startswith("_") for part in name.split("."))


def theirs() -> list[str]:
    found = [module.name.partition(".")[2] for module in pkgutil.walk_packages(asyncpg.__path__, "asyncpg.")]
    return sorted(name for name in found if is_public(name))


def names_of(module: types.ModuleType) -> list[str]:
    """The names that a module has of its own: not what it imported from elsewhere, not its submodules."""
    names = []
    for name, value in vars(module).items():
        home = getattr(value, "__module__", None)
        elsewhere = isinstance(home, str) and not home.startswith("asyncpg")
        if not name.startswith("_") and not inspect.ismodule(value) and not elsewhere and name != "annotations":
            names.append(name)
    return names


@pytest.mark.parametrize("name", theirs())
def test_module(name: str) -> None:
    if name in NO_MODULE:
        assert importlib.util.find_spec(f"fastpg.{name}") is None
        return
    module, ours = importlib.import_module(f"asyncpg.{name}"), importlib.import_module(f"fastpg.{name}")
    names = names_of(module)
    expected = {n for n in names if f"{name}.{n}" not in NO_NAME}
    assert sorted(n for n in expected if not hasattr(ours, n)) == []
    wrong = {n for n in expected if isinstance(getattr(module, n), type) != isinstance(getattr(ours, n), type)}
    assert wrong <= {"TypeRecord"}
    # An entry of the list is there to be removed when the name is.
    assert [n for n in names if f"{name}.{n}" in NO_NAME and hasattr(ours, n)] == []


def test_the_package() -> None:
    assert set(asyncpg.__all__) <= set(fastpg.__all__)
    assert [name for name in names_of(asyncpg) if not hasattr(fastpg, name)] == []


@pytest.mark.parametrize("path", PRIVATE)
def test_private_names(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert hasattr(importlib.import_module(f"asyncpg.{module}"), name)
    assert hasattr(importlib.import_module(f"fastpg.{module}"), name)


def test_modules_are_there_without_an_import() -> None:
    code = """
        import sys
        print(*sorted(name.partition(".")[2] for name in sys.modules if name.partition(".")[0] == package.__name__))
    """
    loaded = []
    for name in ("asyncpg", "fastpg"):
        script = f"import {name} as package\n{textwrap.dedent(code)}"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        loaded.append(set(done.stdout.split()))
    assert sorted(name for name in loaded[0] - loaded[1] if is_public(name) and name not in NO_MODULE) == []


def test_the_alias_has_the_same_tree() -> None:
    assert sorted(fastpg._alias.MODULES) == sorted(set(theirs()) - set(NO_MODULE))
