# SPDX-License-Identifier: MIT
from collections.abc import Callable
from typing import Any

from fastpg.sinks.base import ItemSink

class RowMaker:
    def __init__(
        self,
        function: Callable[..., Any],
        order: tuple[int, ...] | None = None,
        keywords: tuple[str, ...] = (),
        *,
        from_dict: bool = False,
    ) -> None: ...

class ObjectSink(ItemSink):
    def __init__(self, factory: Any, make: Callable[[Any, tuple[str, ...]], RowMaker]) -> None: ...
