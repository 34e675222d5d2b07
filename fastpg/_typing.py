# SPDX-License-Identifier: MIT
"""Type variables and aliases of the API's annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastpg.protocol.record import Record

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # A default, so that a plain `Connection` is a Connection[Record].
    RowT = TypeVar("RowT", default=Record, covariant=True)
else:
    from typing import TypeVar

    RowT = TypeVar("RowT", covariant=True)

T = TypeVar("T")
RecordT = TypeVar("RecordT", bound=Record)

RowMaker = Callable[[tuple[Any, ...]], T]
RowFactory = type[T] | Callable[[tuple[str, ...]], RowMaker[T]]
"""A class, or a function of the columns' names that returns a function of the values."""
