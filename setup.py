# SPDX-License-Identifier: MIT
"""Build every fastpg/**/*.pyx as an extension of its own.

Environment:
  FASTPG_DEBUG=1      -O0 -g3, bounds and None checks on
  FASTPG_SANITIZE=1   AddressSanitizer and UBSan (run with libasan preloaded)
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
    "boundscheck": DEBUG,
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
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1", "-O1"]
    compile_args += flags
    link_args += flags[:1]
if COVERAGE:
    macros += [("CYTHON_TRACE", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]


def extensions() -> list[Extension]:
    """One Extension a .pyx file, rebuilt when a header changes."""
    result = []
    for path in sorted((ROOT / "fastpg").rglob("*.pyx")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not fnmatch(name, ONLY):
            continue
        result.append(
            Extension(
                name,
                [str(path.relative_to(ROOT)), *SOURCES.get(name, [])],
                include_dirs=["fastpg/include"],
                depends=HEADERS,
                define_macros=macros,
                extra_compile_args=compile_args,
                extra_link_args=link_args,
            )
        )
    return result


setup(
    ext_modules=cythonize(
        extensions(),
        compiler_directives=DIRECTIVES,
        nthreads=int(os.environ.get("FASTPG_JOBS", os.cpu_count() or 1)) if sys.platform == "linux" else 0,
        show_all_warnings=False,
    )
)
