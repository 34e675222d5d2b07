# SPDX-License-Identifier: MIT
"""Run bench.drive under callgrind, and read what it has written.

callgrind writes a file at every call of fastpg_bench_mark (bench/mark.pyx), with what was counted since the last: the
files with even numbers are the measured regions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

POSITIONS = frozenset("0123456789+-*")  # what a line of costs begins with
NAME = re.compile(r"\((\d+)\)(?: (.*))?$")


def available() -> bool:
    """Whether valgrind is here."""
    return shutil.which("valgrind") is not None


def run(subject: str, dsn: str, works: dict[str, int], directory: Path) -> dict[str, Path]:
    """Do the works with so many steps each: work -> the file with what its steps cost. Raises SystemExit."""
    out = directory / f"callgrind.{subject}"
    command = [
        "valgrind", "--tool=callgrind", "--dump-line=no", "--dump-before=fastpg_bench_mark",
        f"--callgrind-out-file={out}", sys.executable, "-m", "bench.drive", subject, dsn,
        *[f"{work}:{steps}" for work, steps in works.items()],
    ]  # fmt: skip
    # The same hashes in every process.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return {work: Path(f"{out}.{2 * i + 2}") for i, work in enumerate(done.stdout.split())}


def total(path: Path) -> int:
    """All instructions of a region."""
    found = re.search(r"^summary: (\d+)", path.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{path}: callgrind has written no summary")
    return int(found[1])


class Functions:
    """What the functions of a region cost. own: instructions in the function itself; below: and in what it calls."""

    def __init__(self, path: Path) -> None:
        self.own: Counter[str] = Counter()
        self.below: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._names: dict[str, dict[str, str]] = {"object": {}, "function": {}}
        self._read(path)

    def _name(self, kind: str, text: str) -> str:
        found = NAME.match(text)
        assert found is not None, text
        if found[2] is not None:
            self._names[kind][found[1]] = found[2]
        return self._names[kind][found[1]]

    def _read(self, path: Path) -> None:
        library = called_library = function = called = ""
        of_call = False
        for line in path.read_text().splitlines():
            key, equals, value = line.partition("=")
            if of_call:  # the cost of the calls in the line before
                self.below[function] += int(line.split()[1])
                of_call = False
            elif equals and key == "ob":
                library = self._name("object", value)
            elif equals and key == "cob":
                called_library = self._name("object", value)
            elif equals and key == "fn":
                function, called_library = _label(self._name("function", value), library), ""
            elif equals and key == "cfn":
                called = _label(self._name("function", value), called_library or library)
            elif equals and key == "calls":
                self.calls[called] += int(value.split()[0])
                of_call, called_library = True, ""
            elif line[:1] in POSITIONS and function:
                self.own[function] += int(line.split()[1])
                self.below[function] += int(line.split()[1])


def _label(function: str, library: str) -> str:
    # Without callgrind's count of the recursion depth, and without the path and the platform's tag.
    return f"{re.sub(chr(39) + r'[0-9]+$', '', function)} [{Path(library).name.split('.')[0]}]"
