# SPDX-License-Identifier: MIT
"""fastpg in the place of asyncpg: each test in an interpreter of its own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, env=environment, cwd=cwd
    )


def run(code: str, *, install: bool = True) -> str:
    head = "import fastpg; fastpg.install_as_asyncpg()\n" if install else ""
    done = python("-c", head + textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# What asyncpg itself says of these is asked of it, below.
CLASSES = [
    "Connection", "Pool", "Record", "Range", "BitString", "Point", "Path", "Type", "ServerVersion", "PostgresError",
    "UniqueViolationError", "InterfaceError", "InternalClientError", "PostgresLogMessage", "PostgresWarning",
    "InvalidCachedStatementError", "connection.ConnectionMeta", "connection._ConnectionProxy",
    "pool.PoolConnectionProxy", "pool.PoolConnectionHolder", "pool.PoolAcquireContext", "cursor.Cursor",
    "cursor.CursorIterator", "cursor.CursorFactory", "cursor.BaseCursor", "prepared_stmt.PreparedStatement",
    "transaction.Transaction", "transaction.TransactionState", "protocol.Protocol", "protocol.Record",
    "protocol.protocol.ConnectionSettings", "protocol.protocol.PreparedStatementState",
    "protocol.record.RecordDescriptor", "pgproto.pgproto.UUID", "pgproto.types.Box", "connect_utils.SSLMode",
    "connect_utils.SessionAttribute", "connect_utils._ConnectionParameters", "connresource.ConnectionResource",
    "exceptions._base.PostgresMessage", "exceptions._base.InterfaceMessage", "connect", "create_pool",
]  # fmt: skip


def test_classes_say_what_those_of_asyncpg_say() -> None:
    code = f"""
        import operator, asyncpg, asyncpg.pgproto.pgproto, asyncpg.protocol.protocol
        for name in {CLASSES!r}:
            value = operator.attrgetter(name)(asyncpg)
            kind = repr(value) if isinstance(value, type) else ""
            print(name, value.__module__, value.__name__, value.__qualname__, kind)
    """
    assert run(code).splitlines() == run(code, install=False).splitlines()


def test_before_and_without_it_they_are_ours() -> None:
    code = "import fastpg; print(fastpg.Connection, fastpg.Record, fastpg.UniqueViolationError, fastpg.pool.Pool)"
    assert "asyncpg" not in run(code, install=False)


def test_modules_are_the_same() -> None:
    code = """
        import sys, importlib
        import asyncpg, asyncpg.pool, asyncpg.protocol.protocol
        from asyncpg.exceptions import _base, UniqueViolationError
        from asyncpg.pgproto.pgproto import UUID
        from fastpg import _alias
        assert asyncpg.__name__ == "asyncpg" and asyncpg.__spec__.name == "asyncpg"
        for name in _alias.MODULES:
            ours = importlib.import_module("fastpg." + name)
            assert importlib.import_module("asyncpg." + name) is ours
            assert ours.__name__ == ours.__spec__.name == "fastpg." + name
        assert asyncpg.pool is fastpg.pool and asyncpg.exceptions._base is _base
        assert asyncpg.pgproto.pgproto.UUID is UUID is fastpg.pgproto.pgproto.UUID
        assert asyncpg.UniqueViolationError is UniqueViolationError is fastpg.UniqueViolationError
        # Taken out of sys.modules they come back, and nothing is loaded twice.
        modules, before = set(sys.modules), asyncpg
        for name in list(sys.modules):
            if name.split(".")[0] == "asyncpg":
                del sys.modules[name]
        import asyncpg
        import asyncpg.pool
        import asyncpg.protocol.record
        assert asyncpg is before and asyncpg.pool is fastpg.pool
        assert fastpg.pool.__spec__.name == "fastpg.pool" and asyncpg.__spec__.name == "asyncpg"
        fastpg.install_as_asyncpg()
        assert set(sys.modules) <= modules
    """
    run(code)


def test_what_asyncpg_does_not_have() -> None:
    code = """
        import importlib, importlib.util, sys
        for name in ("asyncpg.client", "asyncpg.protocol.session", "asyncpg.nothing"):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                assert error.name == name
            else:
                raise AssertionError(name)
        assert importlib.util.find_spec("asyncpg.cluster") is None
        import asyncpg
        assert asyncpg.PgError is fastpg.PgError, "what fastpg has beside is reached"
        assert not hasattr(asyncpg, "nothing")
        before = set(globals())
        from asyncpg import *
        assert "Path" not in globals() and "Type" not in globals() and Connection is asyncpg.Connection
        assert len(set(globals()) - before) == 282
    """
    run(code)


def test_all_and_version() -> None:
    code = """
        import importlib.metadata, importlib.util, asyncpg
        print(sorted(asyncpg.__all__), asyncpg.__version__, importlib.metadata.version("asyncpg"))
        print(importlib.metadata.version("AsyncPG"), importlib.util.find_spec("asyncpg") is not None)
    """
    assert run(code) == run(code, install=False)
    assert run("import asyncpg; print(fastpg.__version__ != asyncpg.__version__)") == "True"
    # Where asyncpg is not installed, too.
    code = """
        import importlib.metadata
        assert [d.version for d in importlib.metadata.distributions(path=[], name="asyncpg")] == ["0.32.0"]
        distribution = importlib.metadata.distribution("asyncpg")
        assert distribution.metadata["Name"] == "asyncpg" and distribution.files is None
        assert not distribution.requires
        try:
            importlib.metadata.version("asyncpg-stubs")
        except importlib.metadata.PackageNotFoundError:
            pass
        else:
            raise AssertionError
    """
    run(code)


def test_not_when_the_real_one_is_there() -> None:
    code = """
        import asyncpg, sys, fastpg
        real = asyncpg.Connection
        for _ in range(2):
            try:
                fastpg.install_as_asyncpg()
            except RuntimeError as error:
                assert "python -m fastpg.asyncpg" in str(error)
            else:
                raise AssertionError
        assert sys.modules["asyncpg"].Connection is real and fastpg.Connection.__module__ == "fastpg.connection"
    """
    run(code, install=False)


def test_pickles() -> None:
    code = """
        import asyncio, copy, pickle, asyncpg
        from asyncpg.protocol.protocol import _create_record
        record = _create_record({"a": 0, "b": 1}, (1, "x"))
        error = asyncpg.UniqueViolationError("twice")
        error.detail = "Key exists."
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            for value in (record, asyncpg.Range(1, 5), asyncpg.BitString("101"), asyncpg.Point(1, 2)):
                again = pickle.loads(pickle.dumps(value, protocol))
                assert again == value and type(again) is type(value)
            again = pickle.loads(pickle.dumps(error, protocol))
            assert type(again) is asyncpg.UniqueViolationError and again.detail == "Key exists."
        assert b"asyncpg.exceptions" in pickle.dumps(error, 0)
        # By fastpg's name, as another process without the alias writes them.
        again = pickle.loads(pickle.dumps(error, 0).replace(b"casyncpg.", b"cfastpg."))
        assert type(again) is asyncpg.UniqueViolationError
        assert copy.deepcopy(record) == record
    """
    run(code)
    written = run('import asyncpg, pickle; print(pickle.dumps(asyncpg.UniqueViolationError("twice"), 0))')
    # The real asyncpg reads what was written under its name.
    code = f"import asyncpg, pickle; assert type(pickle.loads({written})) is asyncpg.UniqueViolationError"
    run(code, install=False)


def test_logger_and_representations() -> None:
    code = """
        import asyncpg
        assert asyncpg.pool.logger.name == "asyncpg.pool"
        assert repr(asyncpg.Point(1, 2)) == "asyncpg.pgproto.types.Point((1.0, 2.0))"
        try:
            asyncpg.Record()
        except TypeError as error:
            assert str(error) == "cannot create 'asyncpg.protocol.record.Record' instances"
    """
    run(code)


PROGRAM = """\
import sys
import asyncpg
import neighbour
print(__name__, asyncpg.__version__, "fastpg" in sys.modules, sys.argv[1:], neighbour.NAME)
sys.exit(3)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    package = tmp_path / "somewhere" / "tool"
    package.mkdir(parents=True)
    (package.parent / "program.py").write_text(PROGRAM)
    (package.parent / "neighbour.py").write_text("NAME = 'neighbour'\n")
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(PROGRAM)
    return package.parent / "program.py"


