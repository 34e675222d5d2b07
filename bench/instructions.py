# SPDX-License-Identifier: MIT
"""User-space instructions of one unit of work, by callgrind: the same on every machine and under every load.

    python -m bench.instructions [work ...] [--check] [--dsn DSN] [--store FILE]

Each subject runs N and M times under `valgrind --tool=callgrind`; (I(M) - I(N)) / (M - N) is the cost of one. Kernel
time is not in it. --check fails when a limit of LIMITS is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.workloads import QUERIES, ROWS
from tools.pgserver import Server, find_binaries

# work -> (N, M, what one unit is divided by, its name)
SIZES = {"fetchval": (500, 2500, 1, "query"), "wide": (1, 3, ROWS, "row"), "floats": (1, 3, ROWS, "row"),
         "arrays": (1, 5, ROWS, "pair"), "pipeline": (4, 24, QUERIES, "query"),
         "atomic": (4, 24, QUERIES, "query")}  # fmt: skip
SUBJECTS = ("floor", "fastpg", "asyncpg")
# (work, the other subject, "ratio" or "difference", at most)
LIMITS = [
    ("wide", "asyncpg", "ratio", 0.5),
    ("wide", "floor", "ratio", 1.5),
    ("floats", "asyncpg", "ratio", 0.65),
    ("floats", "floor", "ratio", 1.5),
    ("fetchval", "floor", "difference", 9000),
]


def run(name: str, work: str, times: int, dsn: str) -> int:
    """Instructions of a whole process."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m", "bench.drive",
               name, work, str(times), dsn]  # fmt: skip
    # The same hashes in every process: what the imports cost does not change with them.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return int(found[1])


def measure(works: list[str], dsn: str) -> dict[str, dict[str, float]]:
    """work -> subject -> instructions of one row or query."""
    with ThreadPoolExecutor(2) as pool:
        pending = {
            (work, name, times): pool.submit(run, name, work, times, dsn)
            for work in works
            for name in SUBJECTS
            for times in SIZES[work][:2]
        }
        counts = {key: future.result() for key, future in pending.items()}
    return {
        work: {
            name: (counts[work, name, SIZES[work][1]] - counts[work, name, SIZES[work][0]])
            / (SIZES[work][1] - SIZES[work][0])
            / SIZES[work][2]
            for name in SUBJECTS
        }
        for work in works
    }


def verdicts(result: dict[str, dict[str, float]]) -> list[tuple[str, float, float]]:
    """(what, measured, at most) of each limit that was measured."""
    found = []
    for work, other, how, limit in LIMITS:
        if work in result:
            ours, theirs = result[work]["fastpg"], result[work][other]
            value = ours / theirs if how == "ratio" else ours - theirs
            found.append((f"{work}: fastpg {'/' if how == 'ratio' else '-'} {other}", value, limit))
    return found


def versions() -> dict[str, str]:
    """What was measured."""
    import fastpg

    own = {"python": platform.python_version(), "machine": platform.machine(), "fastpg": fastpg.__version__}
    return own | {name: version(name) for name in ("asyncpg", "uvloop", "cython")}


def report(result: dict[str, dict[str, float]]) -> bool:
    """Print the tables; true when every limit holds."""
    print(f"{'user instructions':24}" + "".join(f"{name:>12}" for name in SUBJECTS))
    for work, costs in result.items():
        print(f"{work + ', a ' + SIZES[work][3]:24}" + "".join(f"{costs[name]:12,.0f}" for name in SUBJECTS))
    good = True
    for what, value, limit in verdicts(result):
        holds = value <= limit
        good &= holds
        print(f"{what:32} {value:12,.2f}  limit {limit:,}  {'ok' if holds else 'MISSED'}")
    return good


def main() -> int:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", choices=[*SIZES, []], help="all when none is named")
    parser.add_argument("--dsn", help="a server that trusts us; without it one is started")
    parser.add_argument("--check", action="store_true", help="fail when a limit is missed")
    parser.add_argument("--store", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is needed to count instructions, and is not installed")
        return 1
    works = options.work or list(SIZES)
    if options.dsn:
        result = measure(works, options.dsn)
    else:
        with Server(find_binaries()) as server:
            result = measure(works, server.dsn)
    good = report(result)
    if options.store:
        stored: dict[str, Any] = {"versions": versions(), "instructions": result}
        options.store.write_text(json.dumps(stored, indent=2) + "\n")
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
