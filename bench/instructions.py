# SPDX-License-Identifier: MIT
"""User-space instructions of one unit of work, by callgrind: the same on every machine and under every load.

    python -m bench.instructions [work ...] [--dsn DSN]
    python -m bench.instructions atomic --functions 40 [--subject fastpg]

Kernel time is not in it. --functions prints where they go: so many functions, by what is spent in them, with what is
spent in them and below them (which means nothing of a function that calls itself).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import callgrind
from bench.server import prepared_server
from bench.works import WORKS

SUBJECTS = ("asyncpg", "psycopg", "fastpg", "floor", "pipelined")  # the slowest first


def measure(works: list[str], dsn: str, subjects: tuple[str, ...] = SUBJECTS) -> dict[str, dict[str, float]]:
    """work -> subject -> instructions a unit; of what can be counted."""
    steps = {work: WORKS[work].counted for work in works if WORKS[work].counted}
    counts: dict[str, dict[str, float]] = {work: {} for work in steps}
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2) as pool:
        pending = [(name, pool.submit(callgrind.run, name, dsn, steps, Path(directory))) for name in subjects]
        for name, future in pending:
            for work, path in future.result().items():
                counts[work][name] = callgrind.total(path) / steps[work] / WORKS[work].units
    return counts


def print_functions(work: str, subject: str, dsn: str, count: int) -> None:
    """Where the instructions of one work go."""
    units = WORKS[work].counted * WORKS[work].units
    with tempfile.TemporaryDirectory() as directory:
        files = callgrind.run(subject, dsn, {work: WORKS[work].counted}, Path(directory))
        if work not in files:
            raise SystemExit(f"{subject} does not do {work}")
        functions = callgrind.Functions(files[work])
    print(f"{work} by {subject}: {sum(functions.own.values()) / units:,.0f} instructions a {WORKS[work].unit}")
    print(f"{'itself':>9}{'and below':>11}{'calls':>8}")
    for name, own in functions.own.most_common(count):
        print(f"{own / units:9,.0f}{functions.below[name] / units:11,.0f}{functions.calls[name] / units:8.2f}  {name}")


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", choices=[*WORKS, []], help="all when none is named")
    parser.add_argument("--dsn", help="a server that trusts us; without it one is started")
    parser.add_argument("--functions", type=int, metavar="COUNT", help="print where the instructions go")
    parser.add_argument("--subject", default="fastpg", choices=SUBJECTS, help="of --functions")
    options = parser.parse_args()
    if not callgrind.available():
        print("valgrind is needed to count instructions, and is not installed")
        return 1
    works = options.work or list(WORKS)
    with prepared_server(options.dsn) as dsn:
        if options.functions:
            for work in works:
                print_functions(work, options.subject, dsn, options.functions)
            return 0
        counts = measure(works, dsn)
    print(f"{'user instructions':32}" + "".join(f"{name:>12}" for name in SUBJECTS))
    for work, costs in counts.items():
        cells = [f"{costs[name]:12,.0f}" if name in costs else f"{'':12}" for name in SUBJECTS]
        print(f"{work + ', a ' + WORKS[work].unit:32}" + "".join(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
