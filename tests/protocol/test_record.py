# SPDX-License-Identifier: MIT
from __future__ import annotations

import copy
import gc
import operator
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fastpg.exceptions import InterfaceError
from fastpg.protocol.record import Record, RecordDescriptor, _time_new, check_record_class, make_record
from tests.contract import covers


class Named(Record):
    def __getattr__(self, name: str) -> Any:
        return self[name]


def make(*columns: tuple[str, Any], cls: type[Record] = Record) -> Any:
    return make_record(cls, RecordDescriptor(tuple(name for name, _ in columns)), [value for _, value in columns])


def outcome(f: Callable[[Any], Any], record: Any) -> Any:
    try:
        return f(record)
    except Exception as error:  # noqa: BLE001
        return type(error), str(error).replace("asyncpg", "fastpg")


class Index:
    def __index__(self) -> int:
        return 1


def keywords(**values: Any) -> dict[str, Any]:
    return values


BEHAVIOURS: list[Callable[[Any], Any]] = [
    len,
    bool,
    repr,
    str,
    hash,
    list,
    tuple,
    dict,
    lambda r: r[0],
    lambda r: r[-1],
    lambda r: r[Index()],
    lambda r: r[0:2],
    lambda r: r[::-1],
    lambda r: r[5:],
    lambda r: r[99],
    lambda r: r[-99],
    lambda r: r["a"],
    lambda r: r["nope"],
    lambda r: r[None],
    lambda r: r[1.5],
    lambda r: r.get("a"),
    lambda r: r.get("nope"),
    lambda r: r.get("nope", 7),
    lambda r: "a" in r,
    lambda r: "nope" in r,
    lambda r: 1 in r,
    lambda r: list(reversed(r)),
    lambda r: list(r.keys()),
    lambda r: list(r.values()),
    lambda r: list(r.items()),
    lambda r: next(r.keys()),
    lambda r: next(r.values()),
    lambda r: next(r.items()),
    lambda r: keywords(**r),
    lambda r: {**r},
    lambda r: r == tuple(r),
    lambda r: tuple(r) == r,
    lambda r: r != tuple(r),
    lambda r: r == list(r),
    lambda r: r == [*r, 1],
    lambda r: r == (1, 2),
    lambda r: r < (9, 9),
    lambda r: r >= (1,),
    lambda r: r < [1],
    lambda r: r == copy.copy(r) if "fastpg" in type(r).__module__ else True,
    lambda r: r + (1,),
    lambda r: hasattr(r, "a"),
    lambda r: hasattr(r, "index") or hasattr(r, "count") or hasattr(r, "_asdict"),
    lambda r: operator.setitem(r, 0, 1),
    lambda r: isinstance(r, tuple),
]
ROWS: list[list[tuple[str, Any]]] = [
    [],
    [("a", 1)],
    [("a", 1), ("b", "x")],
    [("a", 1), ("b", None), ("c", 3)],
    [("a", (1, 2)), ("?column?", 1.5)],
    [("a", []), ("b", 1)],
    [(f"c{i}", i) for i in range(40)],
]


@covers(
    "Record: type",
    "Record: items",
    "Record: names",
    "Record: iteration",
    "Record: comparison",
    "Record: what is not offered",
    "Record: repr",
)
@pytest.mark.parametrize("row", ROWS, ids=len)
def test_same_as_asyncpg(row: list[tuple[str, Any]]) -> None:
    protocol = pytest.importorskip("asyncpg.protocol.protocol")
    names = {name: i for i, (name, _) in enumerate(row)}
    theirs = protocol._create_record(names, tuple(value for _, value in row))
    ours = make(*row)
    skipped = "object does not support item assignment", "unhashable", "unsupported operand", "not supported between"
    for i, behaviour in enumerate(BEHAVIOURS):
        a, b = outcome(behaviour, ours), outcome(behaviour, theirs)
        if isinstance(a, tuple) and a[:1] == (TypeError,) and any(text in a[1] for text in skipped):
            assert b[0] is TypeError, i
        elif isinstance(b, tuple) and b[:1] == (KeyError,):
            assert a[0] is KeyError, i
        else:
            assert a == b, i


def test_basics() -> None:
    r = make(("a", 1), ("b", "x"))
    assert repr(r) == "<Record a=1 b='x'>"
    assert repr(make()) == "<Record>"
    assert repr(make(("a", 1), cls=Named)) == "<Named a=1>"
    assert r == (1, "x") and (1, "x") == r and r != [1, "x"] and hash(r) == hash((1, "x"))
    assert r == make(("other", 1), ("names", "x"))
    assert r < make(("a", 2), ("b", "")) and r < (1, "y") and min(make(("a", 2)), make(("a", 1)))["a"] == 1
    assert r[1:] == ("x",) and type(r[:]) is tuple
    with pytest.raises(IndexError, match="record index out of range"):
        r[2]
    with pytest.raises(IndexError):
        r[sys.maxsize + 1]
    with pytest.raises(KeyError, match="zz"):
        r["zz"]
    with pytest.raises(TypeError):
        r.get()
    with pytest.raises(TypeError):
        [] in r  # noqa: B015


