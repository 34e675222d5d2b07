# SPDX-License-Identifier: MIT
"""Compare two stored results: python -m bench.compare before.json after.json

Fails when fastpg has lost: more than 2 % in instructions on any work, or in a ratio to a peer, when the interval of
the change lies below 0.9.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.drivers import OURS, PEERS
from bench.results import Result
from bench.stats import change

INSTRUCTIONS = 1.02
RATIO = 0.9


class Line(NamedTuple):
    """One comparison. change: of instructions, more is worse; of a ratio to a peer, less is."""

    what: str
    change: float
    interval: tuple[float, float] | None
    lost: bool


def instructions(before: Result, after: Result) -> Iterator[Line]:
    """Work by work, of what both results have."""
    for work in before.instructions:
        for subject in OURS:
            old, new = before.cost(work, subject), after.cost(work, subject)
            if old and new is not None:
                yield Line(f"{work}, {subject}: instructions", new / old, None, new / old > INSTRUCTIONS)


def ratios(before: Result, after: Result) -> Iterator[Line]:
    """What peers cost as a multiple of ours, work by work; of what both results have."""
    for work in before.slices:
        for subject in OURS:
            for peer in PEERS:
                old, new = _slices(before, work, peer, subject), _slices(after, work, peer, subject)
                if old and new:
                    moved = change(old, new)
                    interval = (moved.low, moved.high)
                    yield Line(f"{work}: {peer} / {subject}", moved.median, interval, moved.high < RATIO)


def _slices(result: Result, work: str, peer: str, subject: str) -> list[float]:
    subjects = result.slices.get(work, {})
    if peer not in subjects or subject not in subjects:
        return []
    return [a / b for a, b in zip(subjects[peer]["cpu"], subjects[subject]["cpu"], strict=True)]


def compare(before: Result, after: Result) -> list[Line]:
    """All comparisons."""
    return [*instructions(before, after), *ratios(before, after)]


def differences(before: Result, after: Result) -> list[str]:
    """What else than fastpg was not the same: a ratio may have changed by it."""
    old, new = before.about["versions"], after.about["versions"]
    found = [
        f"{name}: {old.get(name, 'none')} before, {new.get(name, 'none')} after"
        for name in dict.fromkeys([*old, *new])
        if name != "fastpg" and old.get(name) != new.get(name)
    ]
    if before.about["quick"] != after.about["quick"]:
        found.append("one of the two is a quick run")
    return found


def main() -> int:
    """Print line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    before, after = Result.load(options.before), Result.load(options.after)
    for difference in differences(before, after):
        print(f"not the same: {difference}")
    lines = compare(before, after)
    for line in lines:
        interval = f" [{line.interval[0]:.2f}, {line.interval[1]:.2f}]" if line.interval else ""
        print(f"{line.what:44}{line.change:7.3f}{interval:15}{'  LOST' if line.lost else ''}".rstrip())
    lost = sum(line.lost for line in lines)
    print(f"{len(lines)} comparisons, {lost} lost")
    if not lines:
        print("the results have nothing in common")
        return 2
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
