# SPDX-License-Identifier: MIT
"""A result as tables: python -m bench.report result.json [--check]"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from bench.drivers import PEERS, SUBJECTS
from bench.limits import LIMITS, failures
from bench.results import Result
from bench.works import WORKS

NAME, CELL = 26, 13


def number(value: float) -> str:
    """Three digits or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _row(name: str, cells: list[str], width: int = CELL) -> None:
    print(f"{name:{NAME}}" + "".join(f"{cell:>{width}}" for cell in cells))


def _name(work: str) -> str:
    return f"{work}, a {WORKS[work].unit}"


def print_times(result: Result) -> None:
    """Client CPU and wall time, and the ratios."""
    for clock, title in (("cpu", "client CPU, microseconds"), ("wall", "wall, microseconds")):
        _row(title, list(SUBJECTS))
        for work, subjects in result.slices.items():
            medians = {name: result.median(work, name, clock) for name in subjects}
            _row(_name(work), [number(medians[name] or 0) if name in medians else "" for name in SUBJECTS])
        print()
    print("Client CPU of the other, as a multiple of fastpg's: more than 1 is what fastpg is faster by; and its 95 %")
    print("interval. Of the floor: what fastpg is above it.")
    _row("", ["fastpg/floor", *PEERS, *[f"{name}/pipelined" for name in PEERS]], 22)
    for work in result.slices:
        pairs = [("fastpg", "floor"), *[(peer, "fastpg") for peer in PEERS], *[(peer, "pipelined") for peer in PEERS]]
        cells = []
        for above, below in pairs:
            ratio = result.ratio(work, above, below)
            cells.append(f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else "")
        _row(work, cells, 22)
    print()


def pgbench_mean(result: Result, peer: str) -> float | None:
    """The geometric mean of the peer's multiples of fastpg's CPU over the seven workloads; None if one is missing."""
    ratios = [result.ratio(work.name, peer, "fastpg") for work in WORKS.values() if work.pgbench]
    if any(ratio is None for ratio in ratios):
        return None
    return statistics.geometric_mean([ratio.median for ratio in ratios if ratio is not None])


def print_instructions(result: Result) -> None:
    """User instructions."""
    subjects = [name for name in SUBJECTS if any(name in costs for costs in result.instructions.values())]
    _row("user instructions", [*subjects, "asyncpg/fastpg"], CELL + 2)
    for work, costs in result.instructions.items():
        cells = [number(costs[name]) if name in costs else "" for name in subjects]
        both = "asyncpg" in costs and "fastpg" in costs
        _row(_name(work), [*cells, f"{costs['asyncpg'] / costs['fastpg']:.2f}" if both else ""], CELL + 2)
    print()


def print_limits(result: Result) -> None:
    """Every limit, with its figure."""
    print(f"{'':56}{'measured':>12}{'limit':>12}")
    for limit in LIMITS:
        value = limit.measure(result)
        shown = "" if value is None else number(value)
        bound = "" if limit.bound is None else f"{limit.sign} {limit.bound:,g}"
        print(f"{limit.what:56}{shown:>12}{bound:>12}  {limit.verdict(value)}".rstrip())
    if "reason" in result.threads:
        print(f"Threads: {result.threads['reason']}.")


def print_all(result: Result) -> None:
    """Everything that was measured."""
    print(f"commit {result.about['commit'] or 'unknown'}, " + ", ".join(
        f"{name} {what}" for name, what in result.about["versions"].items()))  # fmt: skip
    print()
    if result.slices:
        print_times(result)
        for peer in PEERS:
            mean = pgbench_mean(result, peer)
            if mean is not None:
                print(f"The seven pgbench workloads, geometric mean: {peer} takes {mean:.2f} x fastpg's client CPU")
        print()
    if result.instructions:
        print_instructions(result)
    for what, subjects in result.counts.items():
        print(f"{what + ', counted':{NAME}}" + ", ".join(f"{name} {value:g}" for name, value in subjects.items()))
    print()
    print_limits(result)


def main() -> int:
    """Print a stored result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--check", action="store_true", help="fail when a limit is missed")
    options = parser.parse_args()
    result = Result.load(options.result)
    print_all(result)
    return 1 if options.check and failures(result) else 0


if __name__ == "__main__":
    sys.exit(main())
