# SPDX-License-Identifier: MIT
"""Measure everything, print it, store it.

    python -m bench [work ...] [--quick] [--check] [--store FILE] [--dsn DSN]

Time: the subjects take turns in short slices on one event loop. Instructions: by callgrind, where valgrind is. Both of
fastpg, its peers and the floors; see bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from bench import callgrind, instructions, threads, timing, wire
from bench.drivers import SUBJECTS, Driver, driver
from bench.limits import failures
from bench.report import print_all
from bench.results import DIRECTORY, Result, about
from bench.server import new_event_loop, prepared_server
from bench.works import WORKS

SLICES, SECONDS = 11, 0.15
QUICK_SLICES, QUICK_SECONDS = 5, 0.02
QUICK_COUNTED = ("fetchval", "pool10", "pipeline", "atomic", "fetchmany", "executemany", "connect", "wide", "floats")


def installed(dsn: str) -> list[tuple[str, Driver]]:
    """The subjects that are here; says which are not."""
    found = []
    for name in SUBJECTS:
        try:
            found.append((name, driver(name, dsn)))
        except ImportError as error:
            print(f"without {name}: {error}", file=sys.stderr)
    return found


async def measure_times(works: list[str], dsn: str, slices: int, seconds: float) -> dict[str, Any]:
    """work -> slices."""
    import fastpg

    admin = await fastpg.connect(dsn)
    drivers = installed(dsn)
    taken = {}
    for work in works:
        print(f"  {work}", end="", file=sys.stderr, flush=True)
        taken[work] = await timing.measure(WORKS[work], drivers, admin, slices, seconds)
    print(file=sys.stderr)
    await admin.close()
    return taken


def measure(works: list[str], dsn: str, own_server: bool, quick: bool, count: bool) -> Result:
    """All of it."""
    result = Result(about(quick))
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    slices, seconds = (QUICK_SLICES, QUICK_SECONDS) if quick else (SLICES, SECONDS)
    print("time:", file=sys.stderr)
    result.slices = loop.run_until_complete(measure_times(works, dsn, slices, seconds))
    result.counts = loop.run_until_complete(wire.measure(dsn, own_server))
    result.threads = threads.measure(dsn)
    if count and callgrind.available():
        print("instructions", file=sys.stderr)
        counted = [work for work in works if not quick or work in QUICK_COUNTED]
        subjects = ("asyncpg", "fastpg", "floor", "pipelined") if quick else instructions.SUBJECTS
        result.instructions = instructions.measure(counted, dsn, subjects)
    elif count:
        print("valgrind is not installed: no instructions", file=sys.stderr)
    return result


def main() -> int:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", choices=[*WORKS, []], help="all when none is named")
    parser.add_argument("--quick", action="store_true", help="about a minute: shorter slices, fewer instructions")
    parser.add_argument("--check", action="store_true", help="fail when a limit is missed or was not measured")
    parser.add_argument("--no-instructions", action="store_true")
    parser.add_argument("--dsn", help="a server that trusts us, to make the schema `bench` in; or one is started")
    parser.add_argument("--store", type=Path, help="a file; else bench/results/COMMIT.json when all was measured")
    options = parser.parse_args()
    works = options.work or list(WORKS)
    with prepared_server(options.dsn) as dsn:
        result = measure(works, dsn, options.dsn is None, options.quick, not options.no_instructions)
    print_all(result)
    path = options.store
    if path is None and not options.work and not options.quick:
        path = DIRECTORY / f"{result.about['commit'] or 'unknown'}.json"
    if path is not None:
        result.store(path)
        print(f"stored in {path}")
    missed = failures(result)
    if options.check and missed:
        print(f"{len(missed)} limits missed or not measured", file=sys.stderr)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
