# SPDX-License-Identifier: MIT
"""Run a program that imports asyncpg with fastpg in its place, unchanged.

    python -m fastpg.asyncpg program.py arguments
    python -m fastpg.asyncpg -m module arguments

Tests: `pytest -p fastpg.asyncpg`.
"""

from __future__ import annotations

import os
import runpy
import sys

from fastpg._alias import install

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
    install()
    sys.argv[:] = arguments
    if module is not None:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        if not getattr(sys.flags, "safe_path", False):
            # As Python does: the program's directory instead of ours.
            sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


def pytest_load_initial_conftests() -> None:
    """pytest's hook: before the tests' own modules are imported."""
    install()


if __name__ == "__main__":
    main(sys.argv[1:])
