# SPDX-License-Identifier: MIT
"""Time beside time: the subjects take turns in short slices on one event loop.

Machines drift by a factor of three within minutes; a ratio within one turn does not. Client CPU is user and system
time of this process, all its threads (getrusage); wall is perf_counter.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterable
from typing import Any

from bench.drivers import PEERS, Driver
from bench.drivers.base import Call
from bench.works import Work

Slices = dict[str, dict[str, list[float]]]


def cpu_seconds() -> float:
    """User and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def one_slice(run: Call, seconds: float, units: int) -> tuple[float, float]:
    """(client CPU, wall) microseconds of one unit. A slice has at least one step."""
    count = 0
    wall, cpu = time.perf_counter(), cpu_seconds()
    end = wall + seconds
    while True:
        await run()
        count += units
        if time.perf_counter() >= end:
            break
    return (cpu_seconds() - cpu) / count * 1e6, (time.perf_counter() - wall) / count * 1e6


async def measure(work: Work, drivers: Iterable[tuple[str, Driver]], admin: Any, slices: int, seconds: float) -> Slices:
    """subject -> "cpu" and "wall" -> microseconds a unit of each slice. admin: a connection that empties tables.

    A peer that fails at its first step is left out, and said to be.
    """
    steps = {}
    for name, driver in drivers:
        try:
            step = await driver.step(work)
            if step is not None:
                await step.run()
                steps[name] = step
        except Exception as error:
            if name not in PEERS:
                raise
            print(f" ({name} cannot: {type(error).__name__}: {error})", end="", file=sys.stderr)
    taken: Slices = {name: {"cpu": [], "wall": []} for name in steps}
    names = list(steps)
    for turn in range(-1, slices):
        for name in names if turn % 2 else reversed(names):
            if work.table:
                await admin.execute(f"TRUNCATE {work.table}")
            gc.collect()
            cpu, wall = await one_slice(steps[name].run, seconds if turn >= 0 else seconds / 3, work.units)
            if turn >= 0:  # the first one warms up
                taken[name]["cpu"].append(cpu)
                taken[name]["wall"].append(wall)
    for step in steps.values():
        await step.close()
    return taken
