# SPDX-License-Identifier: MIT
"""Hostile Python objects for the encoders: bytes or an exception, never a crash, and no byte left behind.

Each object is encoded alone and as the argument of a query, where whatever goes wrong is a DataError (or what another
rule asks for; or a MemoryError, for an object that claims to have 2**62 items), the outgoing buffer stays empty and the
session goes on.
"""

from __future__ import annotations

import array
import datetime
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from fastpg.codecs.codec import builtin_handle
from fastpg.exceptions import DataError, InterfaceError, InternalClientError
from fastpg.protocol.operation import Execute, ExecuteMany, StatementPlan
from fastpg.protocol.row import RowSink
from fastpg.protocol.session import Session
from fastpg.types import Range
from tools.fuzz import driver
from tools.fuzz.decoders import ALLOWED
from tools.fuzz.targets import POOL, Target, values_for

#: What an encoder on its own may raise: codecs that ask an object for what it lacks let AttributeError and LookupError
#: pass, an object that claims to have 2**62 items gets a MemoryError, and a user's function that raises StopIteration a
#: RuntimeError. SystemError is never right.
REFUSALS = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, BufferError, RuntimeError,
            MemoryError, InterfaceError, *ALLOWED)  # fmt: skip


class HostileError(Exception):
    """Raised by the objects below; passes through."""


class Hostile:
    """An object whose methods answer nonsense or raise, by dice."""

    def __init__(self, dice: random.Random) -> None:
        object.__setattr__(self, "_dice", dice)

    def _answer(self) -> Any:
        dice: random.Random = object.__getattribute__(self, "_dice")
        roll = dice.randrange(12)
        if roll == 0:
            raise HostileError
        if roll == 1:
            raise dice.choice((TypeError, ValueError, OverflowError, IndexError, StopIteration, AttributeError))("no")
        return dice.choice((0, 1, -1, 2, 2**62, 2**63 - 1, -(2**63), 2**70, 0.5, "x", b"x", None, [], (1, 2), {}, POOL))

    def __getattr__(self, name: str) -> Any:
        return self._answer() if not name.startswith("__") else object.__getattribute__(self, name)


def made(name: str, *methods: str) -> type[Hostile]:
    """A class that has these special methods, all hostile."""

    def method(self: Hostile, *args: Any) -> Any:
        return self._answer()

    def method_iter(self: Hostile) -> Any:
        return iter([1, "x", None][: self._dice.randrange(4)])

    return type(name, (Hostile,), {m: method_iter if m == "__iter__" else method for m in methods})


KINDS = (
    made("Nothing"),
    made("Sized", "__len__", "__iter__"),
    made("Indexed", "__len__", "__getitem__"),
    made("Sequence", "__len__", "__iter__", "__getitem__"),
    made("Number", "__int__", "__index__", "__float__"),
    made("Text", "__str__", "__repr__", "__format__", "__bytes__"),
    made("Mapping", "__len__", "__iter__", "__getitem__", "keys", "items", "get"),
    made("Comparable", "__eq__", "__lt__", "__le__", "__hash__", "__bool__", "__len__"),
)


class Word(str):
    """A str that lies."""

    def __str__(self) -> str:
        return "another"

    def __len__(self) -> int:
        return 2**62

    def encode(self, *args: Any) -> bytes:  # type: ignore[override]
        return b"third"


class LyingList(list):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        raise IndexError("no")


class LyingTuple(tuple):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        return iter((1, 2, 3, 4))


