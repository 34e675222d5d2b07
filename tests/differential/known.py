# SPDX-License-Identifier: MIT
"""What becomes of one call, and which difference of docs/compatibility.md explains two that are not the same."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.sidebyside import kind, plain

_DATA_ERROR = re.compile(r"invalid input for query argument (\$\d+[^:]*): (.*)\)", re.DOTALL)
_SHAPE = re.compile(r"<(?:fastpg\.pgproto\.types\.)?(Path|Polygon)\b[^<>]*>")
_ELEMENT = re.compile(r"invalid array element at index \d+: (.*)", re.DOTALL)


@dataclass(frozen=True)
class Outcome:
    """What a call gave or raised, in words that do not depend on the driver.

    shown: the value and its types, or the text of the exception. error: the name of the exception's class, "" for a
    value. cause: the name of its cause's class. reason: what a DataError says in parentheses.
    """

    shown: str
    error: str = ""
    cause: str = ""
    reason: str = ""
    value: Any = None

    def same(self, other: Outcome) -> bool:
        """Whether no program can tell them apart. The repr of an argument in a text may: it names the module."""
        if self.error and self.reason:
            return (self.error, self.cause, self.reason) == (other.error, other.cause, other.reason)
        return (self.error, self.cause, self.shown) == (other.error, other.cause, other.shown)


async def outcome(call: Callable[[], Any], *arguments: Any) -> Outcome:
    """Call with arguments of a query, await what it gives, and tell."""
    try:
        value = call()
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:
        cause = type(error.__cause__).__name__ if error.__cause__ is not None else ""
        text = plain(str(error)).partition("\nHINT:")[0]  # it is advice
        found = _DATA_ERROR.fullmatch(str(error))
        if found is None:
            return Outcome(text, type(error).__name__, cause)
        n = position(found[1]) - 1
        shown = repr(arguments[n]) if n < len(arguments) else ""
        shown = shown[:40] + "..." if len(shown) > 40 else shown
        why = found[2].removeprefix(shown).removeprefix(" (")
        return Outcome(text, type(error).__name__, cause, f"{found[1]}: {plain(why)}")
    return Outcome(plain(f"{value!r} : {kinds(value)}"), value=value)


def kinds(value: Any) -> str:
    """The type of a value and those of all that it holds, in order."""
    if isinstance(value, dict) or not (isinstance(value, (list, tuple)) or hasattr(value, "keys")):
        return kind(value)
    return f"{type(value).__name__}({', '.join(map(kinds, value))})"


def position(reason: str) -> int:
    """Of which argument a reason speaks, counted from 1."""
    return int(reason[1:].split(":")[0].split()[0])


def explained(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> str | None:
    """The title of the difference that explains two outcomes of an argument of a type; None when none does."""
    for title, explains in _EXPLANATIONS.items():
        if explains(type_, argument, theirs, ours):
            return title
    return None


def _reason(outcome: Outcome) -> str:
    return outcome.reason.partition(": ")[2]


def _elements(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> bool:
    # asyncpg leaves the index out of nested arrays, and the whole of it for some types and exceptions.
    found = _ELEMENT.fullmatch(_reason(ours))
    return theirs.error == ours.error == "DataError" and (
        _reason(theirs) == "non-homogeneous array"
        or (found is not None and _reason(theirs) in (found[1], f"invalid array element: {found[1]}"))
    )


def _reasons(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> bool:
    # asyncpg's own mistakes: "expecting 4" of a snapshot's three, an AttributeError of None for a time without zone.
    pairs = {
        "invalid number of elements in txid_snapshot tuple, expecting 4":
            "invalid number of elements in txid_snapshot tuple, expecting 3",
        "'NoneType' object has no attribute 'utcoffset'":
            "a time with a time zone is expected: its tzinfo gives no offset",
    }  # fmt: skip
    # A domain has its own name.
    if "tuple encoder: expecting" in _reason(theirs):
        return ours.error == "DataError"
    own = _reason(ours).replace("composite type pairdomain", "composite type pair")
    return own != "" and pairs.get(_reason(theirs), _reason(theirs)) == own


_CHECKED = re.compile(
    r"exactly one byte is required|invalid UUID: its .bytes must|expected \d+ elements in the composite value"
    r"|(invalid array element at index \d+: )?a sequence or mapping expected \(got type"
)


def _checked(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> bool:
    # Refused before a byte is sent, where asyncpg lets the server refuse it, or takes the letters of a str for members.
    return ours.error == "DataError" and _CHECKED.match(_reason(ours)) is not None


def _lenient(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> bool:
    if type_ in ("oid", "xid", "cid", "xid8", "tid"):
        return "an integer is required" in _reason(theirs) and not ours.error
    if type_ == "money[]":
        return theirs.error == "InvalidTextRepresentationError" and argument == [[]]
    unbounded = type_.endswith("range") and argument in ([None], [[], [None]])
    return theirs.error == "DataError" and (unbounded or _reason(theirs).startswith("Expected str, got "))


def _lsn(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> bool:
    return type_ == "pg_lsn"


def _numeric(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> bool:
    if theirs.error or ours.error or "E+" not in theirs.shown:
        return False
    return bool(theirs.value == ours.value or tuple(theirs.value) == tuple(ours.value))


def _shapes(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> bool:
    # asyncpg's Path has no repr of its own, and the centre of its Circle is a plain tuple.
    def without(text: str) -> str:
        return _SHAPE.sub(r"<\1>", text)

    if theirs.error or ours.error:
        return theirs.error == ours.error and without(theirs.reason) == without(ours.reason)
    if "Circle" in theirs.shown:
        return tuple(theirs.value) == tuple(ours.value)
    return without(theirs.shown) == without(ours.shown)


def _go_back(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> bool:
    return type_ in ("int2vector", "oidvector") and theirs.error == "InvalidBinaryRepresentationError"


_EXPLANATIONS: dict[str, Callable[[str, Any, Outcome, Outcome], bool]] = {
    "Elements in reasons": _elements,
    "Reasons": _reasons,
    "Checked earlier": _checked,
    "More integers": _lenient,
    "Positions in the log": _lsn,
    "Round numbers": _numeric,
    "Shapes": _shapes,
    "What was read goes back": _go_back,
}


def alike(theirs: Any, ours: Any) -> bool:
    """Whether two values are the same to a program, but for the repr of round numbers, paths and circles."""
    if type(theirs).__name__ != type(ours).__name__:
        return False
    if hasattr(theirs, "keys"):
        return list(theirs.keys()) == list(ours.keys()) and alike(list(theirs.values()), list(ours.values()))
    if isinstance(theirs, (list, tuple)):
        return len(theirs) == len(ours) and all(map(alike, theirs, ours))
    if type(theirs).__name__ == "Range":
        parts = [(one.lower, one.upper, one.lower_inc, one.upper_inc, one.isempty) for one in (theirs, ours)]
        return alike(*parts)
    if type(theirs).__name__ in ("Path", "Polygon"):
        return bool(theirs.is_closed == ours.is_closed) and alike(list(theirs.points), list(ours.points))
    if type(theirs).__name__ == "BitString":
        return bool(theirs.as_string() == ours.as_string() and len(theirs) == len(ours))
    if isinstance(theirs, float):
        return repr(theirs) == repr(ours)
    return bool(theirs == ours)