def test_duplicate_names() -> None:
    r = make(("a", 1), ("b", 2), ("a", 3))
    assert r["a"] == 3 and tuple(r) == (1, 2, 3)
    assert list(r.keys()) == ["a", "b", "a"] and list(r.items()) == [("a", 1), ("b", 2), ("a", 3)]
    assert dict(r) == {"a": 3, "b": 2}


def test_identity_of_the_type() -> None:
    assert Record.__module__ == "fastpg.protocol.record" and Record.__qualname__ == "Record"
    with pytest.raises(TypeError, match=r"cannot create 'fastpg\.protocol\.record\.Record' instances"):
        Record()
    with pytest.raises(TypeError, match="cannot create"):
        Named()
    with pytest.raises(TypeError):
        Record.x = 1  # type: ignore[attr-defined]


@covers("Record: record_class")
def test_record_class() -> None:
    check_record_class(Record)
    check_record_class(Named)

    class Slotted(Record):
        __slots__ = ()

    check_record_class(Slotted)

    class WithInit(Record):
        def __init__(self) -> None: ...

    class WithNew(Record):
        def __new__(cls) -> Any: ...

    for wrong in (WithInit, WithNew):
        with pytest.raises(InterfaceError, match="record_class must not redefine __new__ or __init__"):
            check_record_class(wrong)
    for other in (tuple, 1, None):
        with pytest.raises(InterfaceError, match="record_class is expected to be a subclass of"):
            check_record_class(other)
    named = make(("a", 1), cls=Named)
    assert named["a"] == 1 and named.a == 1 and isinstance(named, Record)
    assert type(make(("a", 1), cls=Slotted)) is Slotted
    with pytest.raises(TypeError):
        make_record(tuple, RecordDescriptor(()), ())  # type: ignore[type-var]
    with pytest.raises(TypeError):
        make_record(Record, ("a",), (1,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 columns cannot hold 1 value"):
        make_record(Record, RecordDescriptor(("a", "b")), (1,))
    with pytest.raises(TypeError, match="column names must be str"):
        RecordDescriptor((1,))  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", [Record, Named])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_and_copy(cls: type[Record], protocol: int) -> None:
    if cls is Named:
        cls = Plain
    r = make(("a", [1]), ("b", "x"), ("a", None), cls=cls)
    for again in (pickle.loads(pickle.dumps(r, protocol)), copy.copy(r), copy.deepcopy(r)):
        assert type(again) is cls
        assert again == r and list(again.items()) == list(r.items())
    assert copy.copy(r)[0] is r[0] and copy.deepcopy(r)[0] is not r[0]


class Plain(Record):
    note: str


def test_subclass_attributes_survive() -> None:
    r = make(("a", 1), ("b", 2), ("c", 3), cls=Plain)
    assert isinstance(r, Plain)
    r.note = "n"
    again = pickle.loads(pickle.dumps(r))
    assert again.note == "n" and again == (1, 2, 3)


def test_garbage_collection() -> None:
    class Probe:
        pass

    probe = Probe()
    gone = weakref.ref(probe)
    cycle: list[Any] = [probe]
    cycle.append(make(("a", cycle)))
    del probe, cycle
    gc.collect()
    assert gone() is None
    assert gc.is_tracked(make(("a", 1)))

    row = make(("a", 1), cls=Plain)
    row.self = row
    row.probe = Probe()
    gone = weakref.ref(row.probe)
    del row
    gc.collect()
    assert gone() is None


def test_values_and_descriptors_are_released() -> None:
    value, descriptor = object(), RecordDescriptor(("a", "b"))
    before = sys.getrefcount(value), sys.getrefcount(descriptor)
    for cls in (Record, Plain):
        rows = [make_record(cls, descriptor, (value, value)) for _ in range(600)]
        for row in rows:
            list(row), row[:], row["a"], row.get("b"), list(row.items()), repr(row), hash(row), row == (value, 1)
        del rows, row
    assert (sys.getrefcount(value), sys.getrefcount(descriptor)) == before


def test_reuse_of_memory() -> None:
    for width in (0, 1, 5, 19, 20, 21):
        descriptor = RecordDescriptor(tuple(f"c{i}" for i in range(width)))
        for track in (0, 1):
            _time_new(descriptor, track, 1000)
        rows = [make_record(Record, descriptor, range(width)) for _ in range(600)]
        assert all(tuple(row) == tuple(range(width)) for row in rows)
        del rows
        gc.collect()
        row = make_record(Record, descriptor, range(width))
        assert gc.is_tracked(row) and list(row) == list(range(width))


def test_deep_nesting_is_freed_without_recursion() -> None:
    descriptor = RecordDescriptor(("a",))
    for cls in (Record, Plain):
        row = make_record(cls, descriptor, (None,))
        for _ in range(200_000):
            row = make_record(cls, descriptor, (row,))
        del row


def test_recursive_repr() -> None:
    inner: list[Any] = []
    r = make(("a", inner))
    inner.append(r)
    assert repr(r) == "<Record a=[<Record ...>]>"


def test_descriptor() -> None:
    descriptor = RecordDescriptor(("a", "b"))
    assert descriptor.names == ("a", "b")
    assert pickle.loads(pickle.dumps(descriptor)).names == ("a", "b")