class Zone(datetime.tzinfo):
    """A zone that gives nonsense."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def utcoffset(self, when: Any) -> Any:
        return self.answer

    dst = tzname = utcoffset


class Moment(datetime.datetime):
    """A datetime whose methods lie."""

    def utcoffset(self) -> Any:
        return "never"

    def astimezone(self, tz: Any = None) -> Any:
        return 5


class Clock:
    """It has the fields of a time."""

    def __init__(self, dice: random.Random) -> None:
        self.hour, self.minute, self.second, self.microsecond = (dice.choice((0, 5, -1, 2**40, "x")) for _ in range(4))
        self.offset = dice.choice((None, "x", 3, datetime.timedelta(days=1), datetime.timedelta(days=-5)))

    def utcoffset(self) -> Any:
        return self.offset

    def toordinal(self) -> Any:
        return self.hour


class Delta:
    """It has the fields of a relativedelta."""

    def __init__(self, dice: random.Random) -> None:
        for name in ("days", "seconds", "microseconds", "years", "months", "hours", "minutes"):
            setattr(self, name, dice.choice((0, 1, -1, 2**31, 2**40, 2**62, -(2**63), 2**70, "x", 0.5)))


class Shrinking:
    """A number that empties the list it stands in while it is converted."""

    def __init__(self, home: list[Any]) -> None:
        self.home = home

    def __index__(self) -> int:
        self.home.clear()
        return 1

    __int__ = __index__

    def __float__(self) -> float:
        self.home.clear()
        return 1.0

    def __len__(self) -> int:
        self.home.clear()
        return 1

    def __iter__(self) -> Iterator[int]:
        self.home.clear()
        return iter((1,))

    @property
    def bytes(self) -> bytes:
        self.home.clear()
        return b"x" * 16


def shrinking(dice: random.Random) -> list[Any]:
    home: list[Any] = []
    home += [Shrinking(home), *("x" * 50 + str(i) for i in range(dice.randrange(4)))]
    dice.shuffle(home)
    return home


def cyclic(dice: random.Random) -> list[Any]:
    home: list[Any] = [1]
    home.insert(dice.randrange(2), home)
    return home


def deep(dice: random.Random) -> Any:
    value: Any = 1
    for _ in range(dice.choice((6, 7, 8, 100, 5000))):
        value = [value]
    return value


def released(dice: random.Random) -> memoryview:
    view = memoryview(b"gone")
    view.release()
    return view


def strided(dice: random.Random) -> memoryview:
    return memoryview(array.array("i", range(12)))[:: dice.choice((-1, 2, 3))]


PLAIN: tuple[Any, ...] = (
    2**31, -(2**31) - 1, 2**63, 2**64, -(2**64), 10**400, -(10**5000), 1e39, float("nan"), -float("inf"), complex(1, 2),
    "\ud800", "a\0b", "\0", "x" * 100_000, "1e999999999", "sNaN", b"a\0b", bytearray(b"abc"), b"x" * 70_000,
    Word("word"), Decimal("1E+999999"), Decimal("1E-999999"), Decimal("sNaN"), Decimal("-NaN123"),
    Decimal((0, (1,) * 200_000, -5)),
    datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=23))),
    datetime.datetime(9999, 12, 31, 23, 59, tzinfo=datetime.timezone(datetime.timedelta(hours=-23))),
    datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59), datetime.timedelta.max,
    datetime.timedelta.min, datetime.time(1, tzinfo=Zone("x")), datetime.time(1, tzinfo=Zone(None)),
    datetime.datetime(2024, 1, 1, tzinfo=Zone(3)), Moment(2024, 1, 1), Moment(2024, 1, 1, tzinfo=datetime.timezone.utc),
    Moment(2024, 1, 1, tzinfo=Zone(None)), LyingList([1, 2]), LyingTuple((1, 2)), (), [], {}, set(), range(5),
    (1,), (1.0,), [1.0], (1, 2, 3, 4, 5), ((1,), (2,)), ([], []), (None, None), [None], {"a": 1}, {1: 2}, {"b": None},
    Range("x", 1), Range(None, object()), Range(1, [2]), object(), int, len, NotImplemented, ..., type, float,
)  # fmt: skip
MAKERS: tuple[Callable[[random.Random], Any], ...] = (
    shrinking, shrinking, cyclic, deep, released, strided, Clock, Delta, *KINDS,
    lambda dice: (item for item in (1, 2)), lambda dice: iter([]), lambda dice: {1, "x"},
)  # fmt: skip


def hostile(dice: random.Random, own: list[Any], depth: int = 0) -> Any:
    """One object: hostile, or a container of hostile and good ones. own: values that the codec takes."""
    roll = dice.randrange(10)
    if roll < 3 and depth < 4:
        items = [hostile(dice, own, depth + 1) for _ in range(dice.randrange(5))]
        kind = dice.randrange(5)
        if kind == 0:
            return tuple(items)
        if kind == 1 and len(items) > 1:
            return Range(items[0], items[1])
        if kind == 2:
            return dict(zip("abcd", items, strict=False))
        return items
    if roll < 6:
        return dice.choice(MAKERS)(dice)
    if roll < 7 and own:
        return dice.choice(own)
    if roll < 8:
        return dice.choice(POOL)
    return dice.choice(PLAIN)


class Waiter:
    def done(self) -> bool:
        return False

    def set_result(self, value: Any) -> None: ...
    def set_exception(self, error: BaseException) -> None: ...


def alone(target: Target, value: Any) -> str | None:
    """Encode it; what is wrong with that, or None."""
    try:
        payload = driver.encode_once(target.handle, value)
    except HostileError:
        return None
    except REFUSALS:
        return None
    except StopIteration:
        return None
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    try:
        driver.decode_once(target.handle, payload)
    except (SystemError, MemoryError) as error:
        return f"what it wrote makes the decoder raise {type(error).__name__}: {error}"
    except Exception:
        return None
    return None


def as_argument(target: Target, make: Callable[[], Any], many: bool) -> str | None:
    """Encode it as the argument of a query; what is wrong with that, or None."""
    session = Session()
    good = builtin_handle(23)
    statement = StatementPlan("insert", b"s", (23, 0), (good, target.handle), None)
    operation: Any
    try:
        value = make()
        if many:
            # A list, which the value may change behind our back.
            arguments: list[Any] = [1, value]
            if type(value) is list and value and isinstance(value[0], Shrinking):
                arguments = value
                value[:] = [Shrinking(value), 1]
            operation = ExecuteMany(statement, [arguments], RowSink(), Waiter())
        else:
            operation = Execute(statement, (1, value), RowSink(), Waiter())
        session.submit(operation)
    except (DataError, InterfaceError, InternalClientError, MemoryError) as error:
        str(error)
    except ALLOWED:
        pass
    except BaseException as error:
        return f"as an argument: {type(error).__name__}: {error}"
    else:
        return None if session.take_output() else "as an argument: nothing was written"
    if session.take_output() is not None or session.pending or session.failure is not None:
        return "bytes of a refused argument stayed behind"
    session.submit(Execute(StatementPlan("select", b"t", (), (), None), (), RowSink(), Waiter()))
    output = session.take_output() or b""
    return None if output.startswith(b"B\0\0\0") and session.pending == 1 else "the session did not go on"


def show(value: Any) -> str:
    try:
        return f"{type(value).__name__} {value!r:.80}"
    except BaseException:
        return f"a {type(value).__name__}"


def run(target: Target, seed: int, objects: int, begin: Callable[[str], None]) -> Iterator[str]:
    """Encode that many objects; yields what is wrong."""
    own = values_for(target.handle)
    for number in range(objects):
        # A generator a value, so that it can be made again.
        base = f"{seed} {target.name} {number}"
        if number % 50 == 0:
            begin(f"{target.name} (encoder, from object {number} of seed {seed})")

        def make(base: str = base) -> Any:
            return hostile(random.Random(base), own)

        value = make()
        wrong = alone(target, value) or as_argument(target, make, many=number % 2 == 1)
        if wrong:
            yield f"{target.name}, object {number}: {show(value)}: {wrong}"
