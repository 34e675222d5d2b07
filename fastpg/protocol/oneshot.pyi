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
        replan: Callable[[tuple[Any, ...]], RowPlan | None],
        limit: int = 0,
        waiter: Any = None,
    ) -> None: ...
    @property
    def guess(self) -> StatementPlan: ...
    @property
    def parsed(self) -> bool: ...
    @property
    def bound(self) -> bool: ...
    @property
    def misread(self) -> bool: ...
    @property
    def columns(self) -> tuple[Any, ...] | None: ...
    @property
    def kept(self) -> list[bytes]: ...
    def read(self, statement: StatementPlan, rows: list[bytes]) -> Any: ...