@pytest.mark.parametrize("flags", [[], ["-W", "error"]])
def test_running_a_program(program: Path, flags: list[str]) -> None:
    expected = "__main__ 0.32.0 True ['--flag', 'x'] neighbour\n"
    done = python(*flags, "-m", "fastpg.asyncpg", str(program), "--flag", "x")
    assert (done.returncode, done.stdout, done.stderr) == (3, expected, "")
    done = python(*flags, "-m", "fastpg.asyncpg", "-m", "tool", "--flag", "x", cwd=program.parent)
    assert (done.returncode, done.stdout, done.stderr) == (3, expected, "")


LOOKS_AT_ITSELF = """\
import asyncpg, atexit, os, pickle, sys
class Value: pass
atexit.register(lambda: print(type(pickle.loads(pickle.dumps(Value()))) is Value))
os.chdir("/")
main = sys.modules["__main__"]
print(__file__, os.path.exists(__file__), sys.argv, __spec__, __package__, main.Value is Value, __builtins__, __doc__)
"""


def test_a_program_sees_itself_as_python_shows_it(program: Path) -> None:
    (program.parent / "itself").write_text(LOOKS_AT_ITSELF)
    with zipfile.ZipFile(program.parent / "itself.zip", "w") as file:
        file.writestr("__main__.py", PROGRAM.replace("import neighbour", "").replace("neighbour.NAME", "'zip'"))
    theirs = python("itself", "x", cwd=program.parent)
    ours = python("-m", "fastpg.asyncpg", "itself", "x", cwd=program.parent)
    assert theirs.stdout.startswith(f"{program.parent / 'itself'} True ['itself', 'x'] None None True")
    assert (ours.stdout, ours.stderr) == (theirs.stdout, theirs.stderr) and theirs.stdout.endswith("True\n")
    (program.parent / "itself").write_text("import asyncpg\n1 / 0")
    theirs = python("itself", cwd=program.parent)
    ours = python("-m", "fastpg.asyncpg", "itself", cwd=program.parent)
    assert theirs.stderr.splitlines()[1] in ours.stderr.splitlines()
    done = python("-m", "fastpg.asyncpg", "itself.zip", cwd=program.parent)
    assert (done.returncode, done.stdout, done.stderr) == (3, "__main__ 0.32.0 True [] zip\n", "")


