# SPDX-License-Identifier: MIT
from collections.abc import Callable, Iterable
from typing import Any

from fastpg.protocol.operation import Operation

class RowSource:
    high_water: int
    low_water: int

class IteratorSource(RowSource):
    def __init__(self, chunks: Iterable[Any]) -> None: ...

class PushSource(RowSource):
    def __init__(self, drained: Callable[[], Any] | None = None) -> None: ...
    def push(self, chunk: Any) -> bool: ...
    def end(self, error: BaseException | None = None) -> None: ...

class CopyIn(Operation):
    def __init__(self, sql: str, source: RowSource, waiter: Any = None) -> None: ...

class CopyOut(Operation):
    def __init__(self, sql: str, sink: Callable[[bytes], Any], waiter: Any = None) -> None: ...
