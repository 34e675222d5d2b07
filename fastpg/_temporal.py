# SPDX-License-Identifier: MIT
"""Values of PostgreSQL's date and time types that plain Python has no equal for.

`infinity` decodes to a value that equals the largest (smallest) date, datetime or timedelta, and goes back as infinity;
a plain 9999-12-31 goes as itself. An interval with months equals a timedelta of 30 days a month, and keeps its months.
"""

from __future__ import annotations

import datetime
from typing import Any

__all__ = ["InfinityDate", "InfinityDatetime", "InfinityInterval", "Interval"]


class InfinityDate(datetime.date):
    """The dates `infinity` and `-infinity`; equal to date.max and date.min."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<date infinity>" if self.year == 9999 else "<date -infinity>"

    def __reduce__(self) -> tuple[Any, ...]:
        return InfinityDate, (self.year, self.month, self.day)


class InfinityDatetime(datetime.datetime):
    """The timestamps `infinity` and `-infinity`; equal to datetime.max and datetime.min, in UTC when zoned."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<datetime infinity>" if self.year == 9999 else "<datetime -infinity>"

    def __reduce__(self) -> tuple[Any, ...]:
        value = self
        return InfinityDatetime, (
            value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.tzinfo,
        )  # fmt: skip


class Interval(datetime.timedelta):
    """A timedelta that remembers an interval's months, days and microseconds.

    It equals the timedelta of 365 days a year and 30 days a month that asyncpg gives.
    """

    __slots__ = ("interval",)

    interval: tuple[int, int, int]

    @classmethod
    def make(cls, months: int, days: int, microseconds: int) -> Interval:
        """From an interval's three fields."""
        years = int(months / 12)
        self = cls(days=days + 365 * years + 30 * (months - 12 * years), microseconds=microseconds)
        self.interval = (months, days, microseconds)
        return self

    @property
    def months(self) -> int:
        """Months, years included."""
        return self.interval[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Interval.make, self.interval


class InfinityInterval(datetime.timedelta):
    """The intervals `infinity` and `-infinity` of PostgreSQL 17; equal to timedelta.max and timedelta.min."""

    __slots__ = ()

    @property
    def interval(self) -> tuple[int, int, int]:
        """Months, days and microseconds as the server has them."""
        return (2**31 - 1, 2**31 - 1, 2**63 - 1) if self.days > 0 else (-(2**31), -(2**31), -(2**63))

    def __repr__(self) -> str:
        return "<interval infinity>" if self.days > 0 else "<interval -infinity>"

    def __reduce__(self) -> tuple[Any, ...]:
        return InfinityInterval, (self.days, self.seconds, self.microseconds)


DATE_INFINITY = InfinityDate(9999, 12, 31)
DATE_MINUS_INFINITY = InfinityDate(1, 1, 1)
_LAST = (9999, 12, 31, 23, 59, 59, 999999)
TIMESTAMP_INFINITY = InfinityDatetime(*_LAST)
TIMESTAMP_MINUS_INFINITY = InfinityDatetime(1, 1, 1)
TIMESTAMPTZ_INFINITY = InfinityDatetime(*_LAST, tzinfo=datetime.timezone.utc)
TIMESTAMPTZ_MINUS_INFINITY = InfinityDatetime(1, 1, 1, tzinfo=datetime.timezone.utc)
_LONGEST, _SHORTEST = datetime.timedelta.max, datetime.timedelta.min
INTERVAL_INFINITY = InfinityInterval(_LONGEST.days, _LONGEST.seconds, _LONGEST.microseconds)
INTERVAL_MINUS_INFINITY = InfinityInterval(_SHORTEST.days, _SHORTEST.seconds, _SHORTEST.microseconds)
