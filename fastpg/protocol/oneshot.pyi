# SPDX-License-Identifier: MIT
from collections.abc import Callable
from typing import Any

from fastpg.protocol.operation import Execute, StatementPlan
from fastpg.protocol.row import RowPlan, RowSink

class OneShot(Execute): ...

class FirstExecute(Execute):
    def __init__(
        self,
        statement: StatementPlan,
        args: Any,
        sink: RowSink,
        replan: Callable[[tuple[Any, ...]], RowPlan],
        limit: int = 0,
        waiter: Any = None,
    ) -> None: ...
    @property
    def parsed(self) -> bool: ...
    @property
    def bound(self) -> bool: ...
    @property
    def stale(self) -> bool: ...
    @property
    def replanned(self) -> bool: ...