STARTS_OTHERS = """\
import asyncpg, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor

def work(deeper=False):
    if deeper:
        process = multiprocessing.get_context(sys.argv[1]).Process(target=work)
        process.start()
        process.join()
        return process.exitcode
    return asyncpg.PgError.__name__

if __name__ == "__main__":
    with ProcessPoolExecutor(1, multiprocessing.get_context(sys.argv[1])) as pool:
        print(pool.submit(work).result(), pool.submit(work, True).result())
"""


@pytest.mark.parametrize("how", multiprocessing.get_all_start_methods())
def test_processes_that_a_program_starts(tmp_path: Path, how: str) -> None:
    (tmp_path / "program.py").write_text(STARTS_OTHERS)
    for program in (["program.py"], ["-m", "program"]):
        done = python("-m", "fastpg.asyncpg", *program, how, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "PgError 0\n"), done.stderr


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-x"], [""]])
def test_how_not_to_run_a_program(arguments: list[str]) -> None:
    done = python("-m", "fastpg.asyncpg", *arguments)
    assert done.returncode == 1 and done.stderr.startswith("usage: python -m fastpg.asyncpg")
    assert python("-m", "fastpg.asyncpg", "--help").returncode == 0


def test_under_pytest(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import asyncpg\nassert asyncpg.PgError\n")
    (tmp_path / "test_it.py").write_text("import asyncpg\ndef test():\n    import fastpg\n    assert asyncpg.PgError\n")
    done = python("-m", "pytest", "-q", "-p", "fastpg.asyncpg", "-p", "no:cacheprovider", str(tmp_path))
    assert done.returncode == 0, done.stdout
