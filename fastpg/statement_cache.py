# SPDX-License-Identifier: MIT
"""The statement cache of a connection: least recently used first out, one timer for all lifetimes."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastpg.client import Client
    from fastpg.protocol.operation import StatementPlan


class StatementCache:
    """SQL text -> StatementPlan.

    max_size: entries, 0 turns the cache off. max_lifetime: seconds from insertion, 0 for none.
    client: it counts the uses, and is told of each plan that leaves.
    """

    __slots__ = ("__weakref__", "_client", "_expiry", "_loop", "_timer", "entries", "max_lifetime", "max_size")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_size: int, max_lifetime: float, client: Client
    ) -> None:
        self._loop = loop
        self._client = client
        self.entries: dict[str, StatementPlan] = {}  # the client looks statements up here by itself
        self._expiry: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.max_lifetime = max_lifetime
        self.max_size = max_size

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def get(self, query: str, *, promote: bool = True) -> StatementPlan | None:
        """The plan or None. promote: it is the most recently used one from now on."""
        plan = self.entries.get(query)
        if plan is not None and promote:
            self._client.count_use(plan)
        return plan

    def put(self, query: str, plan: StatementPlan) -> None:
        """Add or replace an entry; the least recently used ones leave."""
        if not self.max_size:
            return
        self.remove(query)
        self.entries[query] = plan
        self._client.count_use(plan)
        if self.max_lifetime:
            self._expiry[query] = self._loop.time() + self.max_lifetime
            self._arm()
        self._shrink()

    def remove(self, query: str) -> None:
        """Drop one entry if it is there."""
        plan = self.entries.pop(query, None)
        if plan is not None:
            self._expiry.pop(query, None)
            self._client.forget_statement(plan)

    def _shrink(self) -> None:
        while len(self.entries) > self.max_size:
            self.remove(min(self.entries, key=self._last_use))

    def _last_use(self, query: str) -> int:
        return self.entries[query].used

    # asyncpg's names, which programs use to look at a cache or to change its limits.

    def has(self, query: str) -> bool:
        """Whether there is an entry."""
        return query in self.entries

    def iter_statements(self) -> Iterator[StatementPlan]:
        """The plans, the least recently used first."""
        return iter(sorted(self.entries.values(), key=lambda plan: plan.used))

    def get_max_size(self) -> int:
        """How many statements are kept; 0: none."""
        return self.max_size

    def set_max_size(self, new_size: int) -> None:
        """Keep as many statements; what is too much leaves."""
        self.max_size = new_size
        self._shrink()

    def get_max_lifetime(self) -> float:
        """Seconds that a statement is kept; 0: for ever."""
        return self.max_lifetime

    def set_max_lifetime(self, new_lifetime: float) -> None:
        """Keep statements for as many seconds from now on, those of today too."""
        self.max_lifetime = new_lifetime
        self._stop()
        now = self._loop.time()
        self._expiry = {query: now + new_lifetime for query in self.entries if new_lifetime}
        self._arm()

    def clear(self) -> None:
        """Drop all entries."""
        plans = list(self.entries.values())
        self.entries.clear()
        self._expiry.clear()
        self._stop()
        for plan in plans:
            self._client.forget_statement(plan)

    def _arm(self) -> None:
        if self._timer is None and self._expiry:
            # Weakly: a timer of minutes must not keep a forgotten connection alive.
            self._timer = self._loop.call_at(next(iter(self._expiry.values())), _expire, weakref.ref(self))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time() + 0.001
        for query in [query for query, when in self._expiry.items() if when <= now]:
            self.remove(query)
        self._arm()


def _expire(reference: weakref.ref[StatementCache]) -> None:
    cache = reference()
    if cache is not None:
        cache._on_timer()
