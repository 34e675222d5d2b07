# SPDX-License-Identifier: MIT
"""Time beside time: the subjects take turns in short slices on one event loop, and are compared slice by slice.

    python -m bench.run [work ...] [--slices 11] [--seconds 0.15] [--dsn DSN] [--store FILE]

Machines drift by a factor of three within minutes; a ratio within one slice does not. Client CPU is user and system
time of this process (getrusage), wall is perf_counter; the medians over the slices are printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.instructions import versions
from bench.workloads import new_event_loop, subject
from tools.pgserver import Server, find_binaries

WORKS = ("fetchval", "wide", "floats", "arrays", "pipeline", "atomic")
SUBJECTS = ("fastpg", "asyncpg", "floor")


def cpu_seconds() -> float:
    """User and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def one_slice(step: Callable[[], Awaitable[Any]], seconds: float) -> tuple[float, float]:
    """(wall, client CPU) microseconds of one unit."""
    count = 0
    wall, cpu = time.perf_counter(), cpu_seconds()
    end = wall + seconds
    while time.perf_counter() < end:
        await step()
        count += 1
    return (time.perf_counter() - wall) / count * 1e6, (cpu_seconds() - cpu) / count * 1e6


async def compare(work: str, dsn: str, slices: int, seconds: float) -> dict[str, dict[str, float]]:
    """subject -> medians: wall and cpu in microseconds, and their ratios to fastpg's."""
    subjects = {name: await subject(name, dsn, work) for name in SUBJECTS}
    for step, _ in subjects.values():
        await one_slice(step, seconds)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in SUBJECTS}
    for turn in range(slices):
        names = SUBJECTS if turn % 2 else SUBJECTS[::-1]
        for name in names:
            taken[name].append(await one_slice(subjects[name][0], seconds))
    for _, close in subjects.values():
        await close()
    ours = taken["fastpg"]
    return {
        name: {
            "wall_us": statistics.median(wall for wall, _ in taken[name]),
            "cpu_us": statistics.median(cpu for _, cpu in taken[name]),
            "fastpg_wall_ratio": statistics.median(a[0] / b[0] for a, b in zip(ours, taken[name], strict=True)),
            "fastpg_cpu_ratio": statistics.median(a[1] / b[1] for a, b in zip(ours, taken[name], strict=True)),
        }
        for name in SUBJECTS
    }


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", choices=[*WORKS, []], help="all when none is named")
    parser.add_argument("--slices", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.15, help="of one slice")
    parser.add_argument("--dsn", help="a server that trusts us; without it one is started")
    parser.add_argument("--store", type=Path, help="write the result there as JSON")
    options = parser.parse_args()
    loop = new_event_loop()

    def measure(dsn: str) -> dict[str, Any]:
        return {
            work: loop.run_until_complete(compare(work, dsn, options.slices, options.seconds))
            for work in options.work or WORKS
        }

    if options.dsn:
        result = measure(options.dsn)
    else:
        with Server(find_binaries()) as server:
            result = measure(server.dsn)
    print(f"{'a query, microseconds':24}{'wall':>10}{'client CPU':>12}{'fastpg / it: wall':>20}{'CPU':>8}")
    for work, subjects in result.items():
        for name, value in subjects.items():
            print(f"{work + ', ' + name:24}{value['wall_us']:10.1f}{value['cpu_us']:12.1f}"
                  f"{value['fastpg_wall_ratio']:20.2f}{value['fastpg_cpu_ratio']:8.2f}")  # fmt: skip
    if options.store:
        options.store.write_text(json.dumps({"versions": versions(), "slices": result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
