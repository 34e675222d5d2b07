# SPDX-License-Identifier: MIT
"""Run a program that imports asyncpg with fastpg in its place, unchanged.

    python -m fastpg.asyncpg program.py arguments
    python -m fastpg.asyncpg -m module arguments

Tests: `pytest -p fastpg.asyncpg`.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import os
import pkgutil
import runpy
import sys
import types

from fastpg._alias import install_everywhere

__all__ = ["main"]

USAGE = "usage: python -m fastpg.asyncpg (program.py | -m module) [arguments]"


def main(arguments: list[str]) -> None:
    """Install fastpg as asyncpg and run a program; its exit is ours."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)
        return
    module = None
    if arguments[:1] == ["-m"]:
        module, arguments = arguments[1] if len(arguments) > 1 else "", arguments[1:]
    if not arguments or not (module or arguments[0]) or (module is None and arguments[0].startswith("-")):
        sys.exit(USAGE)
    install_everywhere()
    sys.argv[:] = arguments
    if module is not None:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        if not getattr(sys.flags, "safe_path", False):
            # As Python does: the program's directory instead of ours.
            sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        run_file(arguments[0])


def run_file(path: str) -> None:
    """Run a program as Python runs it: its __file__ outlives os.chdir(), its sys.argv[0] is as it was given."""
    if pkgutil.get_importer(path) is not None or path.endswith(".pyc"):
        runpy.run_path(path, run_name="__main__")  # a directory, a zip file
        return
    path = os.path.abspath(path)
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    code = loader.source_to_code(loader.get_data(path), path)
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __cached__=None, __file__=path, __loader__=loader)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def pytest_load_initial_conftests() -> None:
    """pytest's hook: before the tests' own modules are imported."""
    install_everywhere()


if __name__ == "__main__":
    main(sys.argv[1:])
