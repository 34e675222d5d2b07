# SPDX-License-Identifier: MIT
"""What a run has measured, as it is stored: nothing is in it that can be derived from something else in it."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.stats import Ratio, slice_ratio

DIRECTORY = Path(__file__).resolve().parent / "results"
PACKAGES = ("uvloop", "cython", "asyncpg", "psycopg", "psycopg-pool", "psqlpy")


class Result:
    """One run.

    instructions: work -> subject -> user instructions a unit. slices: work -> subject -> "cpu" and "wall", each a list
    of microseconds a unit, one of every slice. counts: what was counted on the wire. threads: the speed-up of a second
    thread, or why there is none.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        self.instructions: dict[str, dict[str, float]] = {}
        self.slices: dict[str, dict[str, dict[str, list[float]]]] = {}
        self.counts: dict[str, dict[str, float]] = {}
        self.threads: dict[str, Any] = {}

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read a stored result."""
        data = json.loads(path.read_text())
        result = cls({key: value for key, value in data.items() if key in ("commit", "date", "quick", "versions")})
        result.instructions = data["instructions"]
        result.slices = data["slices"]
        result.counts = data["counts"]
        result.threads = data["threads"]
        return result

    def store(self, path: Path) -> None:
        """Write it: a line for each list of slices."""
        slices = {
            work: {
                subject: {clock: [_short(value) for value in values] for clock, values in clocks.items()}
                for subject, clocks in subjects.items()
            }
            for work, subjects in self.slices.items()
        }
        instructions = {
            work: {subject: _short(value) for subject, value in subjects.items()}
            for work, subjects in self.instructions.items()
        }
        data = {**self.about, "instructions": instructions, "counts": self.counts, "threads": self.threads}
        text = json.dumps(data, indent=1)[:-2] + ',\n "slices": {\n'
        lines = [f'  "{work}": {{\n' + ",\n".join(f'   "{subject}": {json.dumps(clocks)}'
                 for subject, clocks in subjects.items()) + "\n  }" for work, subjects in slices.items()]  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + ",\n".join(lines) + "\n }\n}\n")

    def cost(self, work: str, subject: str) -> float | None:
        """User instructions a unit."""
        return self.instructions.get(work, {}).get(subject)

    def median(self, work: str, subject: str, clock: str = "cpu") -> float | None:
        """Microseconds a unit."""
        values = self.slices.get(work, {}).get(subject)
        return statistics.median(values[clock]) if values else None

    def ratio(self, work: str, above: str, below: str, clock: str = "cpu") -> Ratio | None:
        """above / below, slice by slice."""
        subjects = self.slices.get(work, {})
        if above not in subjects or below not in subjects:
            return None
        return slice_ratio(subjects[above][clock], subjects[below][clock])


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def commit() -> str:
    """The commit that was measured, with + when something was changed since; "" where there is no git."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=root, capture_output=True, text=True)
        status = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True)
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")


def about(quick: bool) -> dict[str, Any]:
    """What was measured, and where."""
    import fastpg

    versions = {"python": platform.python_version(), "machine": platform.machine(), "fastpg": fastpg.__version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"commit": commit(), "date": now, "quick": quick, "versions": versions}
