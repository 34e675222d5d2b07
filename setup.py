# SPDX-License-Identifier: MIT
"""Build every fastpg/**/*.pyx as an extension of its own.

Environment:
  FASTPG_DEBUG=1      -O0 -g3, None checks on
  FASTPG_SANITIZE=1   AddressSanitizer and UBSan (tools/sanitize.py builds and runs it)
  FASTPG_FUZZ=1       tools/fuzz/driver.pyx as well
  FASTPG_ONLY=glob    only the modules whose dotted name matches
  FASTPG_COVERAGE=1   line tracing for coverage's Cython plugin
"""

import os
import sys
from fnmatch import fnmatch
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
DEBUG = os.environ.get("FASTPG_DEBUG") == "1"
SANITIZE = os.environ.get("FASTPG_SANITIZE") == "1"
FUZZ = os.environ.get("FASTPG_FUZZ") == "1"
COVERAGE = os.environ.get("FASTPG_COVERAGE") == "1"
ONLY = os.environ.get("FASTPG_ONLY", "*")

HEADERS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "fastpg/include").glob("*.h"))
# C sources that belong to one module.
SOURCES = {
    "fastpg.simd": ["fastpg/include/swap.c"],
    "fastpg.protocol.record": ["fastpg/include/record.c", "fastpg/include/record_iter.c"],
}

DIRECTIVES = {
    "language_level": 3,
    # Without it, value[1] of a list or tuple is read unchecked, and users give lists of any length.
    "boundscheck": True,
    "wraparound": False,
    "cdivision": True,
    "nonecheck": DEBUG,
    "initializedcheck": DEBUG,
    "auto_pickle": False,
    "embedsignature": False,
    "freethreading_compatible": True,
    "linetrace": COVERAGE,
}

macros: list[tuple[str, str | None]] = []
link_args: list[str] = []
if sys.platform == "win32":
    compile_args = ["/Od"] if DEBUG else ["/O2"]
elif DEBUG:
    compile_args = ["-O0", "-g3", "-fno-strict-aliasing"]
else:
    compile_args = ["-O2", "-fno-strict-aliasing", "-fvisibility=hidden", "-g0", "-Wno-unused-function"]
if SANITIZE:
    # Python's own flags make signed overflow wrap; here it is an error.
    compile_args += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-wrapv"]
    # Unoptimised, it compiles in half the time, and no undefined behaviour is optimised away before it is seen.
    compile_args += ["-fno-omit-frame-pointer", "-g1", "-O0"]
    link_args += ["-fsanitize=address,undefined"]
if COVERAGE:
    macros += [("CYTHON_TRACE", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]


def extensions() -> list[Extension]:
    """One Extension a .pyx file, rebuilt when a header changes."""
    result = []
    paths = sorted((ROOT / "fastpg").rglob("*.pyx")) + sorted((ROOT / "tools").rglob("*.pyx") if FUZZ else [])
    for path in paths:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not fnmatch(name, ONLY):
            continue
        result.append(
            Extension(
                name,
                [str(path.relative_to(ROOT)), *SOURCES.get(name, [])],
                include_dirs=["fastpg/include"],
                depends=[*HEADERS, "setup.py"],
                define_macros=macros,
                extra_compile_args=compile_args,
                extra_link_args=link_args,
            )
        )
    return result


def outdated(modules: list[Extension]) -> bool:
    """Whether this file, and with it the directives, changed since a module was translated."""
    generated = [(ROOT / module.sources[0]).with_suffix(".c") for module in modules]
    changed = Path(__file__).stat().st_mtime
    return any(path.exists() and path.stat().st_mtime < changed for path in generated)


MODULES = extensions()
setup(
    ext_modules=cythonize(
        MODULES,
        force=outdated(MODULES) or None,
        compiler_directives=DIRECTIVES,
        nthreads=int(os.environ.get("FASTPG_JOBS", os.cpu_count() or 1)) if sys.platform == "linux" else 0,
        show_all_warnings=False,
    )
)
