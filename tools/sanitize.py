# SPDX-License-Identifier: MIT
"""Build the package with AddressSanitizer and UBSan, beside the ordinary build, and run something under it.

python -m tools.sanitize test [arguments of pytest]     the tests that need no server
python -m tools.sanitize fuzz [arguments]               tools/fuzz
python -m tools.sanitize run command ...                anything

Whatever a sanitizer reports ends the process. Without a compiler that has the sanitizers, a notice is printed, `test`
does nothing, and the others run on an ordinary build.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Of these, the tests that need no server. What is left out has nothing to do with compiled code.
TESTS = ["tests/protocol", "tests/codecs", "tests/client", "tests/pool", "tests/test_simd.py", "tests/test_dsn.py",
         "tests/test_types.py", "tests/test_exceptions.py"]  # fmt: skip
#: Exit status of a process that a sanitizer has ended.
REPORTED = 86


def runtimes() -> list[str]:
    """The shared runtimes of the sanitizers, or [] when the compiler has none."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    found = []
    for name in ("libasan.so", "libubsan.so"):
        try:
            command = [*compiler, f"-print-file-name={name}"]
            path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return []
        if not os.path.isabs(path) or not os.path.exists(path):
            return []
        found.append(os.path.realpath(path))
    return found


def build(sanitized: bool) -> Path:
    """Compile what changed; the directory to put in front of sys.path."""
    tag = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    home = ROOT / "build" / ("sanitize" if sanitized else "fuzz") / tag
    library = home / "lib"
    environment = os.environ | {"FASTPG_SANITIZE": str(int(sanitized)), "FASTPG_FUZZ": "1"}
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(library)]
    command += ["--build-temp", str(home / "temp"), "--parallel", str(os.cpu_count() or 1)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    # A module that is gone from the sources must not be imported from here.
    for path in library.rglob("*.py"):
        if not (ROOT / path.relative_to(library)).exists():
            path.unlink()
    return library


def environment(library: Path, libraries: list[str]) -> dict[str, str]:
    """The environment of a process that imports the build in `library`."""
    result = os.environ | {"PYTHONPATH": os.pathsep.join([str(library), str(ROOT)]), "PYTHONSAFEPATH": "1"}
    if libraries:
        result |= {
            "LD_PRELOAD": " ".join(libraries),
            # Python's own allocator would hide overruns; what the interpreter leaks at exit is not ours.
            "PYTHONMALLOC": "malloc",
            "ASAN_OPTIONS": f"detect_leaks=0:exitcode={REPORTED}:allocator_may_return_null=1:"
            "max_allocation_size_mb=1024:hard_rss_limit_mb=3000",
            "UBSAN_OPTIONS": f"print_stacktrace=1:halt_on_error=1:exitcode={REPORTED}",
        }
    return result


def command_of(task: str, arguments: list[str], library: Path) -> list[str]:
    if task == "run":
        return arguments
    if task == "fuzz":
        return [sys.executable, str(ROOT / "tools/fuzz/__main__.py"), *arguments]
    # What is imported first stays: the tests put the sources, with the ordinary build, in front of sys.path.
    first = f"import sys; sys.path.insert(0, {str(library)!r}); import fastpg, pytest; sys.exit(pytest.main())"
    command = [sys.executable, "-c", first, "-q", "-p", "no:cacheprovider", "--hypothesis-profile=sanitize"]
    return [*command, "--no-server", *(arguments or TESTS)]


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in ("test", "fuzz", "run"):
        print(__doc__, file=sys.stderr)
        return 2
    task, arguments = sys.argv[1], sys.argv[2:]
    libraries = runtimes()
    if not libraries:
        done = "left out" if task == "test" else "done on an ordinary build"
        print(f"NOTICE: this compiler has no AddressSanitizer and UBSan: `{task}` is {done}.", flush=True)
        if task == "test":
            return 0
    library = build(bool(libraries))
    command = command_of(task, arguments, library)
    status = subprocess.run(command, cwd=ROOT, env=environment(library, libraries)).returncode
    if status == REPORTED:
        print(f"A sanitizer has ended {' '.join(command[:4])} ...: see its report above.", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
