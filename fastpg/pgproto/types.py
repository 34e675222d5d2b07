# SPDX-License-Identifier: MIT
"""Python values of PostgreSQL's bit string and geometric types."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, SupportsFloat, SupportsIndex, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("BitString", "Box", "Circle", "Line", "LineSegment", "Path", "Point", "Polygon")

_BitOrder = Literal["big", "little"]
_Float: TypeAlias = SupportsFloat | SupportsIndex | str | builtins.bytes | bytearray


def _check_bit_order(bitorder: str) -> None:
    if bitorder not in ("big", "little"):
        raise ValueError("bitorder must be either 'big' or 'little'")


class BitString:
    """An immutable string of bits, the value of `bit` and `varbit`.

    Made from text of '0' and '1', in which blanks are ignored. Raises ValueError for other characters.
    """

    __slots__ = ("_bitlength", "_bytes")

    _bytes: builtins.bytes
    _bitlength: int

    def __init__(self, bitstring: str | builtins.bytes | None = None) -> None:
        bits = []
        for position, bit in enumerate(bitstring or ""):
            if bit == "0" or bit == "1":
                bits.append(bit)
            elif bit != " ":
                raise ValueError(f"invalid bit value at position {position}")
        self._set(int("".join(bits) or "0", 2), len(bits))

    def _set(self, value: int, length: int) -> None:
        # Left-aligned, as on the wire; the unused bits of the last byte are zero.
        self._bitlength = length
        self._bytes = (value << (-length % 8)).to_bytes((length + 7) // 8, "big")

    @classmethod
    def frombytes(cls, bytes_: builtins.bytes | None = None, bitlength: int | None = None) -> Self:
        """Take the first `bitlength` bits of `bytes_` (all of them by default), first bit in the high end of byte 0.

        Raises ValueError when the last byte would not be used, or the bytes are too few.
        """
        data = b"" if bytes_ is None else builtins.bytes(bytes_)
        length = 8 * len(data) if bitlength is None else bitlength
        if length < 0 or (length + 7) // 8 != len(data):
            raise ValueError("invalid bit length specified")
        self = cls.__new__(cls)
        self._set(int.from_bytes(data, "big") >> (-length % 8), length)
        return self

    @classmethod
    def from_int(cls, x: int, length: int, bitorder: _BitOrder = "big", *, signed: bool = False) -> Self:
        """`x` as `length` bits; 'big' puts the most significant bit first. Negative numbers need `signed`.

        Raises OverflowError when it does not fit, ValueError for a bad length or bit order.
        """
        _check_bit_order(bitorder)
        if length < 0:
            raise ValueError("length argument must be non-negative")
        if x < 0:
            if not signed:
                raise OverflowError("can't convert negative int to unsigned")
            if length == 0 or x < -(1 << (length - 1)):
                raise OverflowError("int too big to convert")
            x += 1 << length
        elif x.bit_length() > (max(length - 1, 0) if signed else length):
            raise OverflowError("int too big to convert")
        if bitorder == "little" and length:
            x = int(format(x, f"0{length}b")[::-1], 2)
        self = cls.__new__(cls)
        self._set(x, length)
        return self

    def to_int(self, bitorder: _BitOrder = "big", *, signed: bool = False) -> int:
        """The bits as a number; two's complement when `signed`. Raises ValueError for a bad bit order."""
        _check_bit_order(bitorder)
        length = self._bitlength
        x = int.from_bytes(self._bytes, "big") >> (-length % 8)
        if bitorder == "little" and length:
            x = int(format(x, f"0{length}b")[::-1], 2)
        if signed and length and x >> (length - 1):
            x -= 1 << length
        return x

    def as_string(self) -> str:
        """The bits as text in groups of four."""
        if not self._bitlength:
            return ""
        text = format(self.to_int(), f"0{self._bitlength}b")
        return " ".join(text[i : i + 4] for i in range(0, len(text), 4))

    @property
    def bytes(self) -> builtins.bytes:
        """The bits in bytes, first bit in the high end, the last byte filled with zeros."""
        return self._bytes

    def __len__(self) -> int:
        return self._bitlength

    def __iter__(self) -> Iterator[int]:
        return (self[i] for i in range(self._bitlength))

    def __getitem__(self, i: int) -> int:
        if isinstance(i, slice):
            raise NotImplementedError("BitString does not support slices")
        position = i + self._bitlength if i < 0 else i
        if not 0 <= position < self._bitlength:
            raise IndexError("index out of range")
        return self._bytes[position >> 3] >> (7 - (position & 7)) & 1

    def __repr__(self) -> str:
        return f"<BitString {self.as_string()}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BitString):
            return NotImplemented
        return self._bitlength == other._bitlength and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash((self._bytes, self._bitlength))

    def __reduce__(self) -> tuple[Any, ...]:
        return _bit_string, (type(self), self._bytes, self._bitlength)


