# SPDX-License-Identifier: MIT
"""The names that programs import, module by module, and what they are."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import subprocess
import sys
from types import ModuleType
from typing import Any

import asyncpg
import pytest

import fastpg
from tests.contract import covers, differs
from tests.sidebyside import Diary, compare_now

EXPECTED = {
    "": """connect create_pool Pool Record Connection Range BitString Point Path Polygon Box Line LineSegment Circle
        Type Attribute ServerVersion __version__ compat connect_utils connection connresource cursor exceptions
        introspection pgproto pool prepared_stmt protocol serverversion transaction types utils""",
    "connection": """connect Connection ConnectionMeta _ConnectionProxy LoggedQuery ServerCapabilities _StatementCache
        _detect_server_capabilities _check_record_class _uid""",
    "pool": """create_pool Pool PoolAcquireContext PoolConnectionProxy PoolConnectionProxyMeta PoolConnectionHolder
        logger""",
    "exceptions._base": """PostgresMessage PostgresMessageMeta InterfaceMessage InterfaceError ClientConfigurationError
        UnsupportedClientFeatureError UnsupportedServerFeatureError InterfaceWarning InternalClientError ProtocolError
        TargetServerAttributeNotMatched OutdatedSchemaCacheError PostgresLogMessage FatalPostgresError
        UnknownPostgresError PostgresError""",
    "protocol": "Protocol Record NO_TIMEOUT BUILTIN_TYPE_NAME_MAP protocol record",
    "protocol.protocol": """ConnectionSettings PreparedStatementState RecordDescriptor BUILTIN_TYPE_OID_MAP
        ENCODINGS_MAP ARRAY_TYPES SYNC_MESSAGE FLUSH_MESSAGE _create_record Protocol Record NO_TIMEOUT
        BUILTIN_TYPE_NAME_MAP""",
    "protocol.record": "Record RecordDescriptor",
    "types": "Type Attribute Range BitString Point Path Polygon Box Line LineSegment Circle ServerVersion",
    "cursor": "CursorFactory BaseCursor CursorIterator Cursor",
    "transaction": "Transaction TransactionState ISOLATION_LEVELS ISOLATION_LEVELS_BY_VALUE",
    "prepared_stmt": "PreparedStatement",
    "connect_utils": """SSLMode SSLNegotiation SessionAttribute _ConnectionParameters _ClientConfiguration _connect
        _parse_connect_dsn_and_args _parse_connect_arguments _connect_addr""",
    "utils": "_quote_ident _quote_literal _mogrify",
    "pgproto.pgproto": """UUID pg_UUID timedelta datetime infinity_datetime negative_infinity_datetime infinity_date
        negative_infinity_date""",
    "pgproto.types": "BitString Point Path Polygon Box Line LineSegment Circle",
    "introspection": """INTRO_LOOKUP_TYPES INTRO_LOOKUP_TYPES_13 TYPE_BY_NAME TypeRecord is_scalar_type is_domain_type
        is_composite_type SCALAR_TYPE_KINDS""",
    "serverversion": "split_server_version_string",
    "compat": "wait_for timeout get_pg_home_directory markcoroutinefunction SYSTEM StrEnum wait_closed",
}
# Of asyncpg's compiled or private inside: nothing of it can be used from Python, or stands for how asyncpg works.
ABSENT = {
    "connection": "_Atomic _Callback _StatementCacheEntry",
    "exceptions._base": "DataError",
    "protocol.protocol": """BaseProtocol CoreProtocol Codec CodecMap DataCodecConfig SCRAMAuthentication Timer
        codec_map""",
    "connect_utils": "TLSUpgradeProto _cancel _create_ssl_connection target_attrs_check",
    "pgproto.pgproto": "BufferError ReadBuffer WriteBuffer CodecContext",
}


def module(package: ModuleType, name: str) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{name}".rstrip("."))


def sort(value: Any) -> str:
    """What sort of thing a name stands for."""
    for sort, test in (("module", inspect.ismodule), ("class", inspect.isclass), ("callable", callable)):
        if test(value):
            return sort
    return type(value).__name__


@covers(
    "names: package", "names: connection", "names: pool", "names: exceptions", "names: protocol", "names: types",
    "names: cursor", "names: transaction", "names: prepared_stmt", "names: connect_utils", "names: utils",
    "names: pgproto.pgproto", "names: pgproto.types", "names: introspection", "names: serverversion", "names: compat",
    "tools: imports from pgproto", "tools: three paths of Record", "tools: exceptions._base",
    "tools: connect_utils",
)  # fmt: skip
@pytest.mark.parametrize("name", EXPECTED)
def test_names(name: str) -> None:
    def scenario(diary: Diary) -> None:
        for attribute in EXPECTED[name].split():
            value = getattr(module(diary.driver, name), attribute)
            # TypeRecord is a protocol there, and a mapping here: it only says what a type checker may expect.
            diary.note(name, attribute, "is here" if attribute == "TypeRecord" else sort(value))

    compare_now(scenario)


@covers("names: cluster")
@differs("Modules and names that are not there")
def test_absent() -> None:
    for name, absent in ABSENT.items():
        for attribute in absent.split():
            assert hasattr(module(asyncpg, name), attribute), attribute
            assert not hasattr(module(fastpg, name), attribute), attribute
    for name in ("cluster", "_testbase"):
        assert importlib.util.find_spec(f"asyncpg.{name}") is not None
        assert importlib.util.find_spec(f"fastpg.{name}") is None


@covers("names: package")
@differs("Names beside")
def test_all() -> None:
    assert len(asyncpg.__all__) == 281
    assert set(asyncpg.__all__) < set(fastpg.__all__)
    code = """import fastpg; fastpg.install_as_asyncpg(); import asyncpg
