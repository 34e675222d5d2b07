# SPDX-License-Identifier: MIT
"""Draw a stored result as SVG: python -m bench.plot result.json [--out docs/plots]

cpu.svg: the client CPU of the peers as a multiple of fastpg's, with 95 % intervals. instructions.svg: the same of user
instructions. The scale is logarithmic: equal factors are equal lengths.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import NamedTuple

from bench.drivers import PEERS
from bench.results import Result
from bench.works import WORKS

COLOURS = {"pipelined": "#2a9d8f", "asyncpg": "#e07a3f", "psycopg": "#4c78a8", "psqlpy": "#8d6cab"}
LABEL, WIDTH, BAR, GAP, TOP, RIGHT = 330, 520, 11, 12, 64, 60  # pixels
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)


class Bar(NamedTuple):
    """One subject's multiple; low and high: its interval."""

    subject: str
    value: float
    low: float | None = None
    high: float | None = None


Group = tuple[str, list[Bar]]


def cpu_groups(result: Result) -> list[Group]:
    """The peers' client CPU; a pipelined pool of ours is a bar of its own."""
    groups: list[Group] = []
    for work, subjects in result.slices.items():
        bars = []
        for subject in ("pipelined", *PEERS):
            ratio = result.ratio(work, subject, "fastpg") if subject in subjects else None
            if ratio is not None:
                bars.append(Bar(subject, ratio.median, ratio.low, ratio.high))
        groups.append((WORKS[work].title, bars))
    return groups


def instruction_groups(result: Result) -> list[Group]:
    """The peers' user instructions."""
    groups: list[Group] = []
    for work, costs in result.instructions.items():
        bars = [Bar(name, costs[name] / costs["fastpg"]) for name in ("pipelined", *PEERS) if name in costs]
        groups.append((WORKS[work].title, bars))
    return groups


def chart(title: str, groups: Iterable[Group]) -> str:
    """Horizontal bars in groups from 1 outwards."""
    groups = [(label, bars) for label, bars in groups if bars]
    values = [value for _, bars in groups for bar in bars for value in (bar.value, bar.low, bar.high) if value]
    least = max([tick for tick in TICKS if tick <= min([*values, 1])], default=TICKS[0])
    most = min([tick for tick in TICKS if tick >= max([*values, 2])], default=TICKS[-1])

    def x(value: float) -> float:
        part = math.log(min(max(value, least), most) / least) / math.log(most / least)
        return round(LABEL + part * WIDTH, 1)

    lines = []
    y = TOP
    for label, bars in groups:
        middle = y + BAR * len(bars) / 2 + 4
        lines.append(f'<text x="{LABEL - 10}" y="{middle}" text-anchor="end">{escape(label)}</text>')
        for bar in bars:
            lines += _bar(bar, y, x)
            y += BAR
        y += GAP
    axis = [
        f'<line x1="{x(tick)}" x2="{x(tick)}" y1="{TOP - 8}" y2="{y - GAP}" stroke="{_grey(tick)}"/>'
        f'<text x="{x(tick)}" y="{TOP - 12}" text-anchor="middle">{tick:g}</text>'
        for tick in TICKS
        if least <= tick <= most
    ]
    subjects = [name for name in COLOURS if any(bar.subject == name for _, bars in groups for bar in bars)]
    legend = [
        f'<rect x="{LABEL + 110 * i}" y="28" width="10" height="10" fill="{COLOURS[name]}"/>'
        f'<text x="{LABEL + 110 * i + 15}" y="37">{"fastpg, pipelined" if name == "pipelined" else name}</text>'
        for i, name in enumerate(subjects)
    ]
    width, height = LABEL + WIDTH + RIGHT, y + 4
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="10" y="16" font-size="14">{escape(title)}</text>',
        *legend, *axis, *lines, "</svg>", "",
    ])  # fmt: skip


def _grey(tick: float) -> str:
    return "#333" if tick == 1 else "#ddd"


def _bar(bar: Bar, y: float, x: Callable[[float], float]) -> list[str]:
    left, right = sorted((x(1), x(bar.value)))
    size = f'width="{max(right - left, 1):.1f}" height="{BAR - 2}"'
    lines = [f'<rect x="{left}" y="{y}" {size} fill="{COLOURS[bar.subject]}"/>']
    if bar.low and bar.high:
        middle = y + (BAR - 2) / 2
        lines.append(f'<line x1="{x(bar.low)}" x2="{x(bar.high)}" y1="{middle}" y2="{middle}" stroke="#222"/>')
    end = max(right, x(bar.high) if bar.high else right)
    lines.append(f'<text x="{end + 4}" y="{y + BAR - 3}" font-size="9">{bar.value:.3g}</text>')
    return lines


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/plots"), help="the directory for them")
    options = parser.parse_args()
    result = Result.load(options.result)
    options.out.mkdir(parents=True, exist_ok=True)
    charts = {
        "cpu.svg": ("Client CPU, as a multiple of fastpg's (right of 1: fastpg is cheaper)", cpu_groups(result)),
        "instructions.svg": ("User instructions, as a multiple of fastpg's", instruction_groups(result)),
    }
    for name, (title, groups) in charts.items():
        if groups:
            (options.out / name).write_text(chart(title, groups))
            print(options.out / name)


if __name__ == "__main__":
    main()
