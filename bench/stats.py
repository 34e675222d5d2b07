# SPDX-License-Identifier: MIT
"""Medians of slices, with intervals: 95 % bootstrap percentiles, by a generator with a fixed seed."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

RESAMPLES = 1000
LEVEL = 0.95


class Ratio(NamedTuple):
    """A median, and the interval that holds it."""

    median: float
    low: float
    high: float

    def inverse(self) -> Ratio:
        """Of the other one to this one."""
        return Ratio(1 / self.median, 1 / self.high, 1 / self.low)


def _resampled_medians(values: Sequence[float], seed: int) -> list[float]:
    generator = random.Random(seed)
    return [statistics.median(generator.choices(values, k=len(values))) for _ in range(RESAMPLES)]


def _percentiles(values: list[float]) -> tuple[float, float]:
    values.sort()
    tail = (1 - LEVEL) / 2
    last = len(values) - 1
    return values[round(last * tail)], values[round(last * (1 - tail))]


def slice_ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """The median of above/below, slice by slice. Both have as many slices, at least one."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(ratios), *_percentiles(_resampled_medians(ratios, 1)))


def change(before: Sequence[float], after: Sequence[float]) -> Ratio:
    """By what the median of the ratios `after` is the multiple of that of `before`: two runs, so not slice by slice."""
    quotients = [
        b / a for a, b in zip(_resampled_medians(before, 1), _resampled_medians(after, 2), strict=True)
    ]  # fmt: skip
    return Ratio(statistics.median(after) / statistics.median(before), *_percentiles(quotients))
