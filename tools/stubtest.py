# SPDX-License-Identifier: MIT
"""Compare each stub of a compiled module with the module itself, by mypy's stubtest.

An object of a Cython extension has no signature to compare with (embedsignature is off), so what is compared is which
names, classes and members exist.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    modules = []
    for stub in sorted((ROOT / "fastpg").rglob("*.pyi")):
        if stub.with_suffix(".pyx").exists():
            modules.append(".".join(stub.relative_to(ROOT).with_suffix("").parts))
    command = [sys.executable, "-m", "mypy.stubtest", "--ignore-missing-stub", "--concise"]
    command += ["--ignore-disjoint-bases", "--mypy-config-file", "pyproject.toml"]
    command += ["--allowlist", "tools/stubtest_allowed.txt", "--ignore-unused-allowlist"]
    return subprocess.run([*command, *modules], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
