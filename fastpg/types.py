# SPDX-License-Identifier: MIT
"""Python values of PostgreSQL types that Python has no type for, and descriptions of types and servers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from fastpg._temporal import InfinityDate, InfinityDatetime, InfinityInterval, Interval
from fastpg.pgproto.types import BitString, Box, Circle, Line, LineSegment, Path, Point, Polygon

__all__ = (
    "Array",
    "Attribute",
    "BitString",
    "Box",
    "Circle",
    "CommandStatus",
    "InfinityDate",
    "InfinityDatetime",
    "InfinityInterval",
    "Interval",
    "Line",
    "LineSegment",
    "Path",
    "Point",
    "Polygon",
    "Range",
    "ServerVersion",
    "Type",
)

_T = TypeVar("_T")


class Type(NamedTuple):
    """A data type of the database."""

    oid: int
    name: str
    kind: str
    """'scalar', 'array', 'composite', 'range' or 'multirange'."""
    schema: str


class CommandStatus(str):
    """The status of a statement, such as ``'INSERT 0 3'``: that str, which knows what is in it.

    Equal to the str, of the same hash and repr; a pickle of it is one of the str.
    """

    __slots__ = ()

    @property
    def command(self) -> str:
        """What was done, without numbers: 'INSERT', 'CREATE TABLE'; '' when there was no statement."""
        return " ".join([word for word in self.split() if not word.isdecimal()])

    @property
    def rows(self) -> int | None:
        """How many rows were inserted, changed, found, copied ...; None when the command is not about rows."""
        count = self.rpartition(" ")[2]
        return int(count) if count.isdecimal() else None

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)

    def __copy__(self) -> CommandStatus:
        return self

    def __deepcopy__(self, memo: Any) -> CommandStatus:
        return self


class Attribute(NamedTuple):
    """A column of a result or a member of a composite type."""

    name: str
    type: Type


class ServerVersion(NamedTuple):
    """The version of a server."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: int


class Range(Generic[_T]):
    """An immutable range of values.

    A bound of None is infinite and then never inclusive. An empty range has no bounds. False only when empty.
    """

    __slots__ = ("_empty", "_lower", "_lower_inc", "_upper", "_upper_inc")

    _lower: _T | None
    _upper: _T | None
    _lower_inc: bool
    _upper_inc: bool
    _empty: bool

    def __init__(
        self,
        lower: _T | None = None,
        upper: _T | None = None,
        *,
        lower_inc: bool = True,
        upper_inc: bool = False,
        empty: bool = False,
    ) -> None:
        self._empty = empty
        self._lower = None if empty else lower
        self._upper = None if empty else upper
        self._lower_inc = not empty and lower is not None and lower_inc
        self._upper_inc = not empty and upper is not None and upper_inc

    @property
    def lower(self) -> _T | None:
        """The lower bound, None when it is infinite or the range is empty."""
        return self._lower

    @property
    def upper(self) -> _T | None:
        """The upper bound, None when it is infinite or the range is empty."""
        return self._upper

    @property
    def lower_inc(self) -> bool:
        """Whether the lower bound belongs to the range."""
        return self._lower_inc

    @property
    def upper_inc(self) -> bool:
        """Whether the upper bound belongs to the range."""
        return self._upper_inc

    @property
    def lower_inf(self) -> bool:
        """Whether the range has no lower bound."""
        return self._lower is None and not self._empty

    @property
    def upper_inf(self) -> bool:
        """Whether the range has no upper bound."""
        return self._upper is None and not self._empty

    @property
    def isempty(self) -> bool:
        """Whether the range was made empty."""
        return self._empty

    def issubset(self, other: Range[_T]) -> bool:
        """Whether every value of this range belongs to `other`."""
        if self._empty:
            return True
        if other._empty:
            return False
        mine: Any = self._lower
        theirs: Any = other._lower
        if theirs is not None and (
            mine is None or mine < theirs or (mine == theirs and self._lower_inc and not other._lower_inc)
        ):
            return False
        mine, theirs = self._upper, other._upper
        return theirs is None or not (
            mine is None or mine > theirs or (mine == theirs and self._upper_inc and not other._upper_inc)
        )

    def issuperset(self, other: Range[_T]) -> bool:
        """Whether every value of `other` belongs to this range."""
        return other.issubset(self)

    def _key(self) -> tuple[object, ...]:
        return self._lower, self._upper, self._lower_inc, self._upper_inc, self._empty

    def __bool__(self) -> bool:
        return not self._empty

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Range):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        if self._empty:
            return "<Range empty>"
        lower = "" if self._lower is None else repr(self._lower)
        upper = "" if self._upper is None else repr(self._upper)
        return f"<Range {'[' if self._lower_inc else '('}{lower}, {upper}{']' if self._upper_inc else ')'}>"


class Array(list[_T]):
    """An array that knows where its subscripts begin.

    `lower_bounds` has one number for each dimension; without any, all are 1. Sent to the server, it keeps them: the
    array `Array(["a", "b"], (0,))` has the elements [0] and [1] there. Inner dimensions are plain lists.
    """

    __slots__ = ("lower_bounds",)

    lower_bounds: tuple[int, ...]

    def __init__(self, values: Iterable[_T] = (), lower_bounds: Iterable[int] = ()) -> None:
        super().__init__(values)
        self.lower_bounds = tuple(lower_bounds)

    def __repr__(self) -> str:
        return f"Array({super().__repr__()}, {self.lower_bounds})"
