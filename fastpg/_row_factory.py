# SPDX-License-Identifier: MIT
"""Row factories: the one place where a `row_factory` becomes a sink.

A `row_factory` is ``"record"``, ``"tuple"``, ``"dict"``, a class, or a function of the columns' names that returns a
function of the values (one tuple of them). Given to a call it goes before that of the statement, which goes before that
of the connection, which goes before that of the pool; `record_class` stands for a factory of that class of records, and
so the two exclude each other on one level.

A class gets the columns as keyword arguments, as its signature says: dataclasses, named tuples, attrs and msgspec
classes, and any other. Classes of pydantic validate a dict of them, classes of tuples and lists take the values, those
of Record and TypedDict are what they say. Whatever there is to find out of the columns is found out once a statement.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_origin

from fastpg.exceptions import InterfaceError
from fastpg.protocol.record import Record, check_record_class
from fastpg.sinks.base import ListSink
from fastpg.sinks.dicts import DictSink
from fastpg.sinks.objects import ObjectSink, RowMaker
from fastpg.sinks.record import RecordSink
from fastpg.sinks.tuples import TupleSink

Names = tuple[str, ...]

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
COLLECTED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def check_exclusive(record_class: type | None, row_factory: Any) -> None:
    """InterfaceError when both are given on one level; Record, the default, does not count."""
    if row_factory is not None and record_class is not None and record_class is not Record:
        raise InterfaceError("record_class and row_factory cannot be given together: "
                             "row_factory takes a class of records, too")  # fmt: skip


def new_sink(rows: type | ListSink) -> ListSink:
    """The sink of a query: for records of a class, or of the kind that row_sink() has given."""
    return RecordSink(rows) if isinstance(rows, type) else rows.again()


def row_sink(row_factory: Any, record_class: type | None = None) -> ListSink:
    """A sink for such rows, not to be used itself: new_sink() makes the sink of a query of it.

    record_class: what "record" stands for. Raises InterfaceError for what is no row factory.
    """
    if isinstance(row_factory, str):
        if row_factory == "record":
            return RecordSink(record_class)
        if row_factory == "tuple":
            return TupleSink()
        if row_factory == "dict":
            return DictSink()
    elif isinstance(row_factory, type):
        return class_sink(row_factory)
    elif isinstance(get_origin(row_factory), type):
        return class_sink(get_origin(row_factory))
    elif callable(row_factory):
        return ObjectSink(row_factory, maker_of_function)
    raise InterfaceError(
        "row_factory is expected to be 'record', 'tuple', 'dict', a class, or a function of the columns' names that "
        f"returns a function of the values, got {row_factory!r}"
    )


@functools.lru_cache
def class_sink(cls: type) -> ListSink:
    """A sink for rows of a class."""
    cls = get_origin(cls) or cls
    if issubclass(cls, Record):
        check_record_class(cls)
        return RecordSink(cls)
    if cls is tuple:
        return TupleSink()
    if cls is dict:
        return DictSink()
    if issubclass(cls, dict) and hasattr(cls, "__required_keys__"):
        return DictSink(cls, check_keys)
    return ObjectSink(cls, maker_of_class)


def maker_of_function(factory: Callable[[Names], Any], names: Names) -> RowMaker:
    """What makes rows by a function of the names."""
    function = factory(names)
    if not callable(function):
        raise InterfaceError(
            f"the row factory {factory!r} is expected to return a function of the values when it is called with the "
            f"columns' names, got {function!r}"
        )
    return RowMaker(function)


def maker_of_class(cls: Any, names: Names) -> RowMaker:
    """What makes rows of a class; InterfaceError when these columns are not its arguments."""
    if issubclass(cls, (tuple, list)) and not hasattr(cls, "_fields"):
        return RowMaker(cls)
    if hasattr(cls, "__pydantic_validator__") and hasattr(cls, "model_validate"):
        return RowMaker(cls.model_validate, from_dict=True)
    try:
        parameters = list(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        # It is written in C and does not say.
        refuse(cls, "parameter", names, [], [])
        return RowMaker(cls, tuple(range(len(names))), names)
    positional = []
    for parameter in parameters:
        if parameter.kind not in POSITIONAL or parameter.name not in names:
            break
        positional.append(parameter.name)
    named = [name for name in names if name not in positional]
    known = {parameter.name for parameter in parameters if parameter.kind in NAMED}
    surplus = [name for name in named if name not in known]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        surplus = []
    missing = [
        parameter.name for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in COLLECTED and parameter.name not in names
    ]  # fmt: skip
    refuse(cls, "parameter", names, missing, surplus)
    return RowMaker(cls, tuple(map(names.index, positional + named)), tuple(named))


def check_keys(cls: Any, names: Names) -> None:
    """InterfaceError when these columns are not the keys of a TypedDict."""
    missing = sorted(cls.__required_keys__ - set(names))
    surplus = [name for name in names if name not in cls.__required_keys__ | cls.__optional_keys__]
    refuse(cls, "key", names, missing, surplus)


def refuse(cls: type, what: str, names: Names, missing: list[str], surplus: list[str]) -> None:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    problems = [
        f"{text} {', '.join(map(repr, found))}"
        for text, found in (
            (f"no column for the {what}", missing),
            (f"no {what} for the column", surplus),
            ("more than one column", twice),
        )
        if found
    ]
    if problems:
        raise InterfaceError(f"the columns of the result do not make a {cls.__qualname__}: {'; '.join(problems)}")