def _bit_string(cls: type[BitString], data: bytes, length: int) -> BitString:
    return cls.frombytes(data, length)


class Point(tuple[float, float]):
    """Coordinates x and y."""

    __slots__ = ()

    def __new__(cls, x: _Float, y: _Float) -> Self:
        return super().__new__(cls, (float(x), float(y)))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}({tuple.__repr__(self)})"

    @property
    def x(self) -> float:
        return self[0]

    @property
    def y(self) -> float:
        return self[1]


class _TwoPoints(tuple[Point, Point]):
    __slots__ = ()

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}({tuple.__repr__(self)})"


class Box(_TwoPoints):
    """Two opposite corners, upper right first."""

    __slots__ = ()

    def __new__(cls, high: Sequence[_Float], low: Sequence[_Float]) -> Self:
        return super().__new__(cls, (Point(*high), Point(*low)))

    @property
    def high(self) -> Point:
        return self[0]

    @property
    def low(self) -> Point:
        return self[1]


class LineSegment(_TwoPoints):
    """The two ends of a line segment."""

    __slots__ = ()

    def __new__(cls, p1: Sequence[_Float], p2: Sequence[_Float]) -> Self:
        return super().__new__(cls, (Point(*p1), Point(*p2)))

    @property
    def p1(self) -> Point:
        return self[0]

    @property
    def p2(self) -> Point:
        return self[1]


class Line(tuple[float, float, float]):
    """The line Ax + By + C = 0."""

    __slots__ = ()

    def __new__(cls, A: float, B: float, C: float) -> Self:
        return super().__new__(cls, (A, B, C))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    @property
    def A(self) -> float:
        return self[0]

    @property
    def B(self) -> float:
        return self[1]

    @property
    def C(self) -> float:
        return self[2]


class Circle(tuple[Point, float]):
    """Center and radius."""

    __slots__ = ()

    def __new__(cls, center: Point, radius: float) -> Self:
        return super().__new__(cls, (center, radius))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    @property
    def center(self) -> Point:
        return self[0]

    @property
    def radius(self) -> float:
        return self[1]


class Path:
    """Points joined by lines, open or closed. Immutable, iterable, can be indexed."""

    __slots__ = ("_is_closed", "points")

    points: tuple[Point, ...]
    _is_closed: bool

    def __init__(self, *points: Sequence[_Float], is_closed: bool = False) -> None:
        object.__setattr__(self, "points", tuple(Point(*point) for point in points))
        object.__setattr__(self, "_is_closed", is_closed)

    @property
    def is_closed(self) -> bool:
        """Whether the last point is joined to the first."""
        return self._is_closed

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Path):
            return NotImplemented
        return self.points == other.points and self._is_closed == other._is_closed

    def __hash__(self) -> int:
        return hash((self.points, self._is_closed))

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, i: Any) -> Any:
        return self.points[i]

    def __contains__(self, point: object) -> bool:
        return point in self.points

    def __repr__(self) -> str:
        points = ", ".join(f"({p.x}, {p.y})" for p in self.points)
        return f"<{type(self).__name__} {'closed' if self._is_closed else 'open'} {points}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _path, (type(self), self.points, self._is_closed)


class Polygon(Path):
    """The corners of a polygon."""

    __slots__ = ()

    def __init__(self, *points: Sequence[_Float]) -> None:
        super().__init__(*points, is_closed=True)


def _path(cls: type[Path], points: tuple[Point, ...], is_closed: bool) -> Path:
    if issubclass(cls, Polygon):
        return cls(*points)
    return cls(*points, is_closed=is_closed)
