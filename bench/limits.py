# SPDX-License-Identifier: MIT
"""What fastpg has to reach, and whether a result shows it.

A limit is only ever tightened. Ratios are medians over the slices of one run, "x asyncpg" of client CPU; instructions
are user instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Result

OK, MISSED, REPORTED, UNKNOWN = "OK", "MISSED", "", "not measured"


@dataclass(frozen=True)
class Limit:
    """One figure. bound: the limit, or None for a figure that is only reported; least: at least, not at most.

    optional: the reason may be the machine's, so an unknown figure is no failure.
    """

    what: str
    measure: Callable[[Result], float | None]
    bound: float | None
    least: bool = False
    optional: bool = False

    def verdict(self, value: float | None) -> str:
        """OK, MISSED, not measured, or nothing for what is only reported."""
        if value is None:
            return UNKNOWN
        if self.bound is None:
            return REPORTED
        return OK if (value >= self.bound if self.least else value <= self.bound) else MISSED

    @property
    def sign(self) -> str:
        """`>=` or `<=`."""
        return ">=" if self.least else "<="


def above_floor(work: str) -> Callable[[Result], float | None]:
    """Instructions above those of the floor."""

    def measure(result: Result) -> float | None:
        ours, floor = result.cost(work, "fastpg"), result.cost(work, "floor")
        return None if ours is None or floor is None else ours - floor

    return measure


def instructions(work: str, below: str | None = None) -> Callable[[Result], float | None]:
    """Of fastpg; or as a multiple of another subject's."""

    def measure(result: Result) -> float | None:
        ours = result.cost(work, "fastpg")
        if below is None or ours is None:
            return ours
        theirs = result.cost(work, below)
        return None if theirs is None else ours / theirs

    return measure


def cpu(work: str, above: str, below: str | None = None) -> Callable[[Result], float | None]:
    """Microseconds of client CPU; or as a multiple of another subject's, slice by slice."""

    def measure(result: Result) -> float | None:
        if below is None:
            return result.median(work, above)
        ratio = result.ratio(work, above, below)
        return None if ratio is None else ratio.median

    return measure


def count(what: str) -> Callable[[Result], float | None]:
    """Of fastpg, from the wire."""
    return lambda result: result.counts.get(what, {}).get("fastpg")


LIMITS = [
    Limit("fetchval: instructions above the floor", above_floor("fetchval"), 5000),
    Limit("fetchval: client CPU, x the floor", cpu("fetchval", "fastpg", "floor"), None),
    Limit("pool, 10 tasks: queries a CPU second, x asyncpg", cpu("pool10", "asyncpg", "fastpg"), 2.5, least=True),
    Limit("pool, 100 tasks: the same", cpu("pool100", "asyncpg", "fastpg"), 2.5, least=True),
    Limit("pipelined pool, 10 tasks: the same", cpu("pool10", "asyncpg", "pipelined"), 5, least=True),
    Limit("pipelined pool, 100 tasks: the same", cpu("pool100", "asyncpg", "pipelined"), 5, least=True),
    Limit("pipeline, one Sync: microseconds of client CPU a query", cpu("atomic", "fastpg"), 1.0),
    Limit("pipeline, one Sync: instructions a query", instructions("atomic"), 3000),
    Limit("pipeline, a Sync each: client CPU, x the floor", cpu("pipeline", "fastpg", "floor"), 1.5),
    Limit("fetchmany: executions a CPU second, x asyncpg", cpu("fetchmany", "asyncpg", "fastpg"), 2, least=True),
    Limit("executemany: rows a CPU second, x asyncpg", cpu("executemany", "asyncpg", "fastpg"), 2.5, least=True),
    Limit("a transaction of one query: round trips", count("transaction"), 2),
    Limit("pool hand-back: waits for the server", count("hand_back"), 0),
    Limit("first use of a known statement: round trips", count("first_use"), 1),
    Limit("connect and close: client CPU, x asyncpg", cpu("connect", "fastpg", "asyncpg"), 0.55),
    Limit("a second SCRAM login: PBKDF2 calls", count("pbkdf2"), 0),
    Limit("two threads: decoding, x one thread", lambda result: result.threads.get("speedup"), 1.8, least=True,
          optional=True),
    Limit("wide: instructions, x asyncpg", instructions("wide", "asyncpg"), 0.5),
    Limit("wide: instructions, x the floor", instructions("wide", "floor"), 1.5),
    Limit("floats: instructions, x asyncpg", instructions("floats", "asyncpg"), 0.65),
    Limit("floats: instructions, x the floor", instructions("floats", "floor"), 1.5),
]  # fmt: skip


def failures(result: Result) -> list[Limit]:
    """The limits that are missed, or should have been measured and were not."""
    verdicts = [(limit, limit.verdict(limit.measure(result))) for limit in LIMITS]
    return [limit for limit, verdict in verdicts if verdict == MISSED or verdict == UNKNOWN and not limit.optional]
