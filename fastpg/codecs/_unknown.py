# SPDX-License-Identifier: MIT
"""Types that turn up in the middle of a result."""

from __future__ import annotations

from typing import Any

from fastpg.exceptions import InternalClientError


class UnknownTypeError(InternalClientError):
    """A record or anyarray holds types of which nothing is known yet: `oids`.

    sink: who kept the rows and can go on with them once the types are known, or None.
    """

    def __init__(self, *oids: int, sink: Any = None) -> None:
        super().__init__(f"no codec for the types {', '.join(map(str, oids))}")
        self.oids = oids
        self.sink = sink
        self.deadline: float | None = None  # loop time that the call has for it