print(*asyncpg.__all__, hasattr(asyncpg, 'PgError'))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    *names, reached = done.stdout.split()
    assert sorted(names) == sorted(asyncpg.__all__) and reached == "True"


def test_names_that_modules_offer() -> None:
    # Packages that offer asyncpg's names beside their own put these together.
    offering = [name for name in EXPECTED if hasattr(module(asyncpg, name), "__all__")]
    assert "exceptions._base" in offering and "types" in offering
    for name in [*offering, "exceptions"]:
        theirs, ours = (module(driver, name).__all__ for driver in (asyncpg, fastpg))
        assert type(ours) is type(theirs) is tuple, name
        assert set(theirs) <= set(ours), name


@differs("Typed")
def test_typed() -> None:
    from pathlib import Path

    for package, typed in ((asyncpg, False), (fastpg, True)):
        assert (Path(package.__file__).parent / "py.typed").exists() is typed


@covers("names: connect_utils")
def test_enumerations() -> None:
    def scenario(diary: Diary) -> None:
        utils = diary.driver.connect_utils
        for name in ("SSLMode", "SSLNegotiation", "SessionAttribute"):
            enum = getattr(utils, name)
            diary.note(name, [(member.name, member.value, str(member), repr(member)) for member in enum])
        for word in ("verify-full", "prefer", "nonsense", utils.SSLMode.require):
            diary.try_now(f"parse {word}", lambda word=word: utils.SSLMode.parse(word))
        diary.note(utils._ConnectionParameters.__name__, utils._ConnectionParameters._fields)
        diary.note(utils._ClientConfiguration._fields)

    compare_now(scenario)


@covers("names: transaction")
def test_isolation_levels() -> None:
    def scenario(diary: Diary) -> None:
        transaction = diary.driver.transaction
        diary.note(sorted(transaction.ISOLATION_LEVELS), sorted(transaction.ISOLATION_LEVELS_BY_VALUE.items()))
        diary.note([(state.name, state.value) for state in transaction.TransactionState])

    compare_now(scenario)


@covers("names: utils", "names: serverversion")
def test_functions() -> None:
    def scenario(diary: Diary) -> None:
        for text in ('a"b', "", "Ω", "x.y"):
            diary.note(diary.driver.utils._quote_ident(text), diary.driver.utils._quote_literal(text))
        diary.note(diary.driver.utils._quote_literal("it's"))
        for text in ("15.18", "PostgreSQL 9.6.3", "14beta2", "18rc1", "16devel", "10.0.0", "15.18 (Debian)", "12.3-yb"):
            diary.try_now(text, lambda text=text: diary.driver.serverversion.split_server_version_string(text))
        diary.try_now("nonsense", lambda: diary.driver.serverversion.split_server_version_string("nonsense"))

    compare_now(scenario)


@differs("Backslashes in literals")
def test_backslashes() -> None:
    assert asyncpg.utils._quote_literal("a\\b") == "'a\\b'"
    assert fastpg.utils._quote_literal("a\\b") == "E'a\\\\b'"


# Of servers before 12, and of 19.
OTHER_VERSIONS = {"abstime", "opaque", "reltime", "smgr", "tinterval", "oid8", "regdatabase"}


@covers("names: protocol")
def test_tables() -> None:
    ours, theirs = fastpg.protocol.protocol, asyncpg.protocol.protocol
    missing = theirs.BUILTIN_TYPE_NAME_MAP.items() - ours.BUILTIN_TYPE_NAME_MAP.items()
    assert {name for name, _ in missing} <= OTHER_VERSIONS
    missing = theirs.BUILTIN_TYPE_OID_MAP.items() - ours.BUILTIN_TYPE_OID_MAP.items()
    assert {name for _, name in missing} <= OTHER_VERSIONS
    assert set(theirs.ARRAY_TYPES) <= set(ours.ARRAY_TYPES)
    assert (ours.SYNC_MESSAGE, ours.FLUSH_MESSAGE) == (theirs.SYNC_MESSAGE, theirs.FLUSH_MESSAGE)
    assert set(theirs.ENCODINGS_MAP) <= set(ours.ENCODINGS_MAP)


@covers("names: introspection")
def test_kinds_of_types() -> None:
    def scenario(diary: Diary) -> None:
        of = diary.driver.introspection
        diary.note(of.SCALAR_TYPE_KINDS)
        for kind in (b"b", b"d", b"e", b"c", b"r", b"m"):
            row = {"kind": kind, "elemtype": None}
            diary.note(kind, of.is_scalar_type(row), of.is_domain_type(row), of.is_composite_type(row))
        diary.note(of.is_scalar_type({"kind": b"b", "elemtype": 23}))

    compare_now(scenario)


@covers("connect(): signature", "Pool: create_pool")
@pytest.mark.parametrize("name", ["connect", "create_pool"])
def test_signatures(name: str) -> None:
    """Names, order, kinds and defaults; fastpg has more, all by keyword."""

    def parameters(package: ModuleType) -> list[tuple[str, str, Any]]:
        found = inspect.signature(getattr(package, name)).parameters.values()
        # timeout=None is the limit of 60 seconds, where connect_timeout gives none.
        return [(p.name, p.kind.name, getattr(p.default, "__name__", p.default)) for p in found if p.name != "timeout"]

    theirs, ours = parameters(asyncpg), parameters(fastpg)
    assert [parameter for parameter in ours if parameter in theirs] == theirs
    assert all(kind in ("KEYWORD_ONLY", "VAR_KEYWORD") for p, kind, _ in ours if p not in {t[0] for t in theirs})
